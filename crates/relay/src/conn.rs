//! One connection: what it may still send and receive, which streams it has, what is to be written.

use std::{collections::VecDeque, time::Instant};

use crate::{
    Config,
    abuse_score::AbuseScore,
    engine::liveness::Activity,
    frame::{self, ErrorCode, HEADER_BYTES, flag},
    hash::Map,
    host::Endpoint,
    parser::{ConnectionError, Parser},
    settings::{DEFAULT_WINDOW, MAX_WINDOW, Settings},
    slab::Id,
};

/// How many streams that closed are remembered, since frames for them may still be under way.
const REMEMBERED: usize = 128;
/// Places for streams that a connection keeps when it has none.
const KEPT: usize = 1024;
/// What PING asks during a drain.
const DRAIN_PING: [u8; 8] = *b"draining";
/// For how many idle frames one that is of use makes up: more than the PING that some clients send
/// to measure the way, one for each DATA they get.
const USEFUL_FRAME_CREDIT: u32 = 2;
/// For how many calls given up one that was answered makes up: of three that are sent together, so
/// that the fastest wins, two are given up.
const ANSWERED_CALL_CREDIT: u32 = 2;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A client connected to us.
    Client,
    /// We connected to an instance.
    Upstream,
}

/// How far the announcement that we leave has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    /// Told; streams that are under way are still taken, until a PING has come back.
    Announced,
    /// No further streams.
    Final,
}

/// A stream that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// By us: frames for it may rightly still arrive.
    Reset,
    /// By both, or by the peer.
    Ended,
}

/// A DATA frame that can still grow.
#[derive(Clone, Copy, Debug)]
struct Tail {
    stream: u32,
    /// Where it begins and ends in the output.
    at: usize,
    end: usize,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) side: Side,
    /// Whom an instance's connection leads to.
    pub(crate) to: Option<Endpoint>,
    pub(crate) parser: Parser,
    /// What is to be written to the socket.
    pub(crate) out: Vec<u8>,
    /// What it begins with, until it is among that. Who connects to us has it once its preface has
    /// come: one that speaks something else would not understand it.
    preface: Vec<u8>,
    /// The peer's SETTINGS have come.
    pub(crate) settings_received: bool,
    /// How much of `out` has been written.
    written: usize,
    /// The DATA that `out` ends with, and none of which is written.
    tail: Option<Tail>,
    pub(crate) peer: Settings,
    pub(crate) send_window: i64,
    receive_window: i64,
    /// Received, and not yet given back as credit.
    owed: u32,
    /// Open streams and their calls.
    pub(crate) streams: Map<u32, Id>,
    /// Calls that wait for the connection's window or for room in `out`.
    pub(crate) blocked: VecDeque<Id>,
    /// The highest stream of a client, or the next of ours.
    pub(crate) stream: u32,
    /// The streams that closed last.
    recent: VecDeque<(u32, Closed)>,
    /// Frames that cost us work and bring no call further.
    glitches: AbuseScore,
    /// Calls that were given up before they were answered.
    wasted: AbuseScore,
    /// Streams still to be cancelled.
    to_cancel: VecDeque<u32>,
    /// SETTINGS that the peer has not acknowledged.
    unacknowledged: usize,
    /// The peer knows that our header blocks use no dynamic table.
    table_size_sent: bool,
    /// Among those that the driver has to look at.
    pub(crate) dirty: bool,
    /// Among those that are to be written before the turn ends.
    pub(crate) large: bool,
    /// Bytes that have come.
    pub(crate) received: u64,
    pub(crate) activity: Activity,
    /// Bytes that its calls keep in memory.
    pub(crate) buffered: usize,
    /// Bytes of its output, and of input that is not complete, as far as they are in the engine's sum.
    pub(crate) counted: usize,
    /// The peer has announced to leave: no new streams.
    pub(crate) leaving: bool,
    pub(crate) draining: Drain,
    /// Nothing more is read; what is in `out` is still written.
    pub(crate) closed: bool,
    /// Nor is anything written: the last frame may be cut.
    silent: bool,
}

impl Conn {
    pub(crate) fn new(side: Side, to: Option<Endpoint>, config: &Config, now: Instant) -> Self {
        let ours = match side {
            Side::Client => &config.clients,
            Side::Upstream => &config.instances,
        };
        Self {
            side,
            to,
            parser: Parser::new(
                side == Side::Client,
                ours.header_table as usize,
                ours.max_frame as usize,
                config.max_header_list,
            ),
            out: Vec::new(),
            preface: preface(side, config),
            settings_received: false,
            written: 0,
            tail: None,
            peer: Settings::default(),
            send_window: DEFAULT_WINDOW.into(),
            receive_window: config.connection_window.into(),
            owed: 0,
            streams: Map::default(),
            blocked: VecDeque::new(),
            stream: if side == Side::Client { 0 } else { 1 },
            recent: VecDeque::new(),
            glitches: AbuseScore::new(now),
            wasted: AbuseScore::new(now),
            to_cancel: VecDeque::new(),
            unacknowledged: 1,
            table_size_sent: false,
            dirty: false,
            large: false,
            received: 0,
            activity: Activity::new(now),
            buffered: 0,
            counted: 0,
            leaving: false,
            draining: Drain::No,
            closed: false,
            silent: false,
        }
    }

    /// Says what the connection begins with, unless that is said.
    pub(crate) fn send_preface(&mut self) {
        self.out.append(&mut self.preface);
    }

    /// What it begins with is said already.
    pub(crate) fn preface_was_sent(&mut self) {
        self.preface = Vec::new();
    }

    /// Whether the peer has said nothing of HTTP/2 yet.
    pub(crate) fn is_new(&self) -> bool {
        !self.preface.is_empty()
    }

    /// What is still to be written.
    pub(crate) fn output(&self) -> &[u8] {
        if self.silent {
            return &[];
        }
        &self.out[self.written..]
    }

    /// The socket has taken so many bytes of the output.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        self.tail = None;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// The memory of the output, replaced by other memory; what is still to be written stays.
    pub(crate) fn exchange(&mut self, mut other: Vec<u8>) -> Vec<u8> {
        other.clear();
        other.extend_from_slice(self.output());
        (self.written, self.tail) = (0, None);
        std::mem::replace(&mut self.out, other)
    }

    /// Whether the peer takes one more stream of ours.
    pub(crate) fn has_room(&self) -> bool {
        !self.closed
            && !self.leaving
            && self.streams.len() + self.to_cancel.len() < self.peer.max_streams as usize
    }

    /// The next stream of ours, which has room. The last there is makes the connection one that is
    /// left: others take what comes.
    pub(crate) fn open_stream(&mut self, call: Id) -> u32 {
        let stream = self.stream;
        self.streams.insert(stream, call);
        self.stream += 2;
        self.leaving |= self.stream >= MAX_WINDOW;
        stream
    }

    /// Counts received DATA against the connection's window and gives credit back at once: the
    /// connection never waits for the reader of one of its streams.
    pub(crate) fn received(&mut self, length: usize, window: u32) -> Result<(), ConnectionError> {
        let length = length as u32;
        self.receive_window -= i64::from(length);
        if self.receive_window < 0 {
            let reason = "more DATA than the connection's window";
            return Err(ConnectionError {
                code: ErrorCode::FlowControlError,
                reason,
            });
        }
        self.owed += length;
        if self.owed >= window / 2 {
            frame::window_update(&mut self.out, 0, self.owed);
            self.receive_window += i64::from(self.owed);
            self.owed = 0;
        }
        Ok(())
    }

    /// A frame of a client's that brings no call further; too many of them are an attack.
    /// Instances are trusted: their connections are shared by all clients.
    pub(crate) fn glitch(&mut self, limit: u32, now: Instant) -> Result<(), ConnectionError> {
        self.glitches(1, limit, now)
    }

    /// One that is as much work as so many.
    pub(crate) fn glitches(
        &mut self,
        n: u32,
        limit: u32,
        now: Instant,
    ) -> Result<(), ConnectionError> {
        if self.side == Side::Upstream {
            return Ok(());
        }
        if !self.glitches.add(n, limit, now) {
            let reason = "too many frames that do nothing";
            return Err(ConnectionError {
                code: ErrorCode::EnhanceYourCalm,
                reason,
            });
        }
        Ok(())
    }

    /// A frame that brought a call further.
    pub(crate) fn useful_frame(&mut self) {
        self.glitches.subtract(USEFUL_FRAME_CREDIT);
    }

    /// A client's call that cost its instance work and will not be answered; many of them, and few
    /// that are, are an attack. Bytes that such calls bring make up for nothing.
    pub(crate) fn wasted_call(&mut self, limit: u32, now: Instant) -> Result<(), ConnectionError> {
        if self.wasted.add(1, limit, now) {
            return Ok(());
        }
        Err(ConnectionError {
            code: ErrorCode::EnhanceYourCalm,
            reason: "too many calls are given up unanswered",
        })
    }

    /// A client's call was answered.
    pub(crate) fn answered_call(&mut self) {
        self.wasted.subtract(ANSWERED_CALL_CREDIT);
    }

    /// Writes a header block, whose parts are in wire form.
    pub(crate) fn headers(&mut self, stream: u32, parts: &[&[u8]], end: bool) {
        // Once, a table of nothing: a peer whose own limit is lower than the default waits for it.
        let table_size: &[u8] = if std::mem::replace(&mut self.table_size_sent, true) {
            &[]
        } else {
            &[0x20]
        };
        let max = self.peer.max_frame as usize;
        let length: usize = table_size.len() + parts.iter().map(|part| part.len()).sum::<usize>();
        if length <= max {
            frame::headers_head(&mut self.out, length, stream, end);
            self.out.extend_from_slice(table_size);
            parts
                .iter()
                .for_each(|part| self.out.extend_from_slice(part));
            return;
        }
        let block = [&[table_size], parts].concat().concat();
        frame::headers(&mut self.out, stream, &block, end, max);
    }

    /// Writes bytes of a body. What is together in time goes out together: a body that comes in crumbs
    /// would else be as many frames, and there are servers that end a connection for many small ones.
    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        let flags = if end { flag::END_STREAM } else { 0 };
        let most = self.peer.max_frame as usize + HEADER_BYTES;
        let grows = |tail: &Tail| {
            let same = tail.stream == stream && tail.end == self.out.len();
            same && tail.end - tail.at + bytes.len() <= most
        };
        let at = match self.tail.filter(grows) {
            Some(tail) => {
                let length = tail.end - tail.at - HEADER_BYTES + bytes.len();
                let [_, l0, l1, l2] = (length as u32).to_be_bytes();
                self.out[tail.at..tail.at + 3].copy_from_slice(&[l0, l1, l2]);
                self.out[tail.at + 4] |= flags;
                tail.at
            }
            None => {
                let at = self.out.len();
                frame::head(&mut self.out, bytes.len(), 0, flags, stream);
                at
            }
        };
        self.out.extend_from_slice(bytes);
        let end = self.out.len();
        self.tail = Some(Tail { stream, at, end });
    }

    /// Ends a stream at once.
    pub(crate) fn reset(&mut self, stream: u32, code: ErrorCode) {
        frame::reset(&mut self.out, stream, code);
        self.remember(stream, Closed::Reset);
    }

    /// Ends a stream that its instance may not even have looked at: one at a time, since many
    /// servers take a burst of these for an attack, and end the connection that all clients share.
    pub(crate) fn cancel(&mut self, stream: u32) {
        self.remember(stream, Closed::Reset);
        self.to_cancel.push_back(stream);
        self.send_cancel();
    }

    /// Behind each, SETTINGS that say nothing: their acknowledgement tells that the peer has read so
    /// far. PING would too, but there are servers that count it against us.
    fn send_cancel(&mut self) {
        if self.unacknowledged == 0
            && let Some(stream) = self.to_cancel.pop_front()
        {
            frame::reset(&mut self.out, stream, ErrorCode::Cancel);
            frame::settings(&mut self.out, &[]);
            self.unacknowledged += 1;
        }
    }

    /// The peer has read our last SETTINGS; false when there are none that it had not.
    pub(crate) fn acknowledged(&mut self) -> bool {
        let expected = self.unacknowledged > 0;
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        self.send_cancel();
        expected
    }

    /// A stream is closed.
    pub(crate) fn remember(&mut self, stream: u32, how: Closed) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((stream, how));
    }

    /// Gives up the memory that a burst of calls needed.
    pub(crate) fn shrink(&mut self) {
        if self.streams.is_empty() && self.streams.capacity() > KEPT {
            self.streams = Map::default();
            self.blocked = VecDeque::new();
        }
    }

    /// How a stream closed, as long as that is remembered.
    pub(crate) fn recall(&self, stream: u32) -> Option<Closed> {
        let found = self.recent.iter().rev().find(|(s, _)| *s == stream);
        found.map(|(_, how)| *how)
    }

    /// Whether a stream has never been opened.
    pub(crate) fn is_idle(&self, stream: u32) -> bool {
        match self.side {
            Side::Client => stream > self.stream || stream.is_multiple_of(2),
            Side::Upstream => stream >= self.stream || stream.is_multiple_of(2),
        }
    }

    /// The last stream of the peer's that we have taken.
    fn last(&self) -> u32 {
        if self.side == Side::Client {
            self.stream
        } else {
            0
        }
    }

    /// Announces that we leave. Twice, as RFC 9113, section 6.8, asks: streams that are under way
    /// when the client hears of it are still taken.
    pub(crate) fn drain(&mut self) {
        if self.closed {
            return;
        }
        self.send_preface();
        match self.draining {
            Drain::No => {
                self.draining = Drain::Announced;
                frame::go_away(&mut self.out, MAX_WINDOW, ErrorCode::NoError, "");
                frame::ping(&mut self.out, DRAIN_PING);
            }
            Drain::Announced => {
                self.draining = Drain::Final;
                let last = self.last();
                frame::go_away(&mut self.out, last, ErrorCode::NoError, "");
            }
            Drain::Final => {}
        }
    }

    /// Ends the connection, and gives up what is still to be written.
    pub(crate) fn abandon(&mut self) {
        (self.out, self.written) = (Vec::new(), 0);
        (self.closed, self.silent) = (true, true);
    }

    /// Ends the connection for a mistake of the peer's.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        if !self.closed {
            self.send_preface();
            let last = self.last();
            frame::go_away(&mut self.out, last, error.code, error.reason);
            self.closed = true;
        }
    }

    /// Ends the connection of a peer that does not speak HTTP/2, with words of what it does speak.
    pub(crate) fn close_with(&mut self, words: &[u8]) {
        self.preface_was_sent();
        self.out.extend_from_slice(words);
        self.closed = true;
    }
}

/// What a connection of ours begins with.
pub(crate) fn preface(side: Side, config: &Config) -> Vec<u8> {
    let mut out = Vec::new();
    let ours = match side {
        Side::Client => &config.clients,
        Side::Upstream => &config.instances,
    };
    if side == Side::Upstream {
        out.extend_from_slice(frame::PREFACE);
    }
    frame::settings(&mut out, &ours.to_wire());
    if let Some(more) = config
        .connection_window
        .checked_sub(DEFAULT_WINDOW)
        .filter(|n| *n > 0)
    {
        frame::window_update(&mut out, 0, more);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slab::Slab;

    #[test]
    fn a_connection_whose_streams_are_used_up_is_left() {
        let now = Instant::now();
        let mut conn = Conn::new(Side::Upstream, Some(1), &Config::default(), now);
        conn.stream = MAX_WINDOW - 4;
        let call = Slab::default().insert(());
        assert_eq!(conn.open_stream(call), MAX_WINDOW - 4);
        assert!(conn.has_room());
        assert_eq!(conn.open_stream(call), MAX_WINDOW - 2);
        assert!(
            !conn.has_room() && conn.leaving,
            "another is opened in its place"
        );
    }
}
