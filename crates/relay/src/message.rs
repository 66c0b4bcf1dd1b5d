//! Whether a header block is a message (RFC 9113, section 8), strictly: one client's hostile fields
//! must not make an instance end the connection that all clients share.

use crate::hpack::{Block, Field, Token};

/// What a block is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Request,
    Response,
    Trailers,
}

/// What a well-formed block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) content_length: Option<u64>,
    /// An interim response, 1xx.
    pub(crate) interim: bool,
    pub(crate) grpc_status: Option<u32>,
    /// Its content type is gRPC's.
    pub(crate) grpc: bool,
    /// The status of a response that is HTTP's alone: neither of gRPC's form, nor with its status.
    pub(crate) http: Option<u16>,
    /// Of a request: it has an authority that every instance takes.
    pub(crate) authority: bool,
}

/// A block that came on a stream, checked as what it has to be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) block: &'a Block,
    pub(crate) kind: MessageKind,
    /// `None` when it is malformed.
    pub(crate) checked: Option<Summary>,
    /// The last of its stream.
    pub(crate) end: bool,
}

/// Checks a block; `None` when it is malformed.
pub(crate) fn check(block: &Block, kind: MessageKind) -> Option<Summary> {
    let mut summary = Summary::default();
    // By what their tokens are numbered with: pseudo-headers come first.
    let mut pseudo = [false; 6];
    let (mut regular, mut has_status) = (false, false);
    let (mut status, mut content_type) = (0, None);
    for (place, token) in block.tokens() {
        match token {
            Token::Malformed => return None,
            token if token.is_pseudo() => {
                let field = block.at(place);
                if regular
                    || std::mem::replace(&mut pseudo[token as usize], true)
                    || !fits(&field, kind)
                {
                    return None;
                }
                if token == Token::Status {
                    status = number(field.value).unwrap_or(0);
                }
            }
            token => {
                regular = true;
                match token {
                    Token::ContentLength => {
                        let length = number(block.at(place).value)?;
                        if summary.content_length.is_some_and(|other| other != length) {
                            return None;
                        }
                        summary.content_length = Some(length);
                    }
                    Token::GrpcStatus => {
                        let status = number(block.at(place).value);
                        summary.grpc_status = status.and_then(|status| u32::try_from(status).ok());
                        has_status = true;
                    }
                    Token::ContentType => {
                        let grpc = block.at(place).value.starts_with(b"application/grpc");
                        content_type = Some(grpc && content_type != Some(false));
                    }
                    _ => {}
                }
            }
        }
    }
    let [method, scheme, authority, path, response, no_host] = pseudo;
    let complete = match kind {
        MessageKind::Request => method && scheme && path && !(authority && no_host),
        MessageKind::Response => response,
        MessageKind::Trailers => true,
    };
    summary.interim = (100..200).contains(&status);
    summary.grpc = content_type == Some(true);
    summary.authority = authority;
    // A response without any content type is left to its caller.
    if kind == MessageKind::Response && !has_status && !summary.interim {
        let foreign = status != 200 || content_type == Some(false);
        summary.http = u16::try_from(status).ok().filter(|_| foreign);
    }
    complete.then_some(summary)
}

/// Whether a pseudo-header may stand in such a block, with such a value.
fn fits(field: &Field<'_>, kind: MessageKind) -> bool {
    match (kind, field.token) {
        // What else there is to their values is told by their tokens.
        (MessageKind::Request, Token::Method | Token::Scheme | Token::Authority | Token::Path) => {
            !field.value.is_empty()
        }
        (MessageKind::Request, Token::NoHost) => true,
        (MessageKind::Response, Token::Status) => {
            field.value.len() == 3 && field.value.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn number(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.len() < 20 && value.iter().all(u8::is_ascii_digit);
    digits.then(|| {
        value
            .iter()
            .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> Block {
        let mut block = Block::new();
        for (name, value) in fields {
            block.push(name.as_bytes(), value.as_bytes());
        }
        block
    }

    const GOOD: [(&str, &str); 3] = [(":method", "POST"), (":scheme", "http"), (":path", "/s/m")];

    #[test]
    fn a_request_needs_its_pseudo_headers_once_and_first() {
        assert!(check(&block(&GOOD), MessageKind::Request).is_some());
        for (missing, field) in GOOD.iter().enumerate() {
            let mut fields = GOOD.to_vec();
            fields.remove(missing);
            assert!(
                check(&block(&fields), MessageKind::Request).is_none(),
                "without {field:?}"
            );
        }
        for bad in [
            (":path", "/twice"),
            (":status", "200"),
            (":path", ""),
            ("connection", "close"),
        ] {
            let mut fields = GOOD.to_vec();
            fields.push(bad);
            assert!(
                check(&block(&fields), MessageKind::Request).is_none(),
                "with {bad:?}"
            );
        }
        let late = [("a", "b"), GOOD[0], GOOD[1], GOOD[2]];
        assert!(check(&block(&late), MessageKind::Request).is_none());
        assert!(
            check(
                &block(&[GOOD[0], GOOD[1], (":path", "")]),
                MessageKind::Request
            )
            .is_none()
        );
    }

    #[test]
    fn an_answer_of_http_is_told_from_one_of_grpc() {
        let http =
            |fields: &[(&str, &str)]| check(&block(fields), MessageKind::Response).unwrap().http;
        let (ok, grpc) = (
            (":status", "200"),
            ("content-type", "application/grpc+proto"),
        );
        assert_eq!(http(&[ok, grpc]), None);
        assert_eq!(http(&[ok]), None, "who asks may make of it what it likes");
        assert_eq!(http(&[ok, ("content-type", "text/html")]), Some(200));
        assert_eq!(http(&[(":status", "503"), grpc]), Some(503));
        assert_eq!(http(&[(":status", "103"), grpc]), None);
        let status = ("grpc-status", "14");
        assert_eq!(
            http(&[(":status", "503"), ("content-type", "text/html"), status]),
            None
        );
    }

    #[test]
    fn an_authority_that_is_no_host_is_no_mistake_and_none_either() {
        for (value, usable) in [
            ("a:1", true),
            ("ipv4:a,b", false),
            ("", false),
            ("me@a", false),
        ] {
            let fields = [GOOD[0], GOOD[1], GOOD[2], (":authority", value)];
            let summary = check(&block(&fields), MessageKind::Request).unwrap();
            assert_eq!(summary.authority, usable, "{value}");
        }
        assert!(
            !check(&block(&GOOD), MessageKind::Request)
                .unwrap()
                .authority
        );
        let twice = [
            GOOD[0],
            GOOD[1],
            GOOD[2],
            (":authority", "a"),
            (":authority", ":1"),
        ];
        assert!(check(&block(&twice), MessageKind::Request).is_none());
    }

    #[test]
    fn trailers_have_no_pseudo_headers() {
        let trailers = block(&[("grpc-status", "5")]);
        assert_eq!(
            check(&trailers, MessageKind::Trailers).unwrap().grpc_status,
            Some(5)
        );
        assert!(check(&block(&[(":status", "200")]), MessageKind::Trailers).is_none());
    }

    #[test]
    fn content_lengths_that_differ_are_malformed() {
        let two = |a, b| {
            block(&[
                (":status", "200"),
                ("content-length", a),
                ("content-length", b),
            ])
        };
        assert_eq!(
            check(&two("3", "3"), MessageKind::Response)
                .unwrap()
                .content_length,
            Some(3)
        );
        assert!(check(&two("3", "4"), MessageKind::Response).is_none());
        assert!(check(&two("3", "x"), MessageKind::Response).is_none());
        assert!(
            check(&block(&[(":status", "100")]), MessageKind::Response)
                .unwrap()
                .interim
        );
    }
}
