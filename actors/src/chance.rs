//! Unguessable values, from the random port.

use std::fmt::Write as _;

use crate::ports::rng::Rng;

/// 256 bits in hexadecimal: long enough for every purpose here (state, verifier, handles, cookies, credentials), and
/// within RFC 7636's alphabet and length.
pub(crate) fn secret(rng: &dyn Rng) -> String {
    let mut bytes = zeroize::Zeroizing::new([0_u8; 32]);
    rng.fill(&mut *bytes);
    hexadecimal(&bytes)
}

/// Bytes as text.
pub(crate) fn hexadecimal(bytes: &[u8; 32]) -> String {
    let mut text = String::with_capacity(64);
    for byte in bytes {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
