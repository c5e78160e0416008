//! What is wrong with a configuration: one line for each key, the key first, never a value that may be secret.

use std::fmt;
use std::path::PathBuf;

use figment::error::{Actual, Kind};

/// One thing to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key's full path, as in `providers.google.client_secret`.
    pub key: String,
    /// What is wrong with it, in one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.message)
    }
}

/// Why the service does not start with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The configuration file is not TOML.
    #[error("{} line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from one.
        line: usize,
        /// What the parser expected. Never the line itself: it may hold a secret.
        message: String,
    },
    /// Keys that are unknown, missing, malformed or unsafe; one line each.
    #[error("{}", lines(problems))]
    Invalid {
        /// All that were found.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// What to change, key by key; empty when the file could not even be read.
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Invalid { problems } => problems,
            Self::Unreadable { .. } | Self::Syntax { .. } => &[],
        }
    }

    pub(super) fn one(key: impl Into<String>, message: impl Into<String>) -> Self {
        let mut problems = Problems::default();
        problems.add(key, message);
        Self::Invalid { problems: problems.0 }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Collects what sections find.
#[derive(Debug, Default)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes a problem with a key.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        // A message that came from outside may have several lines; a problem has one.
        let message = message.into().split_whitespace().collect::<Vec<_>>().join(" ");
        self.0.push(Problem {
            key: key.into(),
            message,
        });
    }

    /// Nothing found means all is well.
    pub fn into_result(self) -> Result<(), ConfigError> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid { problems: self.0 })
        }
    }
}

/// Keys that were, and what has taken their place.
fn replaced(name: &str) -> Option<&'static str> {
    match name {
        "allowed_return_origins" => Some(
            "use allowed_return_urls, which takes whole addresses such as \"https://app.example.com/connected\" (scheme, host, \
             port and path must be equal, the query is free)",
        ),
        _ => None,
    }
}

/// The typed layer's verdict. Its own wording shows the offending value, which may be a secret, so it is worded anew.
impl From<figment::Error> for ConfigError {
    fn from(error: figment::Error) -> Self {
        let mut problems = Problems::default();
        for error in error {
            let mut path = error.path.clone();
            let message = match &error.kind {
                Kind::UnknownField(name, expected) => {
                    push(&mut path, name);
                    match replaced(name) {
                        Some(now) => format!("unknown key: {now}"),
                        None => format!("unknown key; known here: {}", expected.join(", ")),
                    }
                }
                Kind::MissingField(name) => {
                    push(&mut path, name);
                    "missing".to_owned()
                }
                Kind::InvalidType(actual, expected) => {
                    format!("expected {expected}, found {}", kind_of(actual))
                }
                Kind::InvalidValue(_, expected) => format!("expected {expected}"),
                Kind::UnknownVariant(_, expected) => format!("expected one of {}", expected.join(", ")),
                Kind::Message(message) => message.clone(),
                _ => "not understood".to_owned(),
            };
            // A list's item is told in the message: the key to look for is the list's.
            let item = path.last().and_then(|last| last.parse::<usize>().ok());
            let message = match item {
                Some(index) => {
                    path.pop();
                    format!("item {}: {message}", index + 1)
                }
                None => message,
            };
            let key = if path.is_empty() {
                "configuration".to_owned()
            } else {
                path.join(".")
            };
            problems.add(key, message);
        }
        Self::Invalid { problems: problems.0 }
    }
}

fn push(path: &mut Vec<String>, name: &str) {
    if path.last().is_none_or(|last| last != name) {
        path.push(name.to_owned());
    }
}

fn kind_of(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        _ => "something else",
    }
}
