//! How a connection of ours ends: announced, or for a reason.

use super::{Conn, Side};
use crate::{
    frame::{self, ErrorCode},
    parser::ConnectionError,
    settings::MAX_WINDOW,
};

/// What PING asks during a drain.
const DRAIN_PING: [u8; 8] = *b"draining";

/// How far the announcement that we leave has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    No,
    /// The first GOAWAY is sent. Streams that are under way are taken until its PING comes back.
    Announced,
    /// No further streams.
    Final,
}

impl Conn {
    /// The last stream of the peer that we have taken.
    fn last(&self) -> u32 {
        if self.side == Side::Client {
            self.stream
        } else {
            0
        }
    }

    /// Sends the next of two GOAWAYs (RFC 9113, section 6.8). After the first, streams that are under
    /// way are still taken.
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

    /// Ends the connection, and drops what is still to be written.
    pub(crate) fn abandon(&mut self) {
        (self.out, self.written) = (Vec::new(), 0);
        (self.closed, self.silent) = (true, true);
    }

    /// Ends the connection because of the peer's error.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        if !self.closed {
            self.send_preface();
            let last = self.last();
            frame::go_away(&mut self.out, last, error.code, error.reason);
            self.closed = true;
        }
    }

    /// Ends the connection of a peer that does not speak HTTP/2, with an answer in its protocol.
    pub(crate) fn close_with(&mut self, words: &[u8]) {
        self.preface_was_sent();
        self.out.extend_from_slice(words);
        self.closed = true;
    }
}
