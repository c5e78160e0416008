//! Additional authenticated data: where a ciphertext belongs, in bytes. Every part is preceded by its length, so that no
//! two places are spelled alike; a value moved anywhere else does not open.

use oauth_manager_actors::domain::sealed::{KeyContext, SealContext};

use super::envelope::Header;

/// Separates the uses of a key from each other. Never reuse one with another meaning.
const DATA_KEY: &str = "oauth-manager/data-key";
const VALUE: &str = "oauth-manager/value";
const KEY_CHECK: &str = "oauth-manager/key-check";

/// Room for the parts of any context, so that building one allocates once.
const USUAL_BYTES: usize = 256;

/// The place of a wrapped data key.
pub(super) fn data_key(header: &Header<'_>, context: &KeyContext) -> Vec<u8> {
    let mut aad = begin(DATA_KEY, header);
    push_key_context(&mut aad, context);
    aad
}

/// The place of a sealed value.
pub(super) fn value(header: &Header<'_>, context: &SealContext) -> Vec<u8> {
    let mut aad = begin(VALUE, header);
    push_key_context(&mut aad, &context.key);
    push(&mut aad, context.column.as_str().as_bytes());
    push(&mut aad, &context.generation.to_be_bytes());
    aad
}

/// The place of a key check value.
pub(super) fn key_check(header: &Header<'_>) -> Vec<u8> {
    begin(KEY_CHECK, header)
}

fn begin(purpose: &str, header: &Header<'_>) -> Vec<u8> {
    let mut aad = Vec::with_capacity(USUAL_BYTES);
    push(&mut aad, purpose.as_bytes());
    push(&mut aad, &[header.version]);
    push(&mut aad, header.key_id.as_bytes());
    aad
}

fn push_key_context(aad: &mut Vec<u8>, context: &KeyContext) {
    push(aad, context.record.as_bytes());
    push(aad, context.user.0.as_bytes());
    push(aad, context.provider.as_str().as_bytes());
}

fn push(aad: &mut Vec<u8>, part: &[u8]) {
    aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
    aad.extend_from_slice(part);
}
