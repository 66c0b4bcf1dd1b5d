//! The head of a request, as routing reads it from a header block.

use mesh_relay::hpack::{Block, Token};

use crate::routes::Head;

/// A header block that is a request.
#[derive(Clone, Copy)]
pub(super) struct BlockHead<'a> {
    block: &'a Block,
    /// Asked for several times a call.
    path: &'a str,
}

impl<'a> BlockHead<'a> {
    pub(super) fn new(block: &'a Block) -> Self {
        let path = text(block, Token::Path);
        let end = path.bytes().position(|byte| byte == b'?');
        Self {
            block,
            path: &path[..end.unwrap_or(path.len())],
        }
    }

    pub(super) fn block(self) -> &'a Block {
        self.block
    }

    /// Whether the router itself is asked how it is.
    pub(super) fn is_probe(&self) -> bool {
        let asks = matches!(text(self.block, Token::Method), "GET" | "HEAD" | "OPTIONS");
        asks && service::is_probe(self.path())
    }

    /// Whether it is no call of gRPC: the chassis says what that is worth. A method of others with
    /// another verb, or without a content type, is theirs to refuse.
    pub(super) fn is_not_grpc(&self) -> bool {
        let form = self.block.get(Token::ContentType);
        let (post, path) = (text(self.block, Token::Method) == "POST", self.path());
        service::is_probe(path)
            || (post && form.is_some_and(|form| !service::is_grpc(form.value)))
            || (!post && (!service::is_method(path) || path.starts_with(OURS)))
    }
}

impl Head for BlockHead<'_> {
    fn path(&self) -> &str {
        self.path
    }

    fn host(&self) -> Option<&str> {
        let authority = text(self.block, Token::Authority);
        let host = authority.trim_end_matches(|c: char| c.is_ascii_digit());
        let host = host.strip_suffix(':').unwrap_or(authority);
        (!host.is_empty()).then_some(host)
    }

    fn metadata(&self, key: &str) -> Option<&[u8]> {
        self.block.named(key.as_bytes()).map(|field| field.value)
    }
}

/// The package of the methods that the router knows.
const OURS: &str = "/agentplatform.";

/// Whether a request is a call of gRPC by its method and its content type.
pub(super) fn is_call(block: &Block) -> bool {
    let value = |token| block.get(token).map_or(&[][..], |field| field.value);
    value(Token::Method) == b"POST" && service::is_grpc(value(Token::ContentType))
}

fn text(block: &Block, token: Token) -> &str {
    let value = block.get(token).map_or(&[][..], |field| field.value);
    std::str::from_utf8(value).unwrap_or_default()
}

/// What of a head is still needed when the directory is not known yet.
pub(super) struct OwnedHead {
    path: String,
    host: Option<String>,
    service: Option<Vec<u8>>,
}

impl OwnedHead {
    pub(super) fn of(head: BlockHead<'_>) -> Self {
        Self {
            path: head.path().to_owned(),
            host: head.host().map(str::to_owned),
            service: head.metadata(crate::routes::SERVICE).map(<[u8]>::to_vec),
        }
    }
}

impl Head for OwnedHead {
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
        block.push(b"content-type", b"application/grpc");
        let head = BlockHead::new(&block);
        assert_eq!(head.path(), "/pkg.Service/Method");
        assert_eq!(head.host(), Some("tool-weather"));
        assert_eq!(head.metadata("x-mesh-service"), Some(&b"agent-echo"[..]));
        assert!(!head.is_probe() && !head.is_not_grpc());
        for (method, path, form, probe, foreign) in [
            ("GET", "/readyz", "", true, true),
            ("HEAD", "/readyz/", "", true, true),
            ("OPTIONS", "/", "", true, true),
            ("GET", "/healthz?x", "", true, true),
            ("GET", "/p.S/M", "", false, false),
            ("GET", "/favicon.ico", "", false, true),
            (
                "GET",
                "/agentplatform.AgentService/ListAgents",
                "",
                false,
                true,
            ),
            ("POST", "/p.S/M", "application/json", false, true),
            ("POST", "/p.S/M", "application/grpc+json", false, false),
            ("POST", "/readyz", "application/grpc", false, true),
        ] {
            let mut block = Block::new();
            block.push(b":method", method.as_bytes());
            block.push(b":path", path.as_bytes());
            if !form.is_empty() {
                block.push(b"content-type", form.as_bytes());
            }
            let head = BlockHead::new(&block);
            let seen = (head.is_probe(), head.is_not_grpc());
            assert_eq!(seen, (probe, foreign), "{method} {path} {form}");
        }
        let facts = OwnedHead::of(head);
        assert_eq!((facts.path(), facts.host()), (head.path(), head.host()));
    }
}
