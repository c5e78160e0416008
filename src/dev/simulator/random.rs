//! Opaque values nobody can guess, in the looks of the provider that issues them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // The system's generator does not fail on any machine that can run a server. Were it to, equal tokens would make
    // the simulator useless, and tests fail loudly.
    let _ = SystemRandom::new().fill(&mut bytes);
    bytes
}

/// `prefix` and 256 random bits.
pub fn opaque(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes::<32>()))
}

/// `prefix` and 768 random bits: the size of a long-winded access token.
pub fn long_opaque(prefix: &str) -> String {
    format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes::<96>()))
}

/// `prefix` and letters and digits only, as Notion writes its tokens.
pub fn alphanumeric(prefix: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyzABCDEFGH";
    let mut token = String::from(prefix);
    for byte in bytes::<44>() {
        token.push(char::from(ALPHABET[usize::from(byte % 32)]));
    }
    token
}

/// A number below `bound`, for lifetimes that a provider draws.
pub fn below(bound: u16) -> u16 {
    u16::from_le_bytes(bytes::<2>()) % bound.max(1)
}
