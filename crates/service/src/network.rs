//! Networks in CIDR notation, and addresses as proxies write them.

use std::net::{IpAddr, SocketAddr};

/// A network: addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

/// Reads a list of networks.
#[must_use]
pub fn networks(text: &str) -> Option<Vec<Network>> {
    let parts = config::parse_list(text);
    parts.iter().map(|part| Network::parse(part)).collect()
}

/// Whether a text is a list of networks.
#[must_use]
pub fn is_network(text: &str) -> bool {
    networks(text).is_some()
}

impl Network {
    /// Parses `10.0.0.0/8`, `fd00::/8` or a single address.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().ok()?;
        let all = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        (bits <= all).then_some(Self { first, bits })
    }

    /// Whether it contains an address. IPv4-mapped IPv6 addresses count as IPv4.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                (a.to_bits() ^ b.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (a.to_bits() ^ b.to_bits()).leading_zeros() >= self.bits
            }
            _ => false,
        }
    }
}

/// Parses an address, with the brackets and port that some proxies write.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_the_addresses_that_begin_like_it() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "1.2.3.4", "::1"),
            ("10.1.0.0/16", "::ffff:10.1.2.3", "10.2.0.1"),
            ("fd00::/8", "fdff::1", "fe00::1"),
        ] {
            let net = Network::parse(network).unwrap();
            assert!(net.has(inside.parse().unwrap()), "{network} {inside}");
            assert!(!net.has(outside.parse().unwrap()), "{network} {outside}");
        }
        for text in [
            "",
            "10.0.0.0/33",
            "::/129",
            "ten",
            "10.0.0.0/",
            "1.2.3.4/-1",
        ] {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert!(is_network("10.0.0.0/8, ::1") && !is_network("10.0.0.0/8, haproxy"));
    }

    #[test]
    fn addresses_are_read_as_proxies_write_them() {
        for (text, ip) in [
            ("1.2.3.4", "1.2.3.4"),
            ("1.2.3.4:99", "1.2.3.4"),
            ("[fd00::1]", "fd00::1"),
            ("[fd00::1]:99", "fd00::1"),
            ("::ffff:1.2.3.4", "1.2.3.4"),
        ] {
            assert_eq!(address(text), ip.parse().ok(), "{text}");
        }
        assert_eq!(address("unknown"), None);
    }
}
