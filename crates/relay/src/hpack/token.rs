//! What a field is to the relay: told by its name once, when it enters a table.

/// The fields that a relay looks at, and the kinds of all others. Pseudo-headers are the first six.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// `:method`
    Method,
    /// `:scheme`
    Scheme,
    /// `:authority`
    Authority,
    /// `:path`
    Path,
    /// `:status`
    Status,
    /// An `:authority` that is no host, which clients send all the same: a list of addresses, a
    /// resolver's path. Instances may not take it, so another goes on in its place.
    NoHost,
    /// `content-type`
    ContentType,
    /// `content-length`
    ContentLength,
    /// `te`
    Te,
    /// `host`
    Host,
    /// `grpc-timeout`
    GrpcTimeout,
    /// `grpc-status`
    GrpcStatus,
    /// `grpc-encoding`
    GrpcEncoding,
    /// A name of the mesh's own: `x-mesh-…`
    Mesh,
    /// A trace context: `traceparent`, `tracestate`
    Trace,
    /// Any other valid field.
    Other,
    /// A field that no HTTP/2 message may have: a bad name or value, an unknown pseudo-header, or
    /// one that speaks about the connection (RFC 9113, sections 8.2 and 8.3).
    Malformed,
}

/// What may stand in names: RFC 9110's token characters, without capitals.
const NAME: [bool; 256] = table(b"!#$%&'*+-.^_`|~", [LOWER, DIGITS, NONE]);
/// The same with capitals.
const METHOD: [bool; 256] = table(b"!#$%&'*+-.^_`|~", [LOWER, DIGITS, UPPER]);
const SCHEME: [bool; 256] = table(b"+-.", [LOWER, DIGITS, UPPER]);
/// A host and a port; nobody is named before them (RFC 9113, section 8.3.1).
const AUTHORITY: [bool; 256] = table(b"-._~!$&'()*+,;=:[]", [LOWER, DIGITS, UPPER]);
/// RFC 3986's characters of a path and a query.
const PATH: [bool; 256] = table(b"-._~!$&'()*+,;=:@/?%", [LOWER, DIGITS, UPPER]);

/// What may stand in values: what the strictest of instances takes.
const VALUE: [bool; 256] = {
    let mut out = [true; 256];
    let mut i = 0;
    while i < 32 {
        out[i] = i == b'\t' as usize;
        i += 1;
    }
    out[127] = false;
    out
};

/// The longest scheme and the longest path that every instance takes.
const LONGEST: (usize, usize) = (64, 65_534);

type Range = (u8, u8);
const LOWER: Range = (b'a', b'z');
const UPPER: Range = (b'A', b'Z');
const DIGITS: Range = (b'0', b'9');
/// Of these there are none.
const NONE: Range = (1, 0);

const fn table(allowed: &[u8], ranges: [Range; 3]) -> [bool; 256] {
    let mut out = [false; 256];
    let mut i = 0;
    while i < allowed.len() {
        out[allowed[i] as usize] = true;
        i += 1;
    }
    let mut range = 0;
    while range < ranges.len() {
        let (mut byte, last) = ranges[range];
        while byte <= last {
            out[byte as usize] = true;
            byte += 1;
        }
        range += 1;
    }
    out
}

fn all(value: &[u8], of: &[bool; 256]) -> bool {
    value.iter().all(|byte| of[usize::from(*byte)])
}

/// Whether a pseudo-header has a value that every instance takes. There are some that end the
/// connection for a bad method, and with it all clients' calls; a stream that they reset for
/// anything else would count against them.
fn is_valid(token: Token, value: &[u8]) -> bool {
    match token {
        // A tunnel is no call.
        Token::Method => !value.is_empty() && all(value, &METHOD) && value != b"CONNECT",
        Token::Scheme => {
            let letter = value.first().is_some_and(u8::is_ascii_alphabetic);
            letter && all(value, &SCHEME) && value.len() <= LONGEST.0
        }
        Token::Path => {
            let absolute = value.first() == Some(&b'/') && all(value, &PATH);
            value == b"*" || absolute && value.len() <= LONGEST.1
        }
        _ => all(value, &VALUE),
    }
}

/// A host and perhaps a port, as every instance takes it.
#[must_use]
pub fn is_authority(value: &[u8]) -> bool {
    all(value, &AUTHORITY) && is_host(value)
}

/// A name or an address, and perhaps a port.
fn is_host(value: &[u8]) -> bool {
    let bracket = |byte: &u8| matches!(byte, b'[' | b']');
    let port = match value.strip_prefix(b"[") {
        Some(rest) => {
            let end = rest.iter().position(bracket).unwrap_or(rest.len());
            let (address, port) = rest.split_at(end);
            let colons = address.iter().filter(|byte| **byte == b':').count();
            match port.split_first() {
                Some((b']', port)) if (2..=8).contains(&colons) => port,
                _ => return false,
            }
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':');
            let (name, port) = value.split_at(end.unwrap_or(value.len()));
            if name.is_empty() || name.iter().any(bracket) {
                return false;
            }
            port
        }
    };
    match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    }
}

impl Token {
    /// Tells a field by its name, and whether it is well formed.
    #[must_use]
    pub fn of(name: &[u8], value: &[u8]) -> Self {
        let token = Self::of_name(name);
        // Control characters would split fields behind an HTTP/1 hop, as would spaces around; and
        // there are instances that end the connection for them, and with it all clients' calls.
        let padded = matches!(value.first(), Some(b' ' | b'\t'))
            || matches!(value.last(), Some(b' ' | b'\t'));
        let trailers = token != Self::Te || value == b"trailers";
        if padded || !trailers || !is_valid(token, value) {
            Self::Malformed
        } else if token == Self::Authority && !is_authority(value) {
            Self::NoHost
        } else {
            token
        }
    }

    fn of_name(name: &[u8]) -> Self {
        match name {
            b":method" => Self::Method,
            b":scheme" => Self::Scheme,
            b":authority" => Self::Authority,
            b":path" => Self::Path,
            b":status" => Self::Status,
            b"content-type" => Self::ContentType,
            b"content-length" => Self::ContentLength,
            b"te" => Self::Te,
            b"host" => Self::Host,
            b"grpc-timeout" => Self::GrpcTimeout,
            b"grpc-status" => Self::GrpcStatus,
            b"grpc-encoding" => Self::GrpcEncoding,
            b"traceparent" | b"tracestate" => Self::Trace,
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" | b"" => Self::Malformed,
            name if !name.iter().all(|b| NAME[usize::from(*b)]) => Self::Malformed,
            name if name.starts_with(b"x-mesh-") => Self::Mesh,
            _ => Self::Other,
        }
    }

    /// Whether it begins with a colon.
    #[must_use]
    pub fn is_pseudo(self) -> bool {
        matches!(
            self,
            Self::Method
                | Self::Scheme
                | Self::Authority
                | Self::Path
                | Self::Status
                | Self::NoHost
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_http2_forbids_are_malformed() {
        let bad: [(&[u8], &[u8]); 15] = [
            (b"Connection", b"x"),
            (b"connection", b"close"),
            (b"transfer-encoding", b"chunked"),
            (b":unknown", b"x"),
            (b"", b"x"),
            (b"a b", b"x"),
            (b"X-Caps", b"x"),
            (b"x", b"a\nb"),
            (b"x", b"a\0"),
            (b"x", b" a"),
            (b"te", b"gzip"),
            (b"x:", b"a"),
            (b"x", b"a\x01"),
            (b"x", b"\x7f"),
            (b":path", b"/\xff"),
        ];
        for (name, value) in bad {
            assert_eq!(Token::of(name, value), Token::Malformed, "{name:?}");
        }
    }

    #[test]
    fn what_the_relay_reads_is_told_by_name() {
        assert_eq!(Token::of(b":path", b"/"), Token::Path);
        assert_eq!(Token::of(b"te", b"trailers"), Token::Te);
        assert_eq!(Token::of(b"x-mesh-service", b"echo"), Token::Mesh);
        assert_eq!(Token::of(b"tracestate", b"a=b"), Token::Trace);
        assert_eq!(Token::of(b"x-other", b"\xff binary"), Token::Other);
    }
}
