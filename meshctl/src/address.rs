//! Addresses as people write them.

use anyhow::{Context as _, bail};

/// `host:port` of what may come with `http://`, and without a port or a host.
///
/// # Errors
/// When it is no address, or one that needs TLS.
pub(crate) fn parse(text: &str, port: u16) -> anyhow::Result<String> {
    let text = text.trim();
    if text.starts_with("https://") {
        bail!("{text}: the mesh is spoken to without TLS; write host:port");
    }
    let authority = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    let uri: http::uri::Authority = match authority {
        "" => format!("127.0.0.1:{port}").parse()?,
        _ => authority
            .parse()
            .with_context(|| format!("{text:?} is no address: write host:port"))?,
    };
    Ok(match uri.port_u16() {
        Some(_) => uri.to_string(),
        None => format!("{}:{port}", uri.host()),
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
            assert_eq!(parse(text, 50051).unwrap(), expected);
        }
        assert!(parse("https://router", 1).is_err());
        assert!(parse("two words", 1).is_err());
        assert!(parse("http://router/below", 1).is_err());
    }
}
