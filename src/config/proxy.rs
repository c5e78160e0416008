//! Proxies of the operator's own, whose word about where a request came from is believed.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// An address, or a network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// Reads `10.0.0.7`, `10.0.0.0/8` or `fd12:3456::/32`; an IPv4 network in IPv6 clothes is the IPv4 network.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected an address or a network, such as \"10.0.0.7\" or \"10.0.0.0/8\"";
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse::<IpNet>().map_err(|_| EXPECTED)?,
        };
        if network.prefix_len() == 0 {
            return Err(
                "is everybody: anybody could then write any address into the audit. Name the proxies",
            );
        }
        let network = match (network.addr().to_canonical(), network) {
            (IpAddr::V4(address), IpNet::V6(mapped)) => {
                let length = mapped.prefix_len().checked_sub(96).ok_or(EXPECTED)?;
                IpNet::new(IpAddr::V4(address), length).map_err(|_| EXPECTED)?
            }
            _ => network,
        };
        Ok(Self(network.trunc()))
    }

    /// The network; of one address where only that was given.
    pub fn network(self) -> IpNet {
        self.0
    }
}

impl<'de> Deserialize<'de> for TrustedProxy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_network_of_one_and_everybody_is_no_proxy() {
        for (text, network) in [
            ("10.0.0.7", "10.0.0.7/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            ("fd12:3456::/32", "fd12:3456::/32"),
            ("::ffff:10.0.0.7", "10.0.0.7/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ] {
            assert_eq!(TrustedProxy::parse(text).unwrap().network().to_string(), network);
        }
        for text in [
            "",
            "*",
            "0.0.0.0/0",
            "::/0",
            "10.0.0.0/33",
            "proxy.example",
            "10.0.0",
            "10.0.0.7:80",
        ] {
            assert!(TrustedProxy::parse(text).is_err(), "{text}");
        }
    }
}
