//! The head of a request, as routing reads it.

use mesh_relay::hpack::{Block, Token};

/// The package of the methods that the router knows.
const OURS: &str = "/agentplatform.";

/// A header block that is a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestHead<'a> {
    block: &'a Block,
    /// Used several times a call.
    path: &'a str,
}

impl<'a> RequestHead<'a> {
    pub(crate) fn new(block: &'a Block) -> Self {
        let path = text(block, Token::Path);
        let end = path.bytes().position(|byte| byte == b'?');
        Self {
            block,
            path: &path[..end.unwrap_or(path.len())],
        }
    }

    pub(crate) fn block(self) -> &'a Block {
        self.block
    }

    /// `/pkg.Service/Method`, without a query.
    pub(crate) fn path(self) -> &'a str {
        self.path
    }

    /// The authority, without its port.
    pub(crate) fn host(self) -> Option<&'a str> {
        let authority = text(self.block, Token::Authority);
        let host = authority.trim_end_matches(|c: char| c.is_ascii_digit());
        let host = host.strip_suffix(':').unwrap_or(authority);
        (!host.is_empty()).then_some(host)
    }

    /// A metadata value.
    pub(crate) fn metadata(self, key: &str) -> Option<&'a [u8]> {
        self.block.named(key.as_bytes()).map(|field| field.value)
    }

    /// Whether the request is a call of gRPC. The chassis answers what is none. A method of another
    /// service with another verb, or without a content type, is that service's to refuse.
    pub(crate) fn is_grpc(self) -> bool {
        let form = self.block.get(Token::ContentType);
        let (post, path) = (text(self.block, Token::Method) == "POST", self.path);
        let foreign = service::is_probe(path)
            || (post && form.is_some_and(|form| !service::is_grpc(form.value)))
            || (!post && (!service::is_method(path) || path.starts_with(OURS)));
        !foreign
    }

    /// Whether the request is a probe of the router's health.
    pub(crate) fn is_probe(self) -> bool {
        let asks = matches!(text(self.block, Token::Method), "GET" | "HEAD" | "OPTIONS");
        asks && service::is_probe(self.path)
    }
}

/// Whether a request is a call of gRPC by its method and its content type.
pub(crate) fn is_call(block: &Block) -> bool {
    let value = |token| block.get(token).map_or(&[][..], |field| field.value);
    value(Token::Method) == b"POST" && service::is_grpc(value(Token::ContentType))
}

fn text(block: &Block, token: Token) -> &str {
    let value = block.get(token).map_or(&[][..], |field| field.value);
    std::str::from_utf8(value).unwrap_or_default()
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
        let head = RequestHead::new(&block);
        assert_eq!(head.path(), "/pkg.Service/Method");
        assert_eq!(head.host(), Some("tool-weather"));
        assert_eq!(head.metadata("x-mesh-service"), Some(&b"agent-echo"[..]));
        assert!(!head.is_probe() && head.is_grpc());
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
            let head = RequestHead::new(&block);
            let seen = (head.is_probe(), !head.is_grpc());
            assert_eq!(seen, (probe, foreign), "{method} {path} {form}");
        }
    }
}
