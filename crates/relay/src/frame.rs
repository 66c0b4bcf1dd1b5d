//! HTTP/2 frames (RFC 9113, sections 4 and 6): reading their headers, writing whole ones.

/// The bytes of a frame's header.
pub const HEADER_BYTES: usize = 9;
/// What a client's connection begins with, before its SETTINGS.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest payload that needs no agreement, and the smallest limit a peer may set.
pub const DEFAULT_MAX_BYTES: usize = 16_384;

/// The kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameType {
    /// Bytes of a body.
    Data,
    /// A header block begins.
    Headers,
    /// Ignored: RFC 9113 takes priorities out of use.
    Priority,
    /// A stream ends at once.
    RstStream,
    /// What the sender allows.
    Settings,
    /// Never valid here: nobody is allowed to push.
    PushPromise,
    /// Asks for an answer.
    Ping,
    /// The sender takes no further streams.
    GoAway,
    /// More bytes may be sent.
    WindowUpdate,
    /// A header block goes on.
    Continuation,
    /// Ignored, as the standard asks.
    Unknown,
}

impl FrameType {
    /// The kind with this number.
    #[must_use]
    pub fn from_wire(number: u8) -> Self {
        match number {
            0 => Self::Data,
            1 => Self::Headers,
            2 => Self::Priority,
            3 => Self::RstStream,
            4 => Self::Settings,
            5 => Self::PushPromise,
            6 => Self::Ping,
            7 => Self::GoAway,
            8 => Self::WindowUpdate,
            9 => Self::Continuation,
            _ => Self::Unknown,
        }
    }
}

/// Flag bits; which apply depends on the kind.
pub mod flag {
    /// DATA, HEADERS: the last of its stream.
    pub const END_STREAM: u8 = 0x1;
    /// SETTINGS, PING: an answer.
    pub const ACK: u8 = 0x1;
    /// HEADERS, CONTINUATION: the block is complete.
    pub const END_HEADERS: u8 = 0x4;
    /// DATA, HEADERS: padding follows.
    pub const PADDED: u8 = 0x8;
    /// HEADERS: a priority precedes the block.
    pub const PRIORITY: u8 = 0x20;

    /// A flag if something holds, else none.
    pub(crate) const fn when(holds: bool, flag: u8) -> u8 {
        if holds { flag } else { 0 }
    }
}

/// Error codes (RFC 9113, section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
#[repr(u32)]
pub enum ErrorCode {
    NoError = 0x0,
    ProtocolError = 0x1,
    InternalError = 0x2,
    FlowControlError = 0x3,
    SettingsTimeout = 0x4,
    StreamClosed = 0x5,
    FrameSizeError = 0x6,
    RefusedStream = 0x7,
    Cancel = 0x8,
    CompressionError = 0x9,
    ConnectError = 0xa,
    EnhanceYourCalm = 0xb,
    InadequateSecurity = 0xc,
    Http11Required = 0xd,
}

impl ErrorCode {
    /// The standard's name of a code, or that there is none.
    #[must_use]
    pub fn name(code: u32) -> &'static str {
        const NAMES: [&str; 14] = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
        ];
        NAMES
            .get(code as usize)
            .copied()
            .unwrap_or("an unknown code")
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the payload, 0–16,777,215.
    pub length: usize,
    /// Its kind.
    pub kind: FrameType,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 is the connection.
    pub stream: u32,
}

impl Head {
    /// The header at the front of `bytes`; `None` when it is not all there yet.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let head: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = *head;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind: FrameType::from_wire(kind),
            flags,
            // The first bit is reserved and ignored.
            stream: u32::from_be_bytes([s0, s1, s2, s3]) & 0x7fff_ffff,
        })
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes a frame's header; `length` is below 2^24.
pub fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
}

/// Writes RST_STREAM.
pub fn reset(out: &mut Vec<u8>, stream: u32, code: ErrorCode) {
    head(out, 4, 3, 0, stream);
    out.extend_from_slice(&(code as u32).to_be_bytes());
}

/// Writes SETTINGS.
pub fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    head(out, values.len() * 6, 4, 0, 0);
    for (id, value) in values {
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Writes the acknowledgement of the peer's SETTINGS.
pub fn settings_ack(out: &mut Vec<u8>) {
    head(out, 0, 4, flag::ACK, 0);
}

/// Writes PING.
pub fn ping(out: &mut Vec<u8>, payload: [u8; 8]) {
    head(out, 8, 6, 0, 0);
    out.extend_from_slice(&payload);
}

/// Writes the answer to a PING.
pub fn pong(out: &mut Vec<u8>, payload: [u8; 8]) {
    head(out, 8, 6, flag::ACK, 0);
    out.extend_from_slice(&payload);
}

/// Writes GOAWAY: streams above `last` are not processed.
pub fn go_away(out: &mut Vec<u8>, last: u32, code: ErrorCode, reason: &str) {
    head(out, 8 + reason.len(), 7, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&(code as u32).to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Writes WINDOW_UPDATE; `credit` is 1–2^31-1.
pub fn window_update(out: &mut Vec<u8>, stream: u32, credit: u32) {
    head(out, 4, 8, 0, stream);
    out.extend_from_slice(&credit.to_be_bytes());
}

/// Writes the header of a HEADERS frame that holds a whole block.
pub fn headers_head(out: &mut Vec<u8>, length: usize, stream: u32, end_stream: bool) {
    let flags = flag::END_HEADERS | flag::when(end_stream, flag::END_STREAM);
    head(out, length, 1, flags, stream);
}

/// Writes a header block as HEADERS and as many CONTINUATION frames as the peer's `max` asks for.
pub fn headers(out: &mut Vec<u8>, stream: u32, block: &[u8], end_stream: bool, max: usize) {
    let end_headers = |rest: &[u8]| flag::when(rest.is_empty(), flag::END_HEADERS);
    let (first, mut rest) = block.split_at(block.len().min(max));
    let flags = flag::when(end_stream, flag::END_STREAM) | end_headers(rest);
    head(out, first.len(), 1, flags, stream);
    out.extend_from_slice(first);
    while !rest.is_empty() {
        let (part, tail) = rest.split_at(rest.len().min(max));
        rest = tail;
        head(out, part.len(), 9, end_headers(rest), stream);
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut out = Vec::new();
        head(&mut out, 0x01_02_03, 9, flag::END_HEADERS, 0x7fff_ffff);
        assert_eq!(Head::read(&out[..8]), None);
        let read = Head::read(&out).unwrap();
        assert_eq!(
            (read.length, read.kind, read.stream),
            (0x01_02_03, FrameType::Continuation, 0x7fff_ffff)
        );
        assert!(read.has(flag::END_HEADERS));
    }

    #[test]
    fn a_large_block_is_split() {
        let block = vec![7; 40_000];
        let mut out = Vec::new();
        headers(&mut out, 3, &block, true, DEFAULT_MAX_BYTES);
        let (mut at, mut kinds, mut bytes) = (0, Vec::new(), 0);
        while let Some(head) = Head::read(&out[at..]) {
            kinds.push((head.kind, head.flags));
            bytes += head.length;
            at += HEADER_BYTES + head.length;
        }
        assert_eq!(bytes, block.len());
        assert_eq!(
            kinds,
            [
                (FrameType::Headers, flag::END_STREAM),
                (FrameType::Continuation, 0),
                (FrameType::Continuation, flag::END_HEADERS)
            ]
        );
    }
}
