//! The head of a request, as routing reads it from a header block.

use mesh_relay::hpack::{Block, Token};

use crate::routes::Head;

/// A header block that is a request.
#[derive(Clone, Copy)]
pub(super) struct BlockHead<'a>(pub(super) &'a Block);

impl BlockHead<'_> {
    fn text(&self, token: Token) -> &str {
        let value = self.0.get(token).map_or(&[][..], |field| field.value);
        std::str::from_utf8(value).unwrap_or_default()
    }

    /// Whether the router itself is asked how it is. Any other `GET` is treated as a call: whoever
    /// is behind it says what that is worth.
    pub(super) fn is_probe(&self) -> bool {
        self.text(Token::Method) == "GET" && matches!(self.path(), "/readyz" | "/healthz")
    }
}

impl Head for BlockHead<'_> {
    fn path(&self) -> &str {
        let path = self.text(Token::Path);
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    fn host(&self) -> Option<&str> {
        let authority = self.text(Token::Authority);
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        (!host.is_empty()).then_some(host)
    }

    fn metadata(&self, key: &str) -> Option<&[u8]> {
        self.0.named(key.as_bytes()).map(|field| field.value)
    }
}

/// What of a head is still needed when the directory is not known yet.
pub(super) struct Facts {
    path: String,
    host: Option<String>,
    service: Option<Vec<u8>>,
}

impl Facts {
    pub(super) fn of(head: BlockHead<'_>) -> Self {
        Self {
            path: head.path().to_owned(),
            host: head.host().map(str::to_owned),
            service: head.metadata(crate::routes::SERVICE).map(<[u8]>::to_vec),
        }
    }
}

impl Head for Facts {
    fn path(&self) -> &str {
        &self.path
    }

    fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    fn metadata(&self, key: &str) -> Option<&[u8]> {
        self.service
            .as_deref()
            .filter(|_| key == crate::routes::SERVICE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_from_its_block() {
        let mut block = Block::new();
        block.push(b":method", b"POST");
        block.push(b":path", b"/pkg.Service/Method?x=1");
        block.push(b":authority", b"tool-weather:50051");
        block.push(b"x-mesh-service", b"agent-echo");
        let head = BlockHead(&block);
        assert_eq!(head.path(), "/pkg.Service/Method");
        assert_eq!(head.host(), Some("tool-weather"));
        assert_eq!(head.metadata("x-mesh-service"), Some(&b"agent-echo"[..]));
        assert!(!head.is_probe());
        for (path, probe) in [("/readyz", true), ("/healthz?x", true), ("/p.S/M", false)] {
            let mut block = Block::new();
            block.push(b":method", b"GET");
            block.push(b":path", path.as_bytes());
            assert_eq!(BlockHead(&block).is_probe(), probe, "{path}");
        }
        let facts = Facts::of(head);
        assert_eq!((facts.path(), facts.host()), (head.path(), head.host()));
    }
}
