//! What clients of HTTP/2 send, with an authority that hyper takes. gRPC clients send others too: a
//! list of addresses, the path of a resolver. hyper answers those with a bare reset, which proxies
//! and clients take for a reason to try again.
//!
//! Bytes pass as they are until a request has such an authority. From then on the header blocks of
//! its connection are written anew, since each depends on those before it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mesh_relay::{
    frame::{self, HEADER_BYTES, Head, FrameType, PREFACE, flag},
    hpack::{Block, Decoder, Token},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The authority in place of one that is no host.
const REPLACEMENT: &[u8] = b"localhost";
/// A header block that is longer is for hyper to judge; so is all that follows.
const MAX_BLOCK: usize = 2 << 20;
/// What is read at once.
const READ: usize = 16 * 1024;
/// The number of the setting.
const MAX_HEADER_LIST_SIZE: [u8; 2] = [0, 6];
/// The table that hyper has clients use.
const TABLE: usize = 4096;

/// A client's connection.
pub(crate) struct AuthorityFilter<S> {
    stream: S,
    state: State,
    /// Read, and not looked at yet.
    read: Vec<u8>,
    /// Looked at, and not handed on yet.
    ready: Vec<u8>,
    consumed: usize,
    decoder: Decoder,
    block: Block,
    /// Header blocks are written anew.
    rewrites: bool,
    /// What our SETTINGS are to say of the largest metadata, until they are seen.
    limit: Option<u32>,
    /// Our SETTINGS, as far as they are still to be written.
    settings: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes pass as they are.
    Pass(usize),
    /// A frame begins.
    Frame,
    /// All passes as it is.
    PassAll,
}

/// What the frames at the front of the bytes come to.
enum Found {
    /// More bytes are needed to tell.
    More,
    /// So many bytes are a header block with its frames: on this stream, the end of it or not.
    Block {
        length: usize,
        stream: u32,
        end: bool,
        block: Vec<u8>,
    },
    /// Not for us to understand.
    Unparsable,
}

impl<S> AuthorityFilter<S> {
    /// A connection on a port of clients, or one on which requests pass as they are: there peers
    /// are told this limit of metadata. hyper would tell the larger one up to which it reads, and
    /// routers send what is only to be refused.
    pub(crate) fn new(stream: S, rewrite: bool, limit: u32) -> Self {
        Self {
            stream,
            state: if rewrite {
                State::Pass(PREFACE.len())
            } else {
                State::PassAll
            },
            read: Vec::new(),
            ready: Vec::new(),
            consumed: 0,
            decoder: Decoder::new(TABLE),
            block: Block::new(),
            rewrites: false,
            limit: (!rewrite).then_some(limit),
            settings: Vec::new(),
        }
    }

    /// Looks at what was read, as far as it goes.
    fn scan(&mut self) {
        let mut at = 0;
        while at < self.read.len() {
            let rest = &self.read[at..];
            match self.state {
                State::PassAll => {
                    self.ready.extend_from_slice(rest);
                    at = self.read.len();
                }
                State::Pass(left) => {
                    let length = left.min(rest.len());
                    self.ready.extend_from_slice(&rest[..length]);
                    at += length;
                    self.state = match left - length {
                        0 => State::Frame,
                        left => State::Pass(left),
                    };
                }
                State::Frame => match Head::read(rest) {
                    None => break,
                    Some(head) if head.kind != FrameType::Headers => {
                        self.state = State::Pass(HEADER_BYTES + head.length);
                    }
                    Some(_) => match find(rest) {
                        Found::More => break,
                        Found::Unparsable => self.state = State::PassAll,
                        Found::Block {
                            length,
                            stream,
                            end,
                            block,
                        } => {
                            self.write(at, length, (stream, end), &block);
                            at += length;
                        }
                    },
                },
            }
        }
        self.read.drain(..at);
    }

    /// Hands on a header block, as it came or written anew.
    fn write(&mut self, at: usize, length: usize, (stream, end): (u32, bool), block: &[u8]) {
        let frames = &self.read[at..at + length];
        let decoded = self.decoder.decode(block, MAX_BLOCK, &mut self.block);
        if decoded.is_err() || self.block.is_truncated() {
            // The connection ends by this.
            self.state = State::PassAll;
            return self.ready.extend_from_slice(frames);
        }
        let odd = self.block.get(Token::NoHost).is_some();
        self.rewrites |= odd;
        if !self.rewrites {
            return self.ready.extend_from_slice(frames);
        }
        let mut anew = Block::new();
        if odd {
            anew.push(b":authority", REPLACEMENT);
        }
        let mut wire = anew.wire().to_vec();
        let fields = self.block.fields();
        for field in fields.filter(|field| field.token != Token::NoHost) {
            wire.extend_from_slice(field.wire);
        }
        frame::headers(
            &mut self.ready,
            stream,
            &wire,
            end,
            frame::DEFAULT_MAX_BYTES,
        );
    }
}

/// The header block at the front of these bytes, which begin with HEADERS.
fn find(bytes: &[u8]) -> Found {
    let (mut at, mut block, mut begun) = (0, Vec::new(), None);
    loop {
        let Some(head) = Head::read(&bytes[at..]) else {
            return Found::More;
        };
        let payload = at + HEADER_BYTES;
        if at + head.length > MAX_BLOCK {
            return Found::Unparsable;
        }
        let Some(payload) = bytes.get(payload..payload + head.length) else {
            return Found::More;
        };
        at += HEADER_BYTES + head.length;
        let (stream, end) = *begun.get_or_insert((head.stream, head.has(flag::END_STREAM)));
        let part = match head.kind {
            FrameType::Headers if block.is_empty() && head.stream == stream => content(head, payload),
            FrameType::Continuation if head.stream == stream => Some(payload),
            _ => None,
        };
        let Some(part) = part else {
            return Found::Unparsable;
        };
        block.extend_from_slice(part);
        if head.has(flag::END_HEADERS) {
            return Found::Block {
                length: at,
                stream,
                end,
                block,
            };
        }
    }
}

/// The payload of HEADERS without its padding and its priority.
fn content(head: Head, mut payload: &[u8]) -> Option<&[u8]> {
    if head.has(flag::PADDED) {
        let (padding, rest) = payload.split_first()?;
        payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    }
    if head.has(flag::PRIORITY) {
        payload = payload.get(5..)?;
    }
    Some(payload)
}

impl<S: AsyncRead + Unpin> AsyncRead for AuthorityFilter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.consumed < this.ready.len() {
                let rest = &this.ready[this.consumed..];
                let length = rest.len().min(into.remaining());
                into.put_slice(&rest[..length]);
                this.consumed += length;
                if this.consumed == this.ready.len() {
                    this.ready.clear();
                    this.consumed = 0;
                }
                return Poll::Ready(Ok(()));
            }
            let direct = match this.state {
                State::PassAll => usize::MAX,
                State::Pass(left) => left,
                State::Frame => 0,
            };
            if direct == usize::MAX && this.read.is_empty() {
                return Pin::new(&mut this.stream).poll_read(cx, into);
            }
            if direct >= READ && this.read.is_empty() {
                // Bodies pass without being copied.
                let most = direct.min(into.remaining());
                let mut part = ReadBuf::new(into.initialize_unfilled_to(most));
                ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
                let length = part.filled().len();
                into.advance(length);
                this.state = State::Pass(direct - length);
                return Poll::Ready(Ok(()));
            }
            let mut buffer = [0; READ];
            let mut part = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
            if part.filled().is_empty() {
                // The end; what is half a frame is for hyper to complain about.
                this.ready.append(&mut this.read);
                if this.ready.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            this.read.extend_from_slice(part.filled());
            this.scan();
        }
    }
}

/// The SETTINGS at the front of these bytes, with another limit of metadata.
fn with_limit(bytes: &[u8], limit: u32) -> Option<Vec<u8>> {
    let head = Head::read(bytes).filter(|head| head.kind == FrameType::Settings)?;
    let mut frame = bytes.get(..HEADER_BYTES + head.length)?.to_vec();
    for setting in frame[HEADER_BYTES..].chunks_exact_mut(6) {
        if setting[..2] == MAX_HEADER_LIST_SIZE {
            setting[2..].copy_from_slice(&limit.to_be_bytes());
        }
    }
    Some(frame)
}

impl<S: AsyncWrite + Unpin> AsyncWrite for AuthorityFilter<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if let Some(limit) = this.limit.take() {
            this.settings = with_limit(bytes, limit).unwrap_or_default();
        }
        if this.settings.is_empty() {
            return Pin::new(&mut this.stream).poll_write(cx, bytes);
        }
        // As many bytes as they were, so that hyper goes on behind them.
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.settings))?;
        this.settings.drain(..written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.limit.is_some() || !self.settings.is_empty() {
            let first = bytes.iter().find(|part| !part.is_empty());
            return self.poll_write(cx, first.map_or(&[], |part| &**part));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn through(bytes: &[u8], piece: usize) -> Vec<u8> {
        let (mut theirs, ours) = tokio::io::duplex(1 << 20);
        let mut filter = AuthorityFilter::new(ours, true, 0);
        let mut out = Vec::new();
        for part in bytes.chunks(piece) {
            theirs.write_all(part).await.unwrap();
            // As far as it goes without waiting.
            loop {
                let mut some = [0; 100];
                let mut into = ReadBuf::new(&mut some);
                let read = |cx: &mut Context<'_>| {
                    Poll::Ready(Pin::new(&mut filter).poll_read(cx, &mut into))
                };
                if std::future::poll_fn(read).await.is_pending() {
                    break;
                }
                out.extend_from_slice(into.filled());
            }
        }
        drop(theirs);
        filter.read_to_end(&mut out).await.unwrap();
        out
    }

    fn head(authority: &[u8], name: &[u8]) -> Vec<u8> {
        // POST, http, `/`, an authority and a field that both enter the table.
        let mut block = vec![0x83, 0x86, 0x84, 0x41, authority.len() as u8];
        block.extend_from_slice(authority);
        block.extend_from_slice(&[0x40, name.len() as u8]);
        block.extend_from_slice(name);
        block.extend_from_slice(b"\x01v");
        block
    }

    fn fields(mut bytes: &[u8]) -> Vec<Vec<(String, String)>> {
        let mut decoder = Decoder::new(TABLE);
        let mut all = Vec::new();
        bytes = &bytes[PREFACE.len()..];
        while let Some(first) = Head::read(bytes) {
            let mut length = HEADER_BYTES + first.length;
            if first.kind == FrameType::Headers {
                let Found::Block {
                    length: all_of_it,
                    block,
                    ..
                } = find(bytes)
                else {
                    panic!("a block is cut");
                };
                length = all_of_it;
                let mut decoded = Block::new();
                decoder.decode(&block, 1 << 20, &mut decoded).unwrap();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let pairs = decoded.fields().map(|f| (text(f.name), text(f.value)));
                all.push(pairs.collect());
            }
            bytes = &bytes[length..];
        }
        all
    }

    #[tokio::test]
    async fn header_blocks_are_written_anew_from_the_first_odd_authority_on() {
        let mut bytes = PREFACE.to_vec();
        frame::settings(&mut bytes, &[]);
        frame::headers(&mut bytes, 1, &head(b"good:1", b"one"), false, 10);
        frame::head(&mut bytes, 40_000, 0, 1, 1);
        bytes.extend_from_slice(&[7; 40_000]);
        let plain = bytes.len();
        frame::headers(&mut bytes, 3, &head(b"a:1,b:2", b"two"), true, 16_384);
        // All from the table: `two`, `a:1,b:2`, `one`, `good:1`.
        let block = [0x83, 0x86, 0x84, 0xbf, 0xbe, 0xc0];
        frame::headers(&mut bytes, 5, &block, true, 16_384);
        let block = [0x83, 0x86, 0x84, 0xc1, 0xbe];
        frame::headers(&mut bytes, 7, &block, true, 16_384);
        for piece in [1, 7, 1000, bytes.len()] {
            let out = through(&bytes, piece).await;
            assert_eq!(out[..plain], bytes[..plain], "{piece}");
            let got = fields(&out);
            assert_eq!(got.len(), 4);
            let tail = |at: usize| {
                let all = got[at]
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"));
                all.filter(|field| {
                    !field.starts_with(":m") && !field.starts_with(":s") && !field.starts_with(":p")
                })
                .collect::<Vec<_>>()
            };
            assert_eq!(tail(0), [":authority=good:1", "one=v"]);
            assert_eq!(tail(1), [":authority=localhost", "two=v"]);
            assert_eq!(tail(2), [":authority=localhost", "two=v", "one=v"]);
            assert_eq!(tail(3), [":authority=good:1", "two=v"]);
        }
    }

    #[tokio::test]
    async fn our_settings_tell_the_limit_and_all_else_is_written_as_it_is() {
        let mut bytes = Vec::new();
        frame::settings(&mut bytes, &[(3, 100), (6, 1 << 20)]);
        frame::ping(&mut bytes, [6; 8]);
        for room in [1, 10, 1000] {
            let (mut theirs, ours) = tokio::io::duplex(room);
            let mut filter = AuthorityFilter::new(ours, false, 1000);
            let write = async {
                filter.write_all(&bytes).await.unwrap();
                filter.write_all(&bytes).await.unwrap();
                filter.shutdown().await.unwrap();
            };
            let mut heard = Vec::new();
            let (_, read) = tokio::join!(write, theirs.read_to_end(&mut heard));
            read.unwrap();
            let mut told = Vec::new();
            frame::settings(&mut told, &[(3, 100), (6, 1000)]);
            frame::ping(&mut told, [6; 8]);
            assert_eq!(heard, [told, bytes.clone()].concat(), "{room}");
        }
    }

    #[tokio::test]
    async fn what_it_does_not_understand_passes_as_it_is() {
        let mut odd = PREFACE.to_vec();
        // CONTINUATION of another stream, padding longer than its frame, no header block at all.
        for write in [
            (|out: &mut Vec<u8>| {
                frame::head(out, 1, 1, 0, 1);
                out.push(0x82);
                frame::head(out, 1, 9, 4, 3);
                out.push(0x82);
            }) as fn(&mut Vec<u8>),
            |out| {
                frame::head(out, 1, 1, 4 | 8, 1);
                out.push(9);
            },
            |out| frame::headers(out, 1, &[0x80; 100], true, 16_384),
            |out| frame::head(out, 100, 1, 4, 1),
        ] {
            let mut bytes = odd.clone();
            write(&mut bytes);
            bytes.extend_from_slice(&[0xff; 3000]);
            assert_eq!(through(&bytes, 50).await, bytes);
        }
        odd.truncate(3);
        assert_eq!(through(&odd, 1).await, odd);
    }
}
