//! Whether a header block is a message (RFC 9113, section 8), strictly: one client's hostile fields
//! must not make an instance end the connection that all clients share.

use crate::hpack::{Block, Field, Token};

/// What a block is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
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
}

/// A block that came on a stream, checked as what it has to be there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received<'a> {
    pub(crate) block: &'a Block,
    pub(crate) kind: Kind,
    /// `None` when it is malformed.
    pub(crate) checked: Option<Summary>,
    /// The last of its stream.
    pub(crate) end: bool,
}

/// Checks a block; `None` when it is malformed.
pub(crate) fn check(block: &Block, kind: Kind) -> Option<Summary> {
    let mut summary = Summary::default();
    // By what their tokens are numbered with: pseudo-headers come first.
    let mut pseudo = [false; 5];
    let mut regular = false;
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
                summary.interim |= token == Token::Status && field.value[0] == b'1';
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
                    }
                    _ => {}
                }
            }
        }
    }
    let [method, scheme, _authority, path, status] = pseudo;
    let complete = match kind {
        Kind::Request => method && scheme && path,
        Kind::Response => status,
        Kind::Trailers => true,
    };
    complete.then_some(summary)
}

/// Whether a pseudo-header may stand in such a block, with such a value.
fn fits(field: &Field<'_>, kind: Kind) -> bool {
    match (kind, field.token) {
        // What else there is to their values is told by their tokens.
        (Kind::Request, Token::Method | Token::Scheme | Token::Authority | Token::Path) => {
            !field.value.is_empty()
        }
        (Kind::Response, Token::Status) => {
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
        assert!(check(&block(&GOOD), Kind::Request).is_some());
        for (missing, field) in GOOD.iter().enumerate() {
            let mut fields = GOOD.to_vec();
            fields.remove(missing);
            assert!(
                check(&block(&fields), Kind::Request).is_none(),
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
                check(&block(&fields), Kind::Request).is_none(),
                "with {bad:?}"
            );
        }
        let late = [("a", "b"), GOOD[0], GOOD[1], GOOD[2]];
        assert!(check(&block(&late), Kind::Request).is_none());
        assert!(check(&block(&[GOOD[0], GOOD[1], (":path", "")]), Kind::Request).is_none());
    }

    #[test]
    fn trailers_have_no_pseudo_headers() {
        let trailers = block(&[("grpc-status", "5")]);
        assert_eq!(
            check(&trailers, Kind::Trailers).unwrap().grpc_status,
            Some(5)
        );
        assert!(check(&block(&[(":status", "200")]), Kind::Trailers).is_none());
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
            check(&two("3", "3"), Kind::Response)
                .unwrap()
                .content_length,
            Some(3)
        );
        assert!(check(&two("3", "4"), Kind::Response).is_none());
        assert!(check(&two("3", "x"), Kind::Response).is_none());
        assert!(
            check(&block(&[(":status", "100")]), Kind::Response)
                .unwrap()
                .interim
        );
    }
}
