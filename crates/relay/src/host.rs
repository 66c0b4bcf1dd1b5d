//! What the engine asks of whoever runs it: routing, connecting, statistics.

use std::{
    fmt,
    time::{Duration, Instant},
};

use crate::{
    frame::ErrorCode,
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
    Malformed(ErrorCode),
    /// A call of gRPC was answered by HTTP alone, with this status.
    Http(u16),
    /// The host did not accept the answer.
    Declined,
    /// Its header list is larger than the instance takes: it was not sent, and would have cost others
    /// their connection.
    HeaderList,
    /// Fields of the request, its trailers, are larger than `max_header_list`.
    LargeRequest,
    /// Fields of the answer are larger than `max_header_list`. That is no fault of the instance's.
    LargeAnswer,
    /// Fields of the answer are larger than the client takes, by its own word: so many bytes.
    LargeForClient(u32),
    /// Its time is over.
    Deadline,
    /// Too much of it is kept here because its readers do not read.
    Memory,
}

impl fmt::Display for Cause {
    /// What happened, to be read after the name of an instance and a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("no connection could be had"),
            Self::Lost => f.write_str("its connection was closed"),
            Self::Reset(code) => write!(f, "it reset the stream with {}", ErrorCode::name(*code)),
            Self::Malformed(code) => {
                let code = ErrorCode::name(*code as u32);
                write!(f, "its answer is not valid HTTP/2 ({code})")
            }
            Self::Http(status) => {
                write!(f, "it answered with HTTP status {status} instead of gRPC")
            }
            Self::Declined => f.write_str("its answer asks for another attempt"),
            Self::HeaderList => f.write_str("it does not take metadata that large"),
            Self::LargeRequest => f.write_str("the request's metadata is too large"),
            Self::LargeAnswer => f.write_str("its answer's metadata is too large"),
            Self::LargeForClient(most) => {
                write!(f, "its answer's metadata is over the client's {most} bytes")
            }
            Self::Deadline => f.write_str("the deadline is over"),
            Self::Memory => f.write_str("too much is kept because nobody reads it"),
        }
    }
}

/// What a client speaks on a port of HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerProtocol {
    /// TLS: it began a handshake.
    Tls,
    /// HTTP/1: a request line.
    Http1,
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
    /// The time of a drain was over.
    Cut,
}

/// Whoever runs the engine. Nothing here may block.
#[expect(unused_variables, reason = "most defaults do nothing")]
pub trait Host {
    /// What the host keeps for a call.
    type Call;

    /// A turn begins: what comes now was read together, and this is the time of all of it.
    fn tick(&mut self, now: Instant) {}

    /// A call begins, on this client's connection. `end` tells that no body follows.
    fn on_request(
        &mut self,
        call: Id,
        client: Id,
        request: &Block,
        end: bool,
    ) -> (Self::Call, Verdict);

    /// A request was not read, since its header list is larger than `max_header_list`: the answer,
    /// fields of a block with END_STREAM. `request` has the fields that came before.
    fn headers_too_large(&mut self, client: Id, request: &Block) -> Block {
        let mut answer = Block::new();
        answer.push(b":status", b"200");
        answer.push(b"content-type", b"application/grpc");
        answer.push(b"grpc-status", b"8");
        answer.push(b"grpc-message", b"the request's metadata is too large");
        answer
    }

    /// A client does not speak HTTP/2: the last bytes for it, in its own language.
    fn wrong_protocol(&mut self, client: Id, protocol: PeerProtocol) -> Vec<u8> {
        Vec::new()
    }

    /// Bytes of the request have come, in any pieces; `end` with the last. Told of all of them, so
    /// that they can be inspected as they pass.
    fn on_request_data(&mut self, call: &mut Self::Call, bytes: &[u8], end: bool) -> Verdict;

    /// The call is about to be sent on a connection to this endpoint; fields of the host's own are
    /// added to `extra`.
    fn on_send(&mut self, call: &mut Self::Call, to: Endpoint, extra: &mut Block);

    /// The authority of a request that brought none, or one that instances may not take.
    fn authority(&self, call: &Self::Call) -> String {
        "localhost".to_owned()
    }

    /// The time from its beginning that a call has whose client gave none. Asked when it is known
    /// whom the call is for.
    fn timeout(&self, call: &Self::Call) -> Option<Duration> {
        None
    }

    /// Whether a field of a request goes on to the instance. Asked for the mesh's own fields and
    /// trace contexts; all others go on, but for `grpc-timeout`, which is the engine's.
    fn forwards_field(&self, call: &Self::Call, field: &Field<'_>) -> bool {
        true
    }

    /// Whether a field of an answer goes on to the client. Asked for the mesh's own fields.
    fn returns_field(&self, call: &Self::Call, field: &Field<'_>) -> bool {
        true
    }

    /// Whether an answer is to be forwarded; if not, its attempt counts as failed
    /// ([`Cause::Declined`]). `end` tells that it is nothing but this block, `repeatable` that the
    /// whole request is still there to be sent again.
    fn accepts_response(
        &mut self,
        call: &mut Self::Call,
        response: &Block,
        end: bool,
        repeatable: bool,
    ) -> bool {
        true
    }

    /// Bytes of the answer have come from the instance.
    fn on_response_data(&mut self, call: &mut Self::Call) {}

    /// The answer begins; fields of the host's own are added to `extra`.
    fn on_response(&mut self, call: &mut Self::Call, response: &Block, extra: &mut Block);

    /// The answer ends with this block, which goes to the client as it is.
    fn on_trailers(&mut self, call: &mut Self::Call, block: &Block) {}

    /// An attempt ended before an answer began.
    fn on_attempt_failed(&mut self, call: &mut Self::Call, failure: Failure) -> Verdict;

    /// The fields that end an answer that broke off, as trailers.
    fn response_aborted(&mut self, call: &mut Self::Call, cause: Cause) -> Block;

    /// The call is over; told exactly once.
    fn on_end(&mut self, call: Self::Call, ended: Ended);
}
