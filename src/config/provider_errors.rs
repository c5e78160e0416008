//! `[providers.<key>.errors]`: what a provider's own words for a failure mean, where no table of ours knows them.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::list;

/// Entries of one list. A provider that needs more is one whose codes should be read in another way.
const ENTRIES_MAX: usize = 64;
/// No code and no sentence that is worth comparing is longer.
const TEXT_CHARS_MAX: usize = 512;

/// What answers of the token endpoint mean, by list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProviderErrors {
    /// The grant is over: its user connects again.
    #[serde(deserialize_with = "list::deserialize")]
    pub dead: Vec<ErrorSign>,
    /// Our client or its secret is not known: the operator must act, and no account is touched.
    #[serde(deserialize_with = "list::deserialize")]
    pub client: Vec<ErrorSign>,
    /// The administrator of the account's organisation must act.
    #[serde(deserialize_with = "list::deserialize")]
    pub admin: Vec<ErrorSign>,
    /// It passes: tried again.
    #[serde(deserialize_with = "list::deserialize")]
    pub transient: Vec<ErrorSign>,
}

/// What an answer is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorSign {
    /// Its code, wherever answers have one; compared without case.
    Code(String),
    /// A value in it.
    Value {
        /// Where (RFC 6901).
        pointer: String,
        /// What is there.
        equals: SignValue,
    },
}

/// A value in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum SignValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// Text, compared as it is.
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    pointer: String,
    equals: SignValue,
}

impl ProviderErrors {
    /// Every list with its key.
    pub fn lists(&self) -> [(&'static str, &[ErrorSign]); 4] {
        [
            ("dead", &self.dead),
            ("client", &self.client),
            ("admin", &self.admin),
            ("transient", &self.transient),
        ]
    }

    /// What is wrong, with the list it is wrong in.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut seen: Vec<(&'static str, &ErrorSign)> = Vec::new();
        for (list, signs) in self.lists() {
            if signs.len() > ENTRIES_MAX {
                problems.push((list, format!("has more than {ENTRIES_MAX} entries")));
                continue;
            }
            for sign in signs {
                if let Some(problem) = sign.problem() {
                    problems.push((list, problem.to_owned()));
                } else if let Some((other, _)) = seen.iter().find(|(_, known)| known.is_same(sign)) {
                    problems.push((list, format!("{sign} is in errors.{other} already")));
                } else {
                    seen.push((list, sign));
                }
            }
        }
        problems
    }
}

impl ErrorSign {
    fn problem(&self) -> Option<&'static str> {
        let is_text = |text: &str| {
            !text.trim().is_empty() && text.trim() == text && text.chars().count() <= TEXT_CHARS_MAX
        };
        match self {
            Self::Code(code) if !is_text(code) => Some("a code is text without blanks around it"),
            Self::Value { pointer, .. } if !is_pointer(pointer) => {
                Some("pointer: expected a JSON pointer such as \"/status\"")
            }
            Self::Value {
                equals: SignValue::Text(text),
                ..
            } if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX => {
                Some("equals: expected text, a whole number, true or false")
            }
            Self::Code(_) | Self::Value { .. } => None,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Code(one), Self::Code(other)) => one.eq_ignore_ascii_case(other),
            (one, other) => one == other,
        }
    }
}

/// RFC 6901 3: `~` stands only before `0` and `1`.
fn is_pointer(pointer: &str) -> bool {
    pointer.len() > 1
        && pointer.starts_with('/')
        && pointer.chars().count() <= TEXT_CHARS_MAX
        && pointer
            .split('~')
            .skip(1)
            .all(|rest| rest.starts_with(['0', '1']))
}

impl fmt::Display for ErrorSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code:?}"),
            Self::Value { pointer, .. } => write!(f, "what is expected at {pointer:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for ErrorSign {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ErrorSign;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a code, or a table with pointer and equals")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ErrorSign, E> {
                Ok(ErrorSign::Code(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ErrorSign, A::Error> {
                let Table { pointer, equals } = Table::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ErrorSign::Value { pointer, equals })
            }
        }
        deserializer.deserialize_any(Either)
    }
}
