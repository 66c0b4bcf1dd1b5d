//! Addresses as people write them.

use http::uri::Authority;

/// Not an address of the mesh.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// TLS is for the proxy in front.
    #[error("{0}: the mesh is spoken to without TLS; write host:port")]
    Tls(String),
    /// Anything else.
    #[error("{0:?} is no address: write host:port")]
    Other(String),
}

/// `host:port` of what may come with `http://`, and without a port or a host: then it is `port`, on
/// this machine.
///
/// # Errors
/// [`InvalidAddress`].
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
