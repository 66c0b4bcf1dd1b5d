//! What the engine asks of whoever runs it: routing, connecting, statistics.

use std::time::{Duration, Instant};

use crate::{
    frame::Code,
    hpack::{Block, Field},
    slab::Id,
};

/// Names whom a connection leads to; the host's own number.
pub type Endpoint = u64;

/// What the host says about a call.
#[derive(Debug)]
pub enum Verdict {
    /// More of the request is needed. Once the call is on its way: go on.
    More,
    /// Send it there.
    To(Endpoint),
    /// Nobody can take it now: [`crate::Engine::resume`] says more later.
    Park,
    /// End it with this answer: the fields of a block with END_STREAM.
    Refuse(Block),
}

/// How an attempt failed before an answer began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// No instance has processed the call, certainly.
    pub unsent: bool,
    /// All of the request so far is still there to be sent again.
    pub repeatable: bool,
    /// What happened.
    pub cause: Cause,
}

/// What ended an attempt, or a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No connection could be had.
    Connect,
    /// The connection was lost.
    Lost,
    /// The instance reset the stream, with this code.
    Reset(u32),
    /// The instance broke HTTP/2 or sent a message that is none.
    Malformed(Code),
    /// The host did not accept the answer.
    Declined,
    /// Its header list is larger than the instance takes: it was not sent, and would have cost others
    /// their connection.
    HeaderList,
    /// Its time is over.
    Deadline,
    /// Too much of it is kept here because its readers do not read.
    Memory,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The answer was forwarded to its end, with this `grpc-status` if it had one.
    Answered(Option<u32>),
    /// The host refused it.
    Refused,
    /// The client left.
    Cancelled,
    /// The answer broke off.
    Broken(Cause),
}

/// Whoever runs the engine. Nothing here may block.
pub trait Host {
    /// What the host keeps for a call.
    type Call;

    /// A turn begins: what comes now was read together, and this is the time of all of it.
    fn tick(&mut self, now: Instant) {
        let _ = now;
    }

    /// A call begins, on this client's connection. `end` tells that no body follows.
    fn begin(&mut self, call: Id, client: Id, request: &Block, end: bool) -> (Self::Call, Verdict);

    /// Bytes of the request have come, in any pieces; `end` with the last. Told of all of them, so
    /// that they can be inspected as they pass.
    fn bytes(&mut self, call: &mut Self::Call, bytes: &[u8], end: bool) -> Verdict;

    /// The call is about to be sent on a connection to this endpoint; fields of the host's own are
    /// added to `extra`.
    fn sending(&mut self, call: &mut Self::Call, to: Endpoint, extra: &mut Block);

    /// The time from its beginning that a call has whose client gave none. Asked when it is known
    /// whom the call is for.
    fn timeout(&self, call: &Self::Call) -> Option<Duration> {
        let _ = call;
        None
    }

    /// Whether a field of a request goes on to the instance. Asked for the mesh's own fields and
    /// trace contexts; all others go on, but for `grpc-timeout`, which is the engine's.
    fn forwards(&self, field: &Field<'_>) -> bool {
        let _ = field;
        true
    }

    /// Whether an answer is to be forwarded; if not, its attempt counts as failed
    /// ([`Cause::Declined`]). `end` tells that it is nothing but this block, `repeatable` that the
    /// whole request is still there to be sent again.
    fn accepts(
        &mut self,
        call: &mut Self::Call,
        response: &Block,
        end: bool,
        repeatable: bool,
    ) -> bool {
        let _ = (call, response, end, repeatable);
        true
    }

    /// Bytes of the answer have come from the instance.
    fn heard(&mut self, call: &mut Self::Call) {
        let _ = call;
    }

    /// The answer begins; fields of the host's own are added to `extra`.
    fn answered(&mut self, call: &mut Self::Call, response: &Block, extra: &mut Block);

    /// The answer ends with this block, which goes to the client as it is.
    fn trailers(&mut self, call: &mut Self::Call, block: &Block) {
        let _ = (call, block);
    }

    /// An attempt ended before an answer began.
    fn failed(&mut self, call: &mut Self::Call, failure: Failure) -> Verdict;

    /// The fields that end an answer that broke off, as trailers.
    fn broken(&mut self, call: &mut Self::Call, cause: Cause) -> Block;

    /// The call is over; told exactly once.
    fn ended(&mut self, call: Self::Call, ended: Ended);
}
