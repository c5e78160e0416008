//! JSON the way providers send it: behind a byte order mark, with numbers longer than a machine word, with a member given
//! twice.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;

use super::declaration::Object;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A JSON object in these bytes.
pub(super) fn object(bytes: &[u8]) -> Option<Object> {
    let text = std::str::from_utf8(without_mark(bytes)).ok()?;
    serde_json::from_str(&exact(text)).ok()
}

/// The bytes without a byte order mark, which is nobody's data, and without blanks around them.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes).trim_ascii()
}

/// A JSON object whose members are given once, or twice with the same value. Of two values for one member, two readers may
/// take different ones.
pub(super) fn unambiguous_object(text: &str) -> Option<Object> {
    let read: Result<Unambiguous, _> = serde_json::from_str(&exact(text));
    read.ok().map(|Unambiguous(object)| object)
}

/// What names somebody: a text, or a whole number as it is written.
pub(super) fn identifier(value: Option<&Value>) -> Result<String, NoIdentifier> {
    match value {
        Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
        Some(Value::Number(number)) if number.is_f64() => Err(NoIdentifier::NotWhole),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(NoIdentifier::Missing),
    }
}

/// Why there is no identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoIdentifier {
    Missing,
    /// A fraction or a power of ten: many accounts may be written like that.
    NotWhole,
}

/// Whole numbers too long for a machine word, turned into texts: as numbers they would lose their last digits, and two
/// accounts would become one. Nothing else is touched.
fn exact(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut exact = String::new();
    let (mut copied, mut at, mut in_string) = (0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            b'-' | b'0'..=b'9' if !in_string => {
                let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                let end = at + bytes[at..].iter().take_while(|byte| is_part(byte)).count();
                if is_too_long(&text[at..end]) {
                    exact.push_str(&text[copied..at]);
                    exact.extend(["\"", &text[at..end], "\""]);
                    copied = end;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    exact.push_str(&text[copied..]);
    Cow::Owned(exact)
}

fn is_too_long(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    let is_whole = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    is_whole && !digits.is_empty() && number.parse::<u64>().is_err() && number.parse::<i64>().is_err()
}

struct Unambiguous(Object);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Unambiguous;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unambiguous, A::Error> {
                let mut object = Object::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    match object.get(&name) {
                        Some(before) if *before != value => {
                            return Err(A::Error::custom("a member is given twice, differently"));
                        }
                        _ => drop(object.insert(name, value)),
                    }
                }
                Ok(Unambiguous(object))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn id(json: &str) -> Result<String, NoIdentifier> {
        let object = object(format!("{{\"id\":{json}}}").as_bytes()).unwrap();
        identifier(object.get("id"))
    }

    #[test]
    fn a_number_that_names_somebody_is_kept_as_it_is_written() {
        for number in [
            "100000000000000000001",
            "100000000000000000002",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775809",
            "9007199254740993",
            "42",
            "0",
        ] {
            assert_eq!(id(number).as_deref(), Ok(number));
        }
        assert_eq!(
            id("\"100000000000000000001\"").unwrap(),
            id("100000000000000000001").unwrap()
        );
        for number in ["1e20", "1.0", "42.5", "100000000000000000001.0", "1E2", "-0"] {
            assert_eq!(id(number), Err(NoIdentifier::NotWhole), "{number}");
        }
        for nothing in ["\"\"", "\" \"", "null", "true", "[1]", "{}"] {
            assert_eq!(id(nothing), Err(NoIdentifier::Missing), "{nothing}");
        }
    }

    #[test]
    fn long_numbers_inside_texts_and_numbers_that_are_none_stay_what_they_are() {
        let text = r#"{"a":"say \"100000000000000000001\" \\","b":[1,100000000000000000001]}"#;
        let read = object(text.as_bytes()).unwrap();
        assert_eq!(read["a"], r#"say "100000000000000000001" \"#);
        assert_eq!(read["b"], json!([1, "100000000000000000001"]));
        for broken in [
            "{\"a\":000000000000000000000001}",
            "{\"a\":100000000000000000001x}",
            "{100000000000000000001:1}",
            "{\"a\":--100000000000000000001}",
        ] {
            // A long number as a name is a text by then; it hurts nobody.
            let read = object(broken.as_bytes());
            assert!(read.is_none() || broken.starts_with("{1"), "{broken}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_nobodys_data() {
        assert_eq!(object("\u{feff} {\"a\":1} ".as_bytes()).unwrap()["a"], 1);
    }

    proptest! {
        #[test]
        fn whatever_is_no_long_number_reads_as_it_always_did(text in "\\PC{0,80}") {
            let plain: Option<Object> = serde_json::from_str(text.trim()).ok();
            if plain.is_some() {
                prop_assert_eq!(object(text.as_bytes()), plain);
            }
        }

        #[test]
        fn every_whole_number_survives(number in "-?[1-9][0-9]{0,40}") {
            prop_assert_eq!(id(&number), Ok(number));
        }
    }
}
