//! Which addresses the engine may talk to: `https` and public, unless the operator said otherwise.
//!
//! Provider addresses come from the operator or from a discovery document. Names are checked when they are taken in, and
//! what they resolve to is checked at every connect, so that a name cannot be turned to an inner address later (DNS
//! rebinding).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// What is allowed beyond public addresses over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
        let (is_loopback, allowed) = match url.host() {
            Some(Host::Domain(name)) => (loopback_name(name), !loopback_name(name) || self.loopback),
            Some(Host::Ipv4(ip)) => (ip.is_loopback(), self.allows(IpAddr::V4(ip))),
            Some(Host::Ipv6(ip)) => (ip.is_loopback(), self.allows(IpAddr::V6(ip))),
            None => return Err("has no host"),
        };
        if !allowed {
            return Err("points to an address that is not allowed");
        }
        match url.scheme() {
            "https" => Ok(url),
            "http" if is_loopback && self.loopback => Ok(url),
            "http" => Err("must use https"),
            _ => Err("has an unusable scheme"),
        }
    }

    /// Whether a connection to this address may be opened.
    pub(super) fn allows(self, ip: IpAddr) -> bool {
        match ip.to_canonical() {
            IpAddr::V4(ip) => self.allows_v4(ip),
            IpAddr::V6(ip) => self.allows_v6(ip),
        }
    }

    fn allows_v4(self, ip: Ipv4Addr) -> bool {
        let [a, b, ..] = ip.octets();
        if ip.is_loopback() {
            return self.loopback;
        }
        // 100.64/10 is shared carrier space (RFC 6598), as private as RFC 1918's for our purpose.
        if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
            return self.private;
        }
        // Link-local is where cloud metadata services listen; never a provider.
        !(ip.is_link_local()
            || ip.is_unspecified()
            || ip.is_multicast()
            || ip.is_broadcast()
            || a == 0
            || a >= 240)
    }

    fn allows_v6(self, ip: Ipv6Addr) -> bool {
        if ip.is_loopback() {
            return self.loopback;
        }
        if ip.is_unique_local() {
            return self.private;
        }
        !(ip.is_unicast_link_local() || ip.is_unspecified() || ip.is_multicast())
    }
}

/// A name of which nothing is left that may be called.
#[derive(Debug, thiserror::Error)]
#[error("the name resolves to no allowed address")]
pub(super) struct NoAllowedAddress;

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
                return Err(NoAllowedAddress.into());
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
}
