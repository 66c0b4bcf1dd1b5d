//! One connection: what it may still send and receive, which streams it has, what is to be written.

mod closing;
mod output;

use std::{collections::VecDeque, time::Instant};

use crate::{
    Config,
    abuse_score::AbuseScore,
    engine::liveness::Activity,
    frame::{self, ErrorCode},
    hash::Map,
    host::Endpoint,
    parser::{ConnectionError, Parser},
    settings::{DEFAULT_WINDOW, MAX_WINDOW, Settings},
    slab::Id,
};
pub(crate) use closing::Drain;
use output::Tail;

/// How many streams that closed are remembered, since frames for them may still be under way.
const REMEMBERED: usize = 128;
/// Places for streams that a connection keeps when it has none.
const KEPT: usize = 1024;
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

/// A stream that is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// By us: frames for it may rightly still arrive.
    Reset,
    /// By both, or by the peer.
    Ended,
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
            glitches: AbuseScore::new(config.max_glitches, now),
            wasted: AbuseScore::new(config.wasted_calls, now),
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
            return Err(ConnectionError::flow_control(
                "more DATA than the connection's window",
            ));
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
    pub(crate) fn glitch(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.glitches(1, now)
    }

    /// A frame that is as much work as `n` glitches.
    pub(crate) fn glitches(&mut self, n: u32, now: Instant) -> Result<(), ConnectionError> {
        if self.side == Side::Upstream || self.glitches.add(n, now) {
            return Ok(());
        }
        Err(ConnectionError::calm("too many frames that do nothing"))
    }

    /// A frame that brought a call further.
    pub(crate) fn useful_frame(&mut self) {
        self.glitches.subtract(USEFUL_FRAME_CREDIT);
    }

    /// A client's call that cost its instance work and will not be answered; many of them, and few
    /// that are, are an attack. Bytes that such calls bring make up for nothing.
    pub(crate) fn wasted_call(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.wasted.add(1, now) {
            return Ok(());
        }
        Err(ConnectionError::calm(
            "too many calls are given up unanswered",
        ))
    }

    /// A client's call was answered.
    pub(crate) fn answered_call(&mut self) {
        self.wasted.subtract(ANSWERED_CALL_CREDIT);
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
