//! One connection: what it may still send and receive, which streams it has, what is to be written.

use std::collections::{HashMap, VecDeque};

use crate::{
    Config,
    frame::{self, Code},
    parser::{Fatal, Parser},
    settings::{DEFAULT_WINDOW, MAX_WINDOW, Settings},
    slab::Id,
};

/// How many streams that we reset are remembered, since frames for them may still be under way.
const REMEMBERED_RESETS: usize = 64;

/// Which end of the connection we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// A client connected to us.
    Client,
    /// We connected to an instance.
    Upstream,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) side: Side,
    pub(crate) parser: Parser,
    /// What is to be written to the socket.
    pub(crate) out: Vec<u8>,
    /// How much of `out` has been written.
    written: usize,
    pub(crate) peer: Settings,
    pub(crate) send_window: i64,
    receive_window: i64,
    /// Received, and not yet given back as credit.
    owed: u32,
    /// Open streams and their calls.
    pub(crate) streams: HashMap<u32, Id>,
    /// Calls that wait for the connection's window or for room in `out`.
    pub(crate) blocked: VecDeque<Id>,
    /// The highest stream of a client, or the next of ours.
    pub(crate) stream: u32,
    resets: VecDeque<u32>,
    /// Frames that cost us work and bring no call further, since the last that did.
    idle_frames: u32,
    /// The peer has announced to leave: no new streams.
    pub(crate) leaving: bool,
    /// We have announced to leave.
    pub(crate) draining: bool,
    /// Nothing more is read; what is in `out` is still written.
    pub(crate) closed: bool,
}

impl Conn {
    pub(crate) fn new(side: Side, config: &Config) -> Self {
        let ours = &config.settings;
        let mut conn = Self {
            side,
            parser: Parser::new(
                side == Side::Client,
                ours.header_table as usize,
                ours.max_frame as usize,
                ours.max_header_list as usize,
            ),
            out: Vec::new(),
            written: 0,
            peer: Settings::default(),
            send_window: DEFAULT_WINDOW.into(),
            receive_window: config.connection_window.into(),
            owed: 0,
            streams: HashMap::new(),
            blocked: VecDeque::new(),
            stream: if side == Side::Client { 0 } else { 1 },
            resets: VecDeque::new(),
            idle_frames: 0,
            leaving: false,
            draining: false,
            closed: false,
        };
        if side == Side::Upstream {
            conn.out.extend_from_slice(frame::PREFACE);
        }
        frame::settings(&mut conn.out, &ours.to_wire());
        if let Some(more) = config
            .connection_window
            .checked_sub(DEFAULT_WINDOW)
            .filter(|n| *n > 0)
        {
            frame::window_update(&mut conn.out, 0, more);
        }
        conn
    }

    /// What is still to be written.
    pub(crate) fn output(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// The socket has taken so many bytes of the output.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > self.out.len() / 2 {
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Whether the peer takes one more stream of ours.
    pub(crate) fn has_room(&self) -> bool {
        !self.closed
            && !self.leaving
            && self.stream < MAX_WINDOW
            && self.streams.len() < self.peer.max_streams as usize
    }

    /// Counts received DATA against the connection's window and gives credit back at once: the
    /// connection never waits for the reader of one of its streams.
    pub(crate) fn received(&mut self, length: usize, window: u32) -> Result<(), Fatal> {
        let length = length as u32;
        self.receive_window -= i64::from(length);
        if self.receive_window < 0 {
            let reason = "more DATA than the connection's window";
            return Err(Fatal {
                code: Code::FlowControlError,
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

    /// A frame that brings no call further; too many of them in a row are an attack.
    pub(crate) fn idle_frame(&mut self, limit: u32) -> Result<(), Fatal> {
        self.idle_frames += 1;
        if self.idle_frames > limit {
            let reason = "too many frames that do nothing";
            return Err(Fatal {
                code: Code::EnhanceYourCalm,
                reason,
            });
        }
        Ok(())
    }

    /// A frame that brought a call further.
    pub(crate) fn useful_frame(&mut self) {
        self.idle_frames = 0;
    }

    /// Ends a stream at once.
    pub(crate) fn reset(&mut self, stream: u32, code: Code) {
        frame::reset(&mut self.out, stream, code);
        if self.resets.len() == REMEMBERED_RESETS {
            self.resets.pop_front();
        }
        self.resets.push_back(stream);
    }

    /// Whether frames for this stream, which is closed, may rightly still arrive.
    pub(crate) fn was_reset(&self, stream: u32) -> bool {
        self.resets.contains(&stream)
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

    /// Announces that we leave, and that the streams so far are finished.
    pub(crate) fn drain(&mut self) {
        if !self.draining && !self.closed {
            self.draining = true;
            let last = self.last();
            frame::go_away(&mut self.out, last, Code::NoError, "");
        }
    }

    /// Ends the connection for a mistake of the peer's.
    pub(crate) fn fail(&mut self, fatal: Fatal) {
        if !self.closed {
            let last = self.last();
            frame::go_away(&mut self.out, last, fatal.code, fatal.reason);
            self.closed = true;
        }
    }
}
