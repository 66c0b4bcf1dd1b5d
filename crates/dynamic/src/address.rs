//! A router's address as people write it.

use http::uri::Authority;

/// A router's port when the address has none.
const PORT: u16 = 50051;

/// Not an address of a router.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// TLS is for the proxy in front.
    #[error("{0}: routers speak gRPC without TLS; write host:port")]
    Tls(String),
    /// Anything else.
    #[error("{0:?} is no address: write host:port")]
    Other(String),
}

/// `host:port` of an address with or without a scheme or a port; this machine's router for an
/// empty one.
///
/// # Errors
/// [`Malformed`].
pub fn router_address(text: &str) -> Result<String, Malformed> {
    let text = text.trim();
    if text.starts_with("https://") {
        return Err(Malformed::Tls(text.to_owned()));
    }
    let authority = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    if authority.is_empty() {
        return Ok(format!("127.0.0.1:{PORT}"));
    }
    let parsed = authority.parse::<Authority>();
    let authority = parsed.map_err(|_| Malformed::Other(text.to_owned()))?;
    Ok(match authority.port_u16() {
        Some(_) => authority.to_string(),
        None => format!("{}:{PORT}", authority.host()),
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
            assert_eq!(router_address(text).unwrap(), expected);
        }
        assert!(router_address("https://router").is_err());
        assert!(router_address("two words").is_err());
    }
}
