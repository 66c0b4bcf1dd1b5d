//! One call: the client's stream, the instance's stream, and what is kept for another attempt.

use std::time::Instant;

use crate::{
    half::Half,
    host::{Cause, Endpoint},
    hpack::{Block, Field, Token},
    message::Summary,
    slab::Id,
};

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The host reads on to find the call's route.
    Routing,
    /// The host will say later.
    Parked,
    /// A connection is being opened.
    Waiting,
    /// The request is on its way.
    Sent,
    /// The answer has begun.
    Answered,
}

/// A call.
#[derive(Debug)]
pub(crate) struct Call<C> {
    pub(crate) host: C,
    pub(crate) phase: Phase,
    pub(crate) client: Half,
    pub(crate) upstream: Option<Half>,
    pub(crate) to: Option<Endpoint>,
    pub(crate) request: Request,
    pub(crate) deadline: Option<Instant>,
    /// The `grpc-status` of the answer.
    pub(crate) status: Option<u32>,
    /// Why the answer broke off.
    pub(crate) broken: Option<Cause>,
    /// What `content-length` says is still to come of the answer.
    pub(crate) length: Option<u64>,
    /// It is a call of gRPC, whose answer has to be one too.
    pub(crate) grpc: bool,
    /// When it began.
    pub(crate) begun: Instant,
    /// Bytes that it keeps, as last added to the engine's sum.
    pub(crate) counted: usize,
}

/// What has come of a request.
#[derive(Debug, Default)]
pub(crate) struct Request {
    /// Its header block in wire form without `grpc-timeout`, then its body so far, while that may have
    /// to be sent again.
    kept: Vec<u8>,
    /// How much of `kept` is the header block.
    head: usize,
    /// Its size as a header list.
    list: usize,
    /// Whether all that came is kept.
    pub(crate) whole: bool,
    /// Its end has come.
    pub(crate) ended: bool,
    /// The block it ended with, in wire form.
    pub(crate) trailers: Option<Vec<u8>>,
    /// Bytes of the body for which the client has been given credit.
    pub(crate) credited: usize,
    /// Bytes of the body that this attempt has sent.
    pub(crate) sent: usize,
    /// What `content-length` says is still to come.
    pub(crate) length: Option<u64>,
    /// It has an authority that instances take.
    pub(crate) authority: bool,
}

impl Request {
    /// `kept` is an empty buffer, which is reused.
    pub(crate) fn new(
        mut kept: Vec<u8>,
        block: &Block,
        summary: Summary,
        forwards: impl Fn(&Field<'_>) -> bool,
    ) -> Self {
        let list = block.write_without(&mut kept, |place, token| match token {
            Token::GrpcTimeout | Token::NoHost => true,
            Token::Mesh | Token::Trace => !forwards(&block.at(place)),
            _ => false,
        });
        Self {
            head: kept.len(),
            list,
            kept,
            whole: true,
            length: summary.content_length,
            authority: summary.authority,
            ..Self::default()
        }
    }

    /// Its header block.
    pub(crate) fn headers(&self) -> &[u8] {
        &self.kept[..self.head]
    }

    /// The size of its header list together with `extra`, as RFC 9113 counts it, bytes.
    pub(crate) fn list_size(&self, extra: &Block) -> usize {
        self.list + extra.size()
    }

    /// Its bytes so far.
    pub(crate) fn body(&self) -> &[u8] {
        &self.kept[self.head..]
    }

    /// Keeps bytes without a limit.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.kept.extend_from_slice(bytes);
    }

    /// Keeps bytes for another attempt; false when they exceed the limit, or the message that they begin
    /// will exceed it.
    #[must_use]
    pub(crate) fn keep(&mut self, bytes: &[u8], limit: usize) -> bool {
        let more = if self.body().is_empty() {
            bytes.len().max(announced(bytes))
        } else {
            bytes.len()
        };
        let fits = self.whole && self.body().len() + more <= limit;
        if fits {
            self.push(bytes);
        }
        fits
    }

    /// Gives up the bytes for another attempt, and returns their buffer.
    #[must_use]
    pub(crate) fn forget(&mut self) -> Vec<u8> {
        self.whole = false;
        self.head = 0;
        std::mem::take(&mut self.kept)
    }

    /// This attempt has sent `bytes` more. Returns the credit for the client that earlier attempts have
    /// not given.
    pub(crate) fn sent(&mut self, bytes: usize) -> usize {
        self.sent += bytes;
        let due = self.sent.saturating_sub(self.credited);
        self.credited += due;
        due
    }
}

impl<C> Call<C> {
    /// Bytes that it keeps, with its own size: many empty calls are not free either.
    pub(crate) fn memory(&self) -> usize {
        let upstream = self.upstream.as_ref().map_or(0, Half::memory);
        let trailers = self.request.trailers.as_ref().map_or(0, Vec::len);
        size_of::<Self>() + self.client.memory() + upstream + self.request.kept.len() + trailers
    }

    pub(crate) fn half(&mut self, conn: Id) -> Option<&mut Half> {
        if self.client.conn == conn {
            return Some(&mut self.client);
        }
        self.upstream.as_mut().filter(|half| half.conn == conn)
    }
}

/// The length of the gRPC message that begins here, with its prefix; 0 if that is not known.
fn announced(bytes: &[u8]) -> usize {
    match bytes {
        [0 | 1, a, b, c, d, ..] => 5 + u32::from_be_bytes([*a, *b, *c, *d]) as usize,
        _ => 0,
    }
}

/// Subtracts received bytes from what `content-length` promised; false when they are more.
pub(crate) fn count(length: &mut Option<u64>, bytes: usize) -> bool {
    match length {
        Some(left) => match left.checked_sub(bytes as u64) {
            Some(rest) => {
                *left = rest;
                true
            }
            None => false,
        },
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_message_that_will_be_too_long_not_even_the_beginning_is_kept() {
        let mut request = Request {
            whole: true,
            ..Request::default()
        };
        assert!(request.keep(b"\0\0\0\0\x02ab", 100));
        // In the middle of a body the same bytes announce nothing.
        assert!(request.keep(b"\0\0\x01\0\0", 100));
        assert_eq!(request.body().len(), 12);
        let mut request = Request {
            whole: true,
            ..Request::default()
        };
        assert!(!request.keep(b"\0\0\0\0\x60a", 100));
        assert!(request.body().is_empty());
    }
}
