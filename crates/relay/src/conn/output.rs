//! What is written on a connection: header blocks and bodies.

use super::Conn;
use crate::frame::{self, HEADER_BYTES, flag};

/// A DATA frame that can still grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    stream: u32,
    /// Where it begins and ends in the output.
    at: usize,
    end: usize,
}

impl Conn {
    /// What is still to be written.
    pub(crate) fn output(&self) -> &[u8] {
        if self.silent {
            return &[];
        }
        &self.out[self.written..]
    }

    /// The socket has taken `bytes` of the output.
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

    /// Moves what is still to be written to another buffer, and gives the old one.
    pub(crate) fn exchange(&mut self, mut other: Vec<u8>) -> Vec<u8> {
        other.clear();
        other.extend_from_slice(self.output());
        (self.written, self.tail) = (0, None);
        std::mem::replace(&mut self.out, other)
    }

    /// Writes a header block, whose parts are in wire form.
    pub(crate) fn headers(&mut self, stream: u32, parts: &[&[u8]], end: bool) {
        // The first block sets the table's size to 0: a peer whose limit is below the default waits for it.
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

    /// Writes bytes of a body. They join the last DATA frame if it is not written yet: some servers
    /// close a connection for many small frames.
    pub(crate) fn data(&mut self, stream: u32, bytes: &[u8], end: bool) {
        let flags = flag::when(end, flag::END_STREAM);
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
}
