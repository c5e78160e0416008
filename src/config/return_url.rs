//! An address that browsers may be sent back to: scheme, host, port and path.

use std::fmt;

use serde::{Deserialize, Deserializer};
use url::Url;

use super::origin::Origin;
use super::server::Deployment;

/// An address without a query, as browsers write it: `https://app.example.com/connected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnUrl(Url);

impl ReturnUrl {
    /// Reads an address. What a browser would repair, or what would be passed over in silence, is refused instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.contains('*') {
            return Err("wildcards are not allowed: name each address".into());
        }
        let url = Url::parse(text)
            .map_err(|_| "expected a whole address such as \"https://app.example.com/connected\"")?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("it begins with https:// (or http:// in development)".into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("leave out the query and the fragment: the query of return_to is free".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("leave out the user name and password".into());
        }
        // Compared is what browsers make of it; whoever wrote something else meant something else.
        let path = text
            .find("://")
            .and_then(|at| text[at + 3..].find('/').map(|slash| at + 3 + slash));
        let written = path.map_or("/", |at| &text[at..]);
        let is_plain = !text.contains(['\\', ' ']) && !text.chars().any(char::is_control);
        if !is_plain || written.is_ascii() && written != url.path() {
            return Err(format!("browsers read it as {url}: write that"));
        }
        Ok(Self(url))
    }

    /// The address.
    pub fn url(&self) -> &Url {
        &self.0
    }

    pub(super) fn check(&self, environment: Deployment) -> Result<(), &'static str> {
        Origin::of(&self.0).check(environment)
    }
}

impl fmt::Display for ReturnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ReturnUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_taken() {
        for (text, read) in [
            ("https://app.example.com", "https://app.example.com/"),
            ("https://app.example.com/", "https://app.example.com/"),
            ("https://APP.example.com:443/Done", "https://app.example.com/Done"),
            (
                "https://app.example.com/a/b.html",
                "https://app.example.com/a/b.html",
            ),
            (
                "https://b\u{fc}cher.example/fertig",
                "https://xn--bcher-kva.example/fertig",
            ),
            ("http://127.0.0.1:3000/done", "http://127.0.0.1:3000/done"),
        ] {
            assert_eq!(ReturnUrl::parse(text).unwrap().url().as_str(), read);
        }
        for text in [
            "",
            "*",
            "https://*.example.com/done",
            "https://app.example.com/*",
            "app.example.com/done",
            "/done",
            "https://app.example.com/done?x=1",
            "https://app.example.com/done?",
            "https://app.example.com/done#x",
            "https://user@app.example.com/done",
            "https://app.example.com/a/../done",
            "https://app.example.com/%2e%2e/done",
            "https:\\\\app.example.com\\done",
            " https://app.example.com/done",
            "https://app.example.com/do\tne",
            "javascript:alert(1)",
            "myapp://done",
        ] {
            assert!(ReturnUrl::parse(text).is_err(), "{text}");
        }
    }
}
