//! One side of a call: a stream, what is still to be sent on it, and its windows.

use crate::{settings::DEFAULT_WINDOW, slab::Id};

/// A stream of one connection, as one side of a call.
#[derive(Debug)]
pub(crate) struct Half {
    pub(crate) conn: Id,
    pub(crate) stream: u32,
    /// What the peer lets us send; negative after it has shrunk its window.
    pub(crate) send_window: i64,
    /// What we let the peer send.
    receive_window: i64,
    /// What our SETTINGS let the peer send at first.
    window: u32,
    /// Forwarded bytes that are not given back as credit yet.
    owed: u32,
    /// Bytes that wait for the windows or for room in the connection's output.
    pub(crate) pending: Pending,
    /// What follows the pending bytes.
    pub(crate) end: End,
    /// In the list of its connection's blocked calls.
    pub(crate) queued: bool,
    /// We have sent END_STREAM or RST_STREAM.
    pub(crate) sent_all: bool,
    /// The peer has sent END_STREAM or RST_STREAM.
    pub(crate) got_all: bool,
}

/// How a side ends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// It goes on.
    #[default]
    Open,
    /// With its last bytes.
    Bare,
    /// With a block of trailers, in wire form.
    Trailers(Vec<u8>),
}

/// Bytes in order, taken from the front.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    taken: usize,
}

impl Half {
    pub(crate) fn new(conn: Id, stream: u32, send_window: u32, receive_window: u32) -> Self {
        Self {
            conn,
            stream,
            send_window: send_window.into(),
            // Until it has read our SETTINGS, the peer goes by the standard's window.
            receive_window: receive_window.max(DEFAULT_WINDOW).into(),
            window: receive_window,
            owed: 0,
            pending: Pending::default(),
            end: End::Open,
            queued: false,
            sent_all: false,
            got_all: false,
        }
    }

    /// Bytes that wait to be sent on it.
    pub(crate) fn memory(&self) -> usize {
        let trailers = match &self.end {
            End::Trailers(block) => block.len(),
            End::Open | End::Bare => 0,
        };
        self.pending.len() + trailers
    }

    /// Counts received DATA; false when it is more than the stream's window.
    pub(crate) fn received(&mut self, length: usize) -> bool {
        self.receive_window -= length as i64;
        self.receive_window >= 0
    }

    /// `length` received bytes are forwarded or dropped. Returns the credit that is due now, or 0.
    pub(crate) fn release(&mut self, length: usize) -> u32 {
        self.owed += length as u32;
        if self.got_all || self.owed < self.window / 2 {
            return 0;
        }
        self.receive_window += i64::from(self.owed);
        std::mem::take(&mut self.owed)
    }
}

impl Pending {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The first bytes, at most `most`.
    pub(crate) fn front(&self, most: usize) -> &[u8] {
        &self.bytes[self.taken..self.taken + most.min(self.len())]
    }

    pub(crate) fn take(&mut self, length: usize) {
        self.taken += length;
        if self.is_empty() {
            // A large buffer is not kept for the rest of a long call.
            self.bytes = Vec::new();
            self.taken = 0;
        } else if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}
