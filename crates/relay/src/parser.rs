//! The bytes of a connection become steps: any split of them gives the same ones, except that DATA
//! comes as it arrives, so that a large frame is forwarded before it is complete.

mod block_cache;
mod event;
mod header_block;

use crate::{
    first_bytes::{self, FirstBytes},
    frame::{ErrorCode, FrameType, HEADER_BYTES, Head, PREFACE, flag},
    host::PeerProtocol,
    hpack::{Block, Decoder},
    message::{self, Summary},
    settings::Settings,
};
use block_cache::BlockCache;

pub use event::{ConnectionError, Event};
pub(crate) use header_block::LONGEST_BLOCK;

/// Memory that a connection keeps from frame to frame, bytes.
const KEPT: usize = 4096;

/// Reads one connection.
#[derive(Debug)]
pub struct Parser {
    state: State,
    /// The start of a frame that has not come whole.
    partial: Vec<u8>,
    decoder: Decoder,
    fragments: Vec<u8>,
    block_cache: BlockCache,
    /// Header blocks that have begun.
    blocks: u64,
    max_frame: usize,
    max_header_list: usize,
    /// What the peer has said so far.
    peer: Settings,
}

/// What a parser waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Awaits {
    /// The first words of the connection.
    Preface,
    /// The rest of a header block.
    Block,
    /// The rest of a frame.
    Frame,
    /// Nothing that has begun.
    Nothing,
}

/// What reading a frame came to.
enum Progress {
    Event(Event<'static>),
    Again,
    Starved,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// Something else has come.
    NoPreface,
    /// The first frame must be SETTINGS.
    First,
    Frame,
    /// Within DATA: bytes of content and of padding still to come.
    Data {
        stream: u32,
        content: usize,
        padding: usize,
        end_stream: bool,
    },
    /// A header block waits for CONTINUATION.
    Block {
        stream: u32,
        end_stream: bool,
        depends_on: Option<u32>,
    },
}

impl Parser {
    /// Reads what a client (with the preface) or a server sends. `max_frame` is what our SETTINGS
    /// say, `max_header_list` what is kept of a header list.
    #[must_use]
    pub fn new(
        preface: bool,
        header_table: usize,
        max_frame: usize,
        max_header_list: usize,
    ) -> Self {
        Self {
            state: if preface {
                State::Preface(0)
            } else {
                State::First
            },
            partial: Vec::new(),
            decoder: Decoder::new(header_table),
            fragments: Vec::new(),
            block_cache: BlockCache::default(),
            blocks: 0,
            max_frame,
            max_header_list,
            peer: Settings::default(),
        }
    }

    pub(crate) fn awaits(&self) -> Awaits {
        match self.state {
            State::Preface(_) | State::NoPreface | State::First => Awaits::Preface,
            State::Block { .. } => Awaits::Block,
            State::Data { .. } => Awaits::Frame,
            State::Frame if self.partial.is_empty() => Awaits::Nothing,
            State::Frame => Awaits::Frame,
        }
    }

    /// Header blocks of several frames that have begun.
    pub(crate) const fn blocks(&self) -> u64 {
        self.blocks
    }

    /// The header block of the last [`Event::Headers`].
    #[must_use]
    pub fn block(&self) -> &Block {
        self.block_cache.block()
    }

    /// Takes the block out, to be given back by [`Self::restore`]: it keeps its memory.
    pub(crate) fn take_block(&mut self) -> Block {
        self.block_cache.take()
    }

    /// Gives a block back, of which nothing is needed any more.
    pub(crate) fn restore(&mut self, block: Block) {
        self.block_cache.restore(block);
    }

    /// Checks the header block of the last [`Event::Headers`] as a message; `None` when it is malformed.
    /// To be asked before the block is taken out.
    pub(crate) fn check_block(&mut self, kind: message::MessageKind) -> Option<Summary> {
        self.block_cache.check(kind)
    }

    /// Bytes of a frame, or of a header block, that has not come whole.
    pub(crate) fn held(&self) -> usize {
        self.partial.len() + self.fragments.len()
    }

    /// The next step of `input`, which moves on; `None` when it is used up.
    ///
    /// # Errors
    /// When the connection cannot go on.
    pub fn next_event<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, ConnectionError> {
        loop {
            match self.state {
                State::Preface(seen) => {
                    let n = input.len().min(PREFACE.len() - seen);
                    let (head, rest) = input.split_at(n);
                    if head != &PREFACE[seen..seen + n] {
                        self.partial.extend_from_slice(&PREFACE[..seen]);
                        self.state = State::NoPreface;
                        continue;
                    }
                    *input = rest;
                    if seen + n < PREFACE.len() {
                        self.state = State::Preface(seen + n);
                        return Ok(None);
                    }
                    self.state = State::First;
                    return Ok(Some(Event::Preface));
                }
                State::NoPreface => {
                    self.top_up(first_bytes::NEEDED, input);
                    return other_protocol(&self.partial).map_or(Ok(None), Err);
                }
                State::Data {
                    stream,
                    content,
                    padding,
                    end_stream,
                } => {
                    if content == 0 && padding == 0 {
                        self.state = State::Frame;
                        return Ok(Some(Event::DataEnd { stream, end_stream }));
                    }
                    if input.is_empty() {
                        return Ok(None);
                    }
                    if content == 0 {
                        let n = input.len().min(padding);
                        *input = &input[n..];
                        self.state = State::Data {
                            stream,
                            content,
                            padding: padding - n,
                            end_stream,
                        };
                        continue;
                    }
                    let (bytes, rest) = input.split_at(input.len().min(content));
                    *input = rest;
                    let content = content - bytes.len();
                    self.state = State::Data {
                        stream,
                        content,
                        padding,
                        end_stream,
                    };
                    let last = content == 0 && end_stream;
                    return Ok(Some(Event::Data {
                        stream,
                        bytes,
                        last,
                    }));
                }
                State::First | State::Frame | State::Block { .. } => match self.frame(input)? {
                    Progress::Event(step) => return Ok(Some(step)),
                    Progress::Again => {}
                    Progress::Starved => return Ok(None),
                },
            }
        }
    }

    fn frame(&mut self, input: &mut &[u8]) -> Result<Progress, ConnectionError> {
        if !self.partial.is_empty() {
            return self.complete(input);
        }
        let Some(head) = Head::read(input) else {
            return Ok(self.stash(input));
        };
        self.check(head)?;
        let length = HEADER_BYTES + needed(head);
        let Some((frame, rest)) = input.split_at_checked(length) else {
            return Ok(self.stash(input));
        };
        *input = rest;
        self.begun(head, &frame[HEADER_BYTES..])
    }

    /// Keeps the start of a frame until the rest comes.
    fn stash(&mut self, input: &mut &[u8]) -> Progress {
        self.partial.extend_from_slice(input);
        *input = &[];
        Progress::Starved
    }

    /// Goes on with a frame whose start was kept.
    fn complete(&mut self, input: &mut &[u8]) -> Result<Progress, ConnectionError> {
        self.top_up(HEADER_BYTES, input);
        let Some(head) = Head::read(&self.partial) else {
            return Ok(Progress::Starved);
        };
        self.check(head)?;
        let length = HEADER_BYTES + needed(head);
        self.top_up(length, input);
        if self.partial.len() < length {
            return Ok(Progress::Starved);
        }
        let mut partial = std::mem::take(&mut self.partial);
        let progress = self.begun(head, &partial[HEADER_BYTES..]);
        // A large frame's memory is not kept for the small ones that follow.
        if partial.capacity() <= KEPT {
            partial.clear();
            self.partial = partial;
        }
        progress
    }

    fn top_up(&mut self, length: usize, input: &mut &[u8]) {
        let missing = length.saturating_sub(self.partial.len()).min(input.len());
        let (part, rest) = input.split_at(missing);
        self.partial.extend_from_slice(part);
        *input = rest;
    }

    /// What can be refused by a frame's header alone.
    fn check(&self, head: Head) -> Result<(), ConnectionError> {
        if head.length > self.max_frame {
            return Err(ConnectionError::frame_size(
                "a frame is larger than our SETTINGS allow",
            ));
        }
        match self.state {
            State::First if head.kind != FrameType::Settings || head.has(flag::ACK) => {
                Err(ConnectionError::protocol("the first frame is not SETTINGS"))
            }
            State::Block { stream, .. }
                if head.kind != FrameType::Continuation || head.stream != stream =>
            {
                Err(ConnectionError::protocol("a header block is interrupted"))
            }
            _ => Ok(()),
        }
    }

    /// A frame whose needed bytes are there: all of its payload, or the padding length of DATA.
    fn begun(&mut self, head: Head, payload: &[u8]) -> Result<Progress, ConnectionError> {
        if self.state == State::First {
            self.state = State::Frame;
        }
        let on_stream = head.stream != 0;
        let stream = head.stream;
        let step = match head.kind {
            FrameType::Data | FrameType::Headers | FrameType::Priority | FrameType::RstStream
                if !on_stream =>
            {
                return Err(ConnectionError::protocol("a stream's frame is on stream 0"));
            }
            FrameType::Settings | FrameType::Ping | FrameType::GoAway if on_stream => {
                return Err(ConnectionError::protocol(
                    "a connection's frame is on a stream",
                ));
            }
            FrameType::Data => self.data(head, payload.first().copied())?,
            FrameType::Headers => return self.headers(head, payload),
            FrameType::Continuation => return self.continuation(head, payload),
            FrameType::Priority => Event::Priority {
                stream,
                valid: priority(stream, payload),
            },
            FrameType::RstStream => Event::Reset {
                stream,
                code: word(payload)?,
            },
            FrameType::Settings => self.settings(head, payload)?,
            FrameType::PushPromise => {
                return Err(ConnectionError::protocol(
                    "PUSH_PROMISE, which our SETTINGS forbid",
                ));
            }
            FrameType::Ping => {
                let Ok(bytes) = payload.try_into() else {
                    return Err(ConnectionError::frame_size("PING is not of 8 bytes"));
                };
                if head.has(flag::ACK) {
                    Event::Pong
                } else {
                    Event::Ping(bytes)
                }
            }
            FrameType::GoAway => {
                let (Some(last), Some(code)) = (payload.first_chunk(), payload.get(4..8)) else {
                    return Err(ConnectionError::frame_size(
                        "GOAWAY is shorter than 8 bytes",
                    ));
                };
                let last = u32::from_be_bytes(*last) & 0x7fff_ffff;
                Event::GoAway {
                    last,
                    code: word(code)?,
                }
            }
            FrameType::WindowUpdate => Event::WindowUpdate {
                stream,
                credit: word(payload)? & 0x7fff_ffff,
            },
            FrameType::Unknown => Event::Unknown,
        };
        Ok(Progress::Event(step))
    }

    fn data(&mut self, head: Head, pad: Option<u8>) -> Result<Event<'static>, ConnectionError> {
        let padded = usize::from(head.has(flag::PADDED));
        let padding = if padded == 1 {
            usize::from(pad.unwrap_or(u8::MAX))
        } else {
            0
        };
        let Some(content) = head.length.checked_sub(padded + padding) else {
            return Err(ConnectionError::protocol(
                "padding is longer than its frame",
            ));
        };
        let (stream, end_stream) = (head.stream, head.has(flag::END_STREAM));
        self.state = State::Data {
            stream,
            content,
            padding,
            end_stream,
        };
        Ok(Event::DataBegin {
            stream,
            length: head.length,
            padding: padding + padded,
            end_stream,
        })
    }

    fn settings(&mut self, head: Head, payload: &[u8]) -> Result<Event<'static>, ConnectionError> {
        if head.has(flag::ACK) {
            if payload.is_empty() {
                return Ok(Event::SettingsAck);
            }
            return Err(ConnectionError::frame_size(
                "an acknowledgement of SETTINGS has a payload",
            ));
        }
        if !payload.len().is_multiple_of(6) {
            return Err(ConnectionError::frame_size(
                "SETTINGS is not a multiple of 6 bytes",
            ));
        }
        match self.peer.apply(payload) {
            Ok(()) => Ok(Event::Settings(self.peer)),
            Err(code) => {
                let reason = "a value of SETTINGS is out of its range";
                Err(ConnectionError::new(code, reason))
            }
        }
    }
}

/// Why a client that does not begin with the preface is refused; `None` when its first bytes do
/// not tell yet.
fn other_protocol(first: &[u8]) -> Option<ConnectionError> {
    let (code, reason) = match FirstBytes::classify(first) {
        FirstBytes::Incomplete => return None,
        FirstBytes::Other(PeerProtocol::Tls) => (ErrorCode::InadequateSecurity, "it speaks TLS"),
        FirstBytes::Other(PeerProtocol::Http1) => (ErrorCode::Http11Required, "it speaks HTTP/1"),
        FirstBytes::Http2 => (ErrorCode::ProtocolError, "no HTTP/2 preface"),
    };
    Some(ConnectionError::new(code, reason))
}

/// How much of a payload has to be there before the frame is looked at.
fn needed(head: Head) -> usize {
    match head.kind {
        FrameType::Data => usize::from(head.has(flag::PADDED)).min(head.length),
        _ => head.length,
    }
}

fn word(payload: &[u8]) -> Result<u32, ConnectionError> {
    match payload.try_into() {
        Ok(bytes) => Ok(u32::from_be_bytes(bytes)),
        Err(_) => Err(ConnectionError::frame_size("a frame is not of 4 bytes")),
    }
}

fn priority(stream: u32, payload: &[u8]) -> Result<(), ErrorCode> {
    let Ok([a, b, c, d, _]) = <[u8; 5]>::try_from(payload) else {
        return Err(ErrorCode::FrameSizeError);
    };
    let depends_on = u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff;
    if depends_on == stream {
        Err(ErrorCode::ProtocolError)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
