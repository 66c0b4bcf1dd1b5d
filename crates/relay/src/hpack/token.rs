//! What a field is to the relay: told by its name once, when it enters a table.

/// The fields that a relay looks at, and the kinds of all others.
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
    /// Any other valid field.
    Other,
    /// A field that no HTTP/2 message may have: a bad name or value, an unknown pseudo-header, or
    /// one that speaks about the connection (RFC 9113, sections 8.2 and 8.3).
    Malformed,
}

/// What may stand in names: RFC 9110's token characters, without capitals.
const NAME: [bool; 256] = table(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz");

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

const fn table(allowed: &[u8]) -> [bool; 256] {
    let mut out = [false; 256];
    let mut i = 0;
    while i < allowed.len() {
        out[allowed[i] as usize] = true;
        i += 1;
    }
    out
}

impl Token {
    /// Tells a field by its name, and whether it is well formed.
    #[must_use]
    pub fn of(name: &[u8], value: &[u8]) -> Self {
        let token = Self::of_name(name);
        // Control characters would split fields behind an HTTP/1 hop, as would spaces around; and
        // there are instances that end the connection for them, and with it all clients' calls.
        let hostile = !value.iter().all(|b| VALUE[usize::from(*b)])
            || (token.is_pseudo() && !value.iter().all(|b| (b'!'..=b'~').contains(b)));
        let padded = matches!(value.first(), Some(b' ' | b'\t'))
            || matches!(value.last(), Some(b' ' | b'\t'));
        let trailers = token != Self::Te || value == b"trailers";
        if hostile || padded || !trailers {
            Self::Malformed
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
            Self::Method | Self::Scheme | Self::Authority | Self::Path | Self::Status
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
        assert_eq!(Token::of(b"x-other", b"\xff binary"), Token::Other);
    }
}
