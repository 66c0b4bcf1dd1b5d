//! Finds entries of a registry that cannot be called: by their names, IDs, addresses and ports.
//!
//! Whoever may write to the registry can write anything. Every backend leaves out what is unusable,
//! so that it does not disturb the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name of a service, bytes.
const NAME_BYTES: usize = 255;
/// The longest ID of an instance, bytes: it is sent as metadata.
const ID_BYTES: usize = 512;
/// The longest host name and its longest part, bytes (RFC 1035).
const HOST_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// Checks a service's name.
///
/// # Errors
/// When it is empty, too long, or has characters that a URL's path or a header cannot have.
pub(crate) fn name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte);
    if name.len() > NAME_BYTES {
        return Err(format!("its name is longer than {NAME_BYTES} bytes"));
    }
    if name.is_empty() || name == "." || name == ".." || !name.bytes().all(plain) {
        return Err("its name may have only letters, digits and -._~:@+=,".to_owned());
    }
    Ok(())
}

/// Checks an instance's ID.
///
/// # Errors
/// When it is empty, too long, or has control characters.
pub(crate) fn id(id: &str) -> Result<(), String> {
    if id.is_empty() {
        return Err("its ID is empty".to_owned());
    }
    if id.len() > ID_BYTES {
        return Err(format!("its ID is longer than {ID_BYTES} bytes"));
    }
    if id.chars().any(char::is_control) {
        return Err("its ID has control characters".to_owned());
    }
    Ok(())
}

/// Checks the host of an instance.
///
/// # Errors
/// When it is neither the address of one host nor a host name.
pub(crate) fn host(host: &str) -> Result<(), String> {
    if let Some(ip) = address(host) {
        let many = match ip {
            IpAddr::V4(ip) => ip.is_multicast() || ip == Ipv4Addr::BROADCAST,
            IpAddr::V6(ip) => ip.is_multicast(),
        };
        if many || ip.is_unspecified() {
            return Err(format!("its address {host} is not the address of one host"));
        }
        return Ok(());
    }
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= LABEL_BYTES && label.bytes().all(inner)
    };
    let labels = host.strip_suffix('.').unwrap_or(host);
    // A name that ends in a number is a mistyped IPv4 address.
    let number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let named = host.len() <= HOST_BYTES
        && labels.split('.').all(label)
        && !labels.rsplit('.').next().is_some_and(number);
    if named {
        return Ok(());
    }
    Err(format!(
        "its address {} is neither an IP address nor a host name",
        quoted(host)
    ))
}

/// An IP address. One of IPv6 may have a zone.
fn address(host: &str) -> Option<IpAddr> {
    if let Ok(ip) = host.parse() {
        return Some(ip);
    }
    let (ip, zone) = host.split_once('%')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let ip: Ipv6Addr = ip.parse().ok()?;
    (!zone.is_empty() && zone.len() <= LABEL_BYTES && zone.bytes().all(plain)).then_some(ip.into())
}

/// Checks the port of an instance.
///
/// # Errors
/// When it is not from 1 to 65535.
pub(crate) fn port(port: i64) -> Result<u16, String> {
    let usable = u16::try_from(port).ok().filter(|port| *port > 0);
    usable.ok_or_else(|| format!("its port {port} is not from 1 to 65535"))
}

/// Text of others, quoted and cut, for logs and messages.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let end = text.floor_char_boundary(SHOWN);
    let more = if end < text.len() { "…" } else { "" };
    format!("{:?}{more}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_a_path_and_a_header_carry() {
        for good in ["agent-echo", "a.b_c~d:1", &"x".repeat(255)] {
            assert_eq!(name(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "a b",
            "a/b",
            "a%20b",
            "a?b",
            "é",
            "a\"b",
            "a\nb",
            "a#b",
            &"x".repeat(256),
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_id_may_be_anything_that_can_be_shown() {
        for good in ["echo-1", "echo 1/ü%"] {
            assert_eq!(id(good), Ok(()), "{good}");
        }
        for bad in ["", "a\nb", "a\u{7f}", &"x".repeat(513)] {
            assert!(id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_is_an_address_or_a_name() {
        for good in [
            "10.0.0.1",
            "::1",
            "fe80::1%eth0",
            "2001:db8::1",
            "localhost",
            "db.local",
            "db.local.",
            "my_host-1",
            "7f000001.addr.dc1.consul",
        ] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "not an address",
            "10.0.0.1:80",
            "http://h",
            "256.1.1.1",
            "1.2.3",
            "[::1]",
            "a..b",
            "é.example",
            "h/x",
            "u@h",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "fe80::1%",
            "h\n",
            &"x".repeat(64),
            &"x.".repeat(127),
        ] {
            assert!(host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_shown_of_somebody_elses_text_is_bounded() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert!(quoted(&"ü".repeat(1000)).len() < 100);
    }
}
