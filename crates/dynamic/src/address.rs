//! Addresses as people write them.

use http::uri::Authority;

/// Why a text is no address of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// It asks for TLS, which the proxy in front terminates.
    #[error("{0}: the mesh is called without TLS; write host:port")]
    Tls(String),
    /// It is not a host with a port.
    #[error("{0:?} is no address: write host:port")]
    Other(String),
}

/// `host:port` of an address that people write: with `http://` or without, and without a port, which is
/// then `port`, or without anything, which is this machine.
///
/// # Errors
/// For `https://`, and for what is no host.
///
/// ```
/// assert_eq!(mesh_dynamic::address("http://router", 50051)?, "router:50051");
/// # Ok::<_, mesh_dynamic::InvalidAddress>(())
/// ```
pub fn address(text: &str, port: u16) -> Result<String, InvalidAddress> {
    let text = text.trim();
    if text.starts_with("https://") {
        return Err(InvalidAddress::Tls(text.to_owned()));
    }
    let authority = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    if authority.is_empty() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    let parsed = authority.parse::<Authority>();
    let authority = parsed.map_err(|_| InvalidAddress::Other(text.to_owned()))?;
    Ok(match authority.port_u16() {
        Some(_) => authority.to_string(),
        None => format!("{}:{port}", authority.host()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_come_with_a_scheme_and_without_a_port() {
        for (text, expected) in [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("http://router:50061/", "router:50061"),
            ("router", "router:50051"),
            ("[::1]", "[::1]:50051"),
            ("", "127.0.0.1:50051"),
        ] {
            assert_eq!(address(text, 50051).unwrap(), expected);
        }
        assert!(address("https://router", 1).is_err());
        assert!(address("two words", 1).is_err());
        assert!(address("http://router/below", 1).is_err());
    }
}
