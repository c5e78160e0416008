//! Which kind of network an address belongs to: what may be called depends on it, wherever the address was written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The internet.
    Public,
    /// This machine.
    Loopback,
    /// The operator's own network: RFC 1918, RFC 4193, and RFC 6598's shared carrier space.
    Private,
    /// Where no provider ever is: link-local addresses and the others at which clouds tell a machine its own credentials,
    /// addresses of groups, and what is no address of a host at all.
    Never,
}

impl Network {
    /// The kind of this address; an IPv4 address in IPv6 clothes is judged as what it stands for.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => of_v4(ip),
            IpAddr::V6(ip) => of_v6(ip),
        }
    }
}

fn of_v4(ip: Ipv4Addr) -> Network {
    let [a, b, c, _] = ip.octets();
    // Metadata services outside the link-local range: Alibaba's, Oracle's (192.0.0.192), Azure's platform address.
    let metadata = matches!(ip.octets(), [100, 100, 100, 200] | [168, 63, 129, 16]);
    if ip.is_loopback() {
        Network::Loopback
    } else if metadata
        || (a, b, c) == (192, 0, 0)
        || ip.is_link_local()
        || ip.is_unspecified()
        || ip.is_multicast()
        || a == 0
        || a >= 240
    {
        Network::Never
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Network::Private
    } else {
        Network::Public
    }
}

fn of_v6(ip: Ipv6Addr) -> Network {
    if ip.is_loopback() {
        return Network::Loopback;
    }
    let segments = ip.segments();
    match segments {
        // Amazon's and Google's metadata services, inside the private range.
        [0xfd00, 0x0ec2, ..] | [0xfd20, 0x00ce, ..] => Network::Never,
        // Translated to IPv4 on the way: RFC 6052's prefix, IPv4-compatible addresses, RFC 3056.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => translated(high, low),
        [0, 0, 0, 0, 0, 0, high, low] => translated(high, low),
        [0x2002, high, low, ..] => translated(high, low),
        // RFC 8215: a prefix of the operator's own for the same purpose.
        [0x64, 0xff9b, 1, .., high, low] if translated(high, low) == Network::Never => Network::Never,
        [0x64, 0xff9b, 1, ..] => Network::Private,
        // RFC 3879: site-local, out of use.
        [first, ..] if first & 0xffc0 == 0xfec0 => Network::Private,
        _ if ip.is_unicast_link_local() || ip.is_multicast() => Network::Never,
        _ if ip.is_unique_local() => Network::Private,
        _ => Network::Public,
    }
}

/// What the IPv4 address inside is; nobody has a reason to write this machine's that way.
fn translated(high: u16, low: u16) -> Network {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    match of_v4(Ipv4Addr::new(a, b, c, d)) {
        Network::Loopback => Network::Never,
        network => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(network: Network, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(Network::of(address.parse().unwrap()), network, "{address}");
        }
    }

    #[test]
    fn metadata_services_are_never_a_provider_in_whatever_clothes() {
        all(
            Network::Never,
            &[
                "169.254.169.254",
                "169.254.170.2",
                "::ffff:169.254.169.254",
                "64:ff9b::169.254.169.254",
                "64:ff9b:1::169.254.169.254",
                "::169.254.169.254",
                "2002:a9fe:a9fe::1",
                "fe80::1",
                "fe80::a9fe:a9fe",
                "fd00:ec2::254",
                "fd00:ec2::23",
                "fd20:ce::254",
                "100.100.100.200",
                "::ffff:100.100.100.200",
                "192.0.0.192",
                "168.63.129.16",
                "0.0.0.0",
                "0.1.2.3",
                "::",
                "64:ff9b::127.0.0.1",
                "255.255.255.255",
                "240.0.0.1",
                "224.0.0.1",
                "ff02::1",
            ],
        );
    }

    #[test]
    fn private_networks_are_told_from_the_internet_and_this_machine() {
        all(
            Network::Private,
            &[
                "10.0.0.1",
                "172.16.0.1",
                "172.31.255.255",
                "192.168.1.1",
                "100.64.0.1",
                "::ffff:10.0.0.1",
                "64:ff9b::10.0.0.1",
                "fc00::1",
                "fd12:3456::1",
                "fec0::1",
            ],
        );
        all(
            Network::Loopback,
            &["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"],
        );
        all(
            Network::Public,
            &[
                "8.8.8.8",
                "172.32.0.1",
                "100.128.0.1",
                "192.0.1.1",
                "2606:4700::1",
                "64:ff9b::8.8.8.8",
            ],
        );
    }
}
