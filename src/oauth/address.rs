//! Which addresses the engine may talk to: `https` and public, unless the operator said otherwise.
//!
//! Provider addresses come from the operator or from a discovery document. Names are checked when they are taken in, and
//! what they resolve to is checked at every connect, so that a name cannot be turned to an inner address later (DNS
//! rebinding).

use std::net::{IpAddr, SocketAddr};

use oauth_manager_actors::domain::network::Network;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What is allowed beyond public addresses over TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct AddressPolicy {
    /// Loopback, and `http` to it.
    pub(super) loopback: bool,
    /// Private ranges.
    pub(super) private: bool,
}

impl AddressPolicy {
    /// Takes an address in, or says what is wrong with it.
    pub(super) fn accept(self, text: &str) -> Result<Url, &'static str> {
        let url = Url::parse(text).map_err(|_| "is not a URL")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds credentials");
        }
        if url.fragment().is_some() {
            return Err("holds a fragment");
        }
        let loopback_name = |name: &str| {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        };
        let network = match url.host() {
            Some(Host::Domain(name)) if loopback_name(name) => Network::Loopback,
            // What it leads to is looked at when it is connected to.
            Some(Host::Domain(_)) => Network::Public,
            Some(Host::Ipv4(ip)) => Network::of(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Network::of(IpAddr::V6(ip)),
            None => return Err("has no host"),
        };
        if !self.reaches(network) {
            return Err(match network {
                Network::Private => "is on a private network: set allow_private_network = true",
                _ => "points to an address that is not allowed",
            });
        }
        let is_loopback = network == Network::Loopback;
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback && self.loopback => Ok(url),
            "http" => Err("must use https"),
            _ => Err("has an unusable scheme"),
        }
    }

    /// Whether a connection to this address may be opened.
    pub(super) fn allows(self, ip: IpAddr) -> bool {
        self.reaches(Network::of(ip))
    }

    fn reaches(self, network: Network) -> bool {
        match network {
            Network::Public => true,
            Network::Loopback => self.loopback,
            Network::Private => self.private,
            Network::Never => false,
        }
    }
}

/// A name that leads only to where the policy does not.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no allowed address")]
pub(super) struct NotAllowed;

impl NotAllowed {
    /// Whether this is why there is no connection.
    pub(super) fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(<dyn std::error::Error>::is::<Self>)
    }
}

/// Resolves names and drops what the policy does not allow.
#[derive(Debug)]
pub(super) struct PolicyResolver(pub(super) AddressPolicy);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0;
        Box::pin(async move {
            // Port 0 is replaced by the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<SocketAddr> = found.filter(|address| policy.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(NotAllowed.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: AddressPolicy = AddressPolicy {
        loopback: false,
        private: false,
    };

    #[test]
    fn provider_url_policy_corpus() {
        for bad in [
            "http://id.example.com/token",
            "ftp://id.example.com/",
            "https://user:pw@id.example.com/",
            "https://user@id.example.com/",
            "https://id.example.com/#x",
            "https://localhost/",
            "https://localhost./",
            "https://a.localhost/",
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://169.254.169.254/latest",
            "https://10.0.0.1/",
            "https://172.16.0.1/",
            "https://192.168.1.1/",
            "https://100.64.0.1/",
            "https://0.0.0.0/",
            "https://255.255.255.255/",
            "https://224.0.0.1/",
            "https://[fe80::1]/",
            "https://[fc00::1]/",
            "https://[::]/",
            "javascript:alert(1)",
            "//id.example.com/",
            "",
        ] {
            assert!(STRICT.accept(bad).is_err(), "{bad}");
        }
        for good in [
            "https://id.example.com/token",
            "https://id.example.com:8443/a?b=c",
            "https://8.8.8.8/",
        ] {
            assert!(STRICT.accept(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn loopback_and_http_need_an_explicit_word() {
        let dev = AddressPolicy {
            loopback: true,
            private: false,
        };
        assert!(dev.accept("http://127.0.0.1:8003/token").is_ok());
        assert!(dev.accept("http://localhost:8003/token").is_ok());
        assert!(dev.accept("http://[::1]:8003/token").is_ok());
        assert!(dev.accept("http://id.example.com/token").is_err());
        assert!(dev.accept("http://10.0.0.1/token").is_err());
    }

    #[tokio::test]
    async fn dns_rebinding_blocked_at_connect() {
        use std::str::FromStr;
        let name = || Name::from_str("localhost").unwrap();
        assert!(PolicyResolver(STRICT).resolve(name()).await.is_err());
        let dev = AddressPolicy {
            loopback: true,
            private: false,
        };
        assert!(PolicyResolver(dev).resolve(name()).await.is_ok());
    }

    #[test]
    fn a_private_network_needs_an_explicit_word_and_metadata_has_none() {
        let private = AddressPolicy {
            private: true,
            loopback: false,
        };
        for address in [
            "10.1.2.3",
            "172.20.0.1",
            "192.168.0.1",
            "100.64.0.1",
            "[fc00::1]",
            "[::ffff:10.0.0.1]",
        ] {
            let url = format!("https://{address}/token");
            assert!(private.accept(&url).is_ok(), "{url}");
            assert!(
                STRICT.accept(&url).unwrap_err().contains("allow_private_network"),
                "{url}"
            );
            assert!(
                private.accept(&format!("http://{address}/token")).is_err(),
                "{url}"
            );
        }
        for metadata in [
            "169.254.169.254",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[fe80::1]",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "127.0.0.1",
        ] {
            assert!(
                private.accept(&format!("https://{metadata}/token")).is_err(),
                "{metadata}"
            );
        }
    }

    /// What a name leads to is judged like what is written: here names that lead where they say.
    #[tokio::test]
    async fn names_that_lead_to_metadata_are_refused_whatever_is_allowed() {
        use std::str::FromStr;
        let leads = async |policy: AddressPolicy, name: &str| {
            PolicyResolver(policy)
                .resolve(Name::from_str(name).unwrap())
                .await
                .is_ok()
        };
        let private = AddressPolicy {
            private: true,
            loopback: false,
        };
        let all = AddressPolicy {
            private: true,
            loopback: true,
        };
        for address in ["10.0.0.1", "192.168.3.4", "fc00::1"] {
            assert!(leads(private, address).await, "{address}");
            assert!(!leads(STRICT, address).await, "{address}");
        }
        for address in [
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1",
            "fd00:ec2::254",
        ] {
            assert!(!leads(all, address).await, "{address}");
        }
        assert!(leads(STRICT, "8.8.8.8").await && !leads(private, "localhost").await);
    }
}
