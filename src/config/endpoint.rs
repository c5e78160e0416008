//! Which addresses we may be told to call. Tokens and client secrets go there, so the rules are strict.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Deserializer};
use url::{Host, Url};

use super::server::Deployment;

/// An address of somebody we send secrets to, spelled plainly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    url: Url,
    /// As written: an issuer is compared letter by letter, and a parsed URL has gained a slash.
    text: String,
}

impl Endpoint {
    /// Reads an address. Refuses every spelling whose host is not what it looks like: user names before the host,
    /// addresses in decimal or octal, names outside ASCII, names that end in a dot.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let url = Url::parse(text).map_err(|_| "expected a URL such as \"https://id.example.com/token\"")?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err("must be an https URL");
        }
        if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
            return Err("must not hold a user name or a password");
        }
        if url.fragment().is_some() {
            return Err("must not have a fragment");
        }
        let host = url.host_str().ok_or("has no host")?;
        if host.ends_with('.') {
            return Err("the host must not end in a dot");
        }
        let plain = format!("{}://{host}", url.scheme());
        if !text.to_ascii_lowercase().starts_with(&plain) {
            return Err("the host must be written plainly: ASCII names (xn--...) and dotted addresses");
        }
        Ok(Self {
            url,
            text: text.to_owned(),
        })
    }

    /// The address.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The address as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Is the address fit to be called? Loopback is for development, and for nobody who did not ask for it.
    pub(super) fn check(&self, environment: Deployment, allow_loopback: bool) -> Result<(), &'static str> {
        if is_loopback(&self.url) {
            return match (environment, allow_loopback) {
                (Deployment::Production, _) => Err("must not be on this machine in production"),
                (Deployment::Development, false) => Err("is on this machine: set allow_loopback = true"),
                (Deployment::Development, true) => Ok(()),
            };
        }
        if self.url.scheme() != "https" {
            return Err("must be https");
        }
        if never_a_provider(&self.url) {
            return Err("must not be a link-local, unspecified or multicast address");
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// `127.0.0.1` or `[::1]`, literally. RFC 8252 section 8.3 advises against `localhost`: somebody else may answer to it.
pub(super) fn is_loopback_literal(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Anything that leads to this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        host => address_of(host).is_some_and(|address| address.is_loopback()),
    }
}

/// Link-local addresses are where clouds answer questions about the machine's own credentials.
fn never_a_provider(url: &Url) -> bool {
    match address_of(url.host()) {
        Some(IpAddr::V4(address)) => {
            address.is_link_local()
                || address.is_unspecified()
                || address.is_multicast()
                || address.is_broadcast()
        }
        Some(IpAddr::V6(address)) => {
            address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()
        }
        None => false,
    }
}

/// The address, an IPv4 one in IPv6 clothes undressed.
fn address_of(host: Option<Host<&str>>) -> Option<IpAddr> {
    match host? {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)),
        Host::Domain(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(text: &str, environment: Deployment, allow_loopback: bool) -> bool {
        Endpoint::parse(text).is_ok_and(|endpoint| endpoint.check(environment, allow_loopback).is_ok())
    }

    #[test]
    fn provider_url_policy_corpus() {
        for good in [
            "https://id.acme.example/token",
            "https://ID.acme.example",
            "https://10.1.2.3:8443/x?y=1",
        ] {
            assert!(fit(good, Deployment::Production, false), "{good}");
        }
        for bad in [
            "http://id.acme.example/token",
            "ftp://id.acme.example/",
            "https://user@id.acme.example/",
            "https://user:pass@id.acme.example/",
            "https://id.acme.example@evil.example/",
            "https://id.acme.example/#x",
            "https://id.acme.example./",
            "https://ïd.acme.example/",
            "https://169.254.169.254/latest",
            "https://[::ffff:169.254.169.254]/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
            "https://224.0.0.1/",
            "https:id.acme.example",
            "https:\\\\id.acme.example",
            "id.acme.example",
            "",
        ] {
            for environment in [Deployment::Production, Deployment::Development] {
                assert!(!fit(bad, environment, true), "{bad}");
            }
        }
    }

    #[test]
    fn prod_refuses_loopback_provider() {
        for local in [
            "http://127.0.0.1:8003/token",
            "https://127.0.0.1/token",
            "http://127.8.8.8/",
            "http://[::1]:8003/",
            "http://[::ffff:7f00:1]/",
            "https://localhost/",
            "https://a.localhost/",
        ] {
            assert!(!fit(local, Deployment::Production, true), "{local}");
            assert!(!fit(local, Deployment::Production, false), "{local}");
            assert!(!fit(local, Deployment::Development, false), "{local}");
            assert!(fit(local, Deployment::Development, true), "{local}");
        }
        for disguised in [
            "http://2130706433/",
            "http://0177.0.0.1/",
            "http://0x7f.1/",
            "http://127.1/",
        ] {
            assert!(!fit(disguised, Deployment::Development, true), "{disguised}");
        }
    }
}
