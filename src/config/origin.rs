//! A web origin: scheme, host and port, compared exactly.

use std::fmt;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::endpoint::is_loopback_literal;
use super::server::Deployment;

/// An origin in its one canonical form, as browsers send it: `https://app.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    /// Reads an origin. Wildcards are no origins: a list of who may receive our answers names them.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.contains('*') {
            return Err("wildcards are not allowed: name each origin");
        }
        let url = Url::parse(text).map_err(|_| "expected an origin such as \"https://app.example.com\"")?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("an origin begins with https:// (or http:// in development)");
        }
        let origin = url.origin().ascii_serialization();
        // Anything beyond the origin would be ignored silently; the canonical form leaves no room for it.
        let plain = text.strip_suffix('/').unwrap_or(text);
        let default_port = if url.scheme() == "https" { ":443" } else { ":80" };
        let plain = plain.strip_suffix(default_port).unwrap_or(plain);
        if plain.eq_ignore_ascii_case(&origin) {
            Ok(Self(origin))
        } else {
            Err("expected an origin and nothing else")
        }
    }

    /// The origin of an address.
    pub fn of(url: &Url) -> Self {
        Self(url.origin().ascii_serialization())
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Plain http is readable by anyone on the way, so only development may use it, and only to itself.
    pub(super) fn check(&self, environment: Deployment) -> Result<(), &'static str> {
        if self.0.starts_with("https://") {
            return Ok(());
        }
        let local = Url::parse(&self.0)
            .is_ok_and(|url| is_loopback_literal(&url) || url.domain() == Some("localhost"));
        match environment {
            Deployment::Production => Err("must be https"),
            Deployment::Development if local => Ok(()),
            Deployment::Development => Err("must be https, or http on this machine"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_origins_are_taken() {
        for (text, canonical) in [
            ("https://app.example.com", "https://app.example.com"),
            ("https://app.example.com/", "https://app.example.com"),
            ("https://APP.example.com:443", "https://app.example.com"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().as_str(), canonical);
        }
        for text in [
            "*",
            "https://*.example.com",
            "app.example.com",
            "https://app.example.com/path",
            "https://app.example.com?x",
            "https://user@app.example.com",
            "https://app.example.com#x",
            "javascript:alert(1)",
            "null",
            "https:\\\\app.example.com",
            " https://app.example.com",
            "https://2130706433",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
