//! Looking for secrets where none may be: in clear, and in every encoding in which they might have slipped through.

use std::{collections::BTreeMap, fmt::Write as _};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

/// Shorter ones occur by chance.
const CANARY_CHARS_MIN: usize = 16;

/// Secrets by what they are.
#[derive(Debug, Default)]
pub struct Canaries(BTreeMap<String, String>);

impl Canaries {
    pub fn add(&mut self, what: &str, secret: &str) {
        assert!(
            secret.len() >= CANARY_CHARS_MIN,
            "{what} is too short to be looked for"
        );
        self.0.insert(secret.to_owned(), what.to_owned());
    }

    pub fn count(&self, what: &str) -> usize {
        self.0.values().filter(|kind| *kind == what).count()
    }

    /// Fails if any of them is in the text, in any encoding.
    #[track_caller]
    pub fn expect_none_in(&self, place: &str, text: &str) {
        for (secret, what) in &self.0 {
            if let Some(encoding) = found(secret, text) {
                panic!("{place} holds a secret ({what}, {encoding}): {secret}");
            }
        }
    }
}

/// The encoding in which the text holds the secret.
pub fn found(secret: &str, text: &str) -> Option<&'static str> {
    encodings(secret)
        .into_iter()
        .find(|(_, needle)| text.contains(needle.as_str()))
        .map(|(name, _)| name)
}

fn encodings(secret: &str) -> Vec<(&'static str, String)> {
    let bytes = secret.as_bytes();
    let list = |between: &str| {
        let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
        numbers.join(between)
    };
    let mut all = vec![
        ("in clear", secret.to_owned()),
        ("as hex", hex(bytes)),
        ("as upper-case hex", hex(bytes).to_uppercase()),
        ("as a list of bytes", list(", ")),
        ("as a tight list of bytes", list(",")),
        (
            "form-encoded",
            url::form_urlencoded::byte_serialize(bytes).collect(),
        ),
        (
            "percent-encoded",
            percent_encoding::utf8_percent_encode(secret, percent_encoding::NON_ALPHANUMERIC).to_string(),
        ),
        (
            "as a JSON string",
            serde_json::to_string(secret)
                .unwrap()
                .trim_matches('"')
                .to_owned(),
        ),
    ];
    // Base64 of a text around it shows it in one of three alignments; the characters at its ends belong to neighbours.
    for shift in 0..3 {
        let mut shifted = vec![b'-'; shift];
        shifted.extend_from_slice(bytes);
        let inner = |text: String| text[shift * 2..text.len() - 4].to_owned();
        all.push(("as base64", inner(STANDARD_NO_PAD.encode(&shifted))));
        all.push(("as URL-safe base64", inner(URL_SAFE_NO_PAD.encode(&shifted))));
    }
    all
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn a_secret_is_found_in_every_encoding() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let secret = "ya29.a0-canary/with+odd=chars~1234";
    for around in ["", "x", "xy", "xyz"] {
        let text = format!("{around}{secret}{around}");
        for hidden in [
            text.clone(),
            hex(text.as_bytes()),
            STANDARD.encode(&text),
            URL_SAFE.encode(&text),
            format!("{:?}", text.as_bytes()),
            serde_json::to_string(text.as_bytes()).unwrap(),
            url::form_urlencoded::byte_serialize(text.as_bytes()).collect(),
        ] {
            assert!(found(secret, &hidden).is_some(), "{hidden}");
        }
    }
    assert_eq!(found(secret, "ya29.another-token-without-any-likeness"), None);
}
