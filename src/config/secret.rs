//! A piece of text that must not be seen: wiped when dropped, absent from `Debug`, neither printable nor serialisable.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Secret text of the configuration.
#[derive(Clone)]
pub struct SecretString {
    text: Zeroizing<String>,
    file: Option<PathBuf>,
}

impl SecretString {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Self {
        Self {
            text: Zeroizing::new(text.into()),
            file: None,
        }
    }

    /// Notes where it was read from, for those who look there again.
    pub(super) fn read_from(&mut self, file: &Path) {
        self.file = Some(file.to_owned());
    }

    /// Takes off what is around it.
    pub(super) fn trim_matches(&mut self, is_taken_off: impl Fn(char) -> bool) {
        let trimmed = self.text.trim_matches(is_taken_off);
        if trimmed.len() != self.text.len() {
            self.text = Zeroizing::new(trimmed.to_owned());
        }
    }

    /// Where it was read from, if it was.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Hands the secret out. Each call is a place to look at in a review.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl<'de> Deserialize<'de> for SecretString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}
