//! Which addresses are outside: by IANA's registries of special-purpose addresses, RFC 6890, and
//! those where clouds keep what no request may read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far an address is from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressClass {
    /// Outside: anybody's.
    Public,
    /// Inside: only for hosts that the operator lists. Says what it is.
    Internal(&'static str),
    /// Nobody's to ask. Says what it is.
    Forbidden(&'static str),
}

/// Where clouds tell an instance its secrets, as far as the blocks below do not cover it.
const METADATA_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// How far an address is from us. IPv6 addresses that carry one of IPv4 are nobody's to ask: what
/// they carry can be asked for by itself.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match address {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Forbidden("a cloud's metadata");
    }
    match address.octets() {
        [0, ..] => AddressClass::Forbidden("unspecified"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressClass::Internal("private"),
        [100, 64..=127, ..] => AddressClass::Internal("shared by a carrier"),
        [127, ..] => AddressClass::Internal("loopback"),
        [169, 254, ..] => AddressClass::Forbidden("link-local"),
        [192, 0, 0, _] => AddressClass::Forbidden("reserved"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => {
            AddressClass::Forbidden("for documents")
        }
        [192, 88, 99, _] => AddressClass::Forbidden("a relay of 6to4"),
        [198, 18..=19, ..] => AddressClass::Internal("for benchmarks"),
        [224..=239, ..] => AddressClass::Forbidden("multicast"),
        [240..=255, ..] => AddressClass::Forbidden("reserved"),
        _ => AddressClass::Public,
    }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if address == METADATA_V6 {
        return AddressClass::Forbidden("a cloud's metadata");
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Forbidden("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Internal("loopback"),
        [0, 0, 0, 0, 0, 0xffff, ..] => AddressClass::Forbidden("IPv4 mapped into IPv6"),
        [0, 0, 0, 0, 0xffff, 0, ..] | [0, 0, 0, 0, 0, 0, ..] => {
            AddressClass::Forbidden("IPv4 within IPv6")
        }
        [0x64, 0xff9b, ..] => AddressClass::Forbidden("NAT64"),
        [0x2001, 0, ..] => AddressClass::Forbidden("Teredo"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Forbidden("for documents"),
        [0x2001, 1..=0x1ff, ..] => AddressClass::Forbidden("reserved"),
        [0x2002, ..] => AddressClass::Forbidden("6to4"),
        // Whatever the network: ISATAP, RFC 5214.
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => AddressClass::Forbidden("IPv4 within IPv6"),
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        [0xfc00..=0xfdff, ..] => AddressClass::Internal("unique local"),
        [0xfe80..=0xfebf, ..] => AddressClass::Forbidden("link-local"),
        [0xff00..=0xffff, ..] => AddressClass::Forbidden("multicast"),
        _ => AddressClass::Forbidden("not global"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for public in [
            "1.1.1.1",
            "93.184.215.14",
            "172.32.0.1",
            "100.128.0.1",
            "2606:2800:21f::1",
        ] {
            assert_eq!(
                classify(public.parse().unwrap()),
                AddressClass::Public,
                "{public}"
            );
        }
        let internal = [
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "198.18.0.1",
            "::1",
            "fc00::1",
            "fd12::1",
        ];
        for address in internal {
            let class = classify(address.parse().unwrap());
            assert!(
                matches!(class, AddressClass::Internal(_)),
                "{address}: {class:?}"
            );
        }
        let never = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:1.1.1.1",
            "::127.0.0.1",
            "::ffff:0:1.1.1.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::7f00:1",
            "2001::1",
            "2001:db8::1",
            "2001:10::1",
            "2002:7f00:1::",
            "2606:2800:21f:1:0:5efe:7f00:1",
            "2606:2800:21f:1:200:5efe:a00:1",
            "3fff::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
            "4000::1",
            "100::1",
        ];
        for address in never {
            let class = classify(address.parse().unwrap());
            assert!(
                matches!(class, AddressClass::Forbidden(_)),
                "{address}: {class:?}"
            );
        }
    }
}
