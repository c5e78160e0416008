//! Which addresses we may be told to call. Tokens and client secrets go there, so the rules are strict.

use std::net::{IpAddr, Ipv4Addr};

use oauth_manager_actors::domain::network::Network;
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

    /// What looks like a variable in it, if something does. There are none, but for the two that Microsoft's have.
    pub(super) fn variable(&self, of_microsoft: bool) -> Option<String> {
        let mut text = self.text.clone();
        if of_microsoft {
            text = text.replace("{tenant}", "").replace("{tenantid}", "");
        }
        let begin = text.find(['{', '}', '<', '>'])?;
        let rest = &text[begin..];
        let end = rest.find(['}', '>']).map_or(rest.len(), |end| end + 1);
        Some(rest[..end].to_owned())
    }

    /// Is the address fit to be called? Loopback is for development, and neither it nor a private network for anybody who
    /// did not ask for it.
    pub(super) fn check(
        &self,
        environment: Deployment,
        allow_loopback: bool,
        allow_private: bool,
    ) -> Result<(), &'static str> {
        let network = network_of(&self.url);
        if network == Network::Loopback {
            return match (environment, allow_loopback) {
                (Deployment::Production, _) => Err("must not be on this machine in production"),
                (Deployment::Development, false) => Err("is on this machine: set allow_loopback = true"),
                (Deployment::Development, true) => Ok(()),
            };
        }
        if self.url.scheme() != "https" {
            return Err("must be https");
        }
        match network {
            Network::Never => Err("must not be a link-local, metadata, unspecified or multicast address"),
            Network::Private if !allow_private => {
                Err("is on a private network: set allow_private_network = true")
            }
            Network::Private | Network::Public | Network::Loopback => Ok(()),
        }
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

/// Where it leads; what a name resolves to is seen only when it is connected to.
fn network_of(url: &Url) -> Network {
    match url.host() {
        Some(Host::Domain(name)) if name == "localhost" || name.ends_with(".localhost") => Network::Loopback,
        Some(Host::Domain(_)) => Network::Public,
        Some(Host::Ipv4(address)) => Network::of(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Network::of(IpAddr::V6(address)),
        None => Network::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(text: &str, environment: Deployment, allow_loopback: bool) -> bool {
        Endpoint::parse(text).is_ok_and(|endpoint| endpoint.check(environment, allow_loopback, false).is_ok())
    }

    #[test]
    fn provider_url_policy_corpus() {
        for good in [
            "https://id.acme.example/token",
            "https://ID.acme.example",
            "https://8.1.2.3:8443/x?y=1",
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

    #[test]
    fn a_private_network_needs_a_word_of_its_own_and_metadata_has_none() {
        let fit = |text: &str, allow_private| {
            let endpoint = Endpoint::parse(text).unwrap();
            endpoint
                .check(Deployment::Production, false, allow_private)
                .is_ok()
        };
        for private in [
            "https://10.1.2.3:8443/x",
            "https://192.168.0.1/",
            "https://[fc00::1]/",
            "https://[::ffff:a00:1]/",
        ] {
            assert!(fit(private, true), "{private}");
            assert!(!fit(private, false), "{private}");
        }
        for never in [
            "https://169.254.169.254/",
            "https://[fe80::1]/",
            "https://[fd00:ec2::254]/",
            "https://100.100.100.200/",
        ] {
            assert!(!fit(never, true), "{never}");
        }
        assert!(!fit("http://10.1.2.3/", true), "the client's secret goes there");
    }
}
