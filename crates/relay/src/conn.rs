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

/// The number of closed streams that are remembered: frames for them may still be under way.
const REMEMBERED: usize = 128;
/// The capacity for streams that an idle connection keeps.
const KEPT: usize = 1024;
/// The glitches that a useful frame takes off the score. Some clients send a PING, which measures
/// the bandwidth, for each DATA that they get; that must not add up.
const USEFUL_FRAME_CREDIT: u32 = 2;
/// The wasted calls that an answered call takes off the score. A client that hedges three ways gives
/// two of its calls up.
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
    /// The endpoint of an instance's connection.
    pub(crate) to: Option<Endpoint>,
    pub(crate) parser: Parser,
    /// What is to be written to the socket.
    pub(crate) out: Vec<u8>,
    /// Our preface, until it is in `out`. A client gets it after its own has come: one that speaks
    /// another protocol would not understand it.
    preface: Vec<u8>,
    /// The peer's SETTINGS have come.
    pub(crate) settings_received: bool,
    /// How much of `out` has been written.
    written: usize,
    /// The DATA frame at the end of `out`, while none of it is written.
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
    /// Glitches: frames that cost work and bring no call further.
    glitches: AbuseScore,
    /// Calls that were given up before they were answered.
    wasted: AbuseScore,
    /// Streams still to be cancelled.
    to_cancel: VecDeque<u32>,
    /// SETTINGS that the peer has not acknowledged.
    unacknowledged: usize,
    /// The peer knows that our header blocks use no dynamic table.
    table_size_sent: bool,
    /// In [`Engine`](crate::Engine)'s list for the driver.
    pub(crate) dirty: bool,
    /// In the list of those that are written before the turn ends.
    pub(crate) large: bool,
    /// Bytes that have come.
    pub(crate) received: u64,
    pub(crate) activity: Activity,
    /// Bytes that its calls keep in memory.
    pub(crate) buffered: usize,
    /// Bytes of its output and of incomplete input, as last added to the engine's sum.
    pub(crate) counted: usize,
    /// The connection takes no new streams: its peer goes away, or they are used up.
    pub(crate) leaving: bool,
    pub(crate) draining: Drain,
    /// Nothing more is read; what is in `out` is still written.
    pub(crate) closed: bool,
    /// Nothing more is written either, even of a frame that has begun.
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

    /// Writes our preface, unless it is written.
    pub(crate) fn send_preface(&mut self) {
        self.out.append(&mut self.preface);
    }

    /// Our preface was written by somebody else.
    pub(crate) fn preface_was_sent(&mut self) {
        self.preface = Vec::new();
    }

    /// Whether the peer's preface has not come yet.
    pub(crate) fn is_new(&self) -> bool {
        !self.preface.is_empty()
    }

    /// Whether the peer takes one more stream of ours.
    pub(crate) fn has_room(&self) -> bool {
        !self.closed
            && !self.leaving
            && self.streams.len() + self.to_cancel.len() < self.peer.max_streams as usize
    }

    /// Opens our next stream, for which there is room. After the last stream number the connection
    /// takes no more.
    pub(crate) fn open_stream(&mut self, call: Id) -> u32 {
        let stream = self.stream;
        self.streams.insert(stream, call);
        self.stream += 2;
        self.leaving |= self.stream >= MAX_WINDOW;
        stream
    }

    /// Counts received DATA against the connection's window, and gives credit back at once. So the
    /// connection never waits for the reader of one stream.
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

    /// Counts a client's frame that brings no call further. Too many are an attack. Instances are not
    /// counted: all clients share their connections.
    pub(crate) fn glitch(&mut self, now: Instant) -> Result<(), ConnectionError> {
        self.glitches(1, now)
    }

    /// Counts a frame that is as much work as `n` glitches.
    pub(crate) fn glitches(&mut self, n: u32, now: Instant) -> Result<(), ConnectionError> {
        if self.side == Side::Upstream || self.glitches.add(n, now) {
            return Ok(());
        }
        Err(ConnectionError::calm("too many frames that do nothing"))
    }

    /// Credits a frame that brought a call further.
    pub(crate) fn useful_frame(&mut self) {
        self.glitches.subtract(USEFUL_FRAME_CREDIT);
    }

    /// Counts a client's call that cost its instance work and is given up unanswered. Many of them and
    /// few answered ones are an attack.
    pub(crate) fn wasted_call(&mut self, now: Instant) -> Result<(), ConnectionError> {
        if self.wasted.add(1, now) {
            return Ok(());
        }
        Err(ConnectionError::calm(
            "too many calls are given up unanswered",
        ))
    }

    /// Credits an answered call of a client.
    pub(crate) fn answered_call(&mut self) {
        self.wasted.subtract(ANSWERED_CALL_CREDIT);
    }

    /// Ends a stream at once.
    pub(crate) fn reset(&mut self, stream: u32, code: ErrorCode) {
        frame::reset(&mut self.out, stream, code);
        self.remember(stream, Closed::Reset);
    }

    /// Cancels a stream that its instance may not have read yet. Cancels are sent one at a time: many
    /// servers take a burst of them for an attack, and close the connection that all clients share.
    pub(crate) fn cancel(&mut self, stream: u32) {
        self.remember(stream, Closed::Reset);
        self.to_cancel.push_back(stream);
        self.send_cancel();
    }

    /// Sends the next cancel with empty SETTINGS behind it. Their acknowledgement tells that the peer has
    /// read it. A PING would tell too, but some servers count PINGs against us.
    fn send_cancel(&mut self) {
        if self.unacknowledged == 0
            && let Some(stream) = self.to_cancel.pop_front()
        {
            frame::reset(&mut self.out, stream, ErrorCode::Cancel);
            frame::settings(&mut self.out, &[]);
            self.unacknowledged += 1;
        }
    }

    /// The peer acknowledges SETTINGS; false when there were none to acknowledge.
    pub(crate) fn acknowledged(&mut self) -> bool {
        let expected = self.unacknowledged > 0;
        self.unacknowledged = self.unacknowledged.saturating_sub(1);
        self.send_cancel();
        expected
    }

    pub(crate) fn remember(&mut self, stream: u32, how: Closed) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back((stream, how));
    }

    /// Frees the memory of a burst of calls.
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

/// Our preface: what we write first on a connection.
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
