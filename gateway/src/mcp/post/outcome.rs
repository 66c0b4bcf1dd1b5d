//! The answer to a request: at once, soon, or as a stream.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use mcp::rpc::{self, Era, RpcError, code, response_bytes};
use serde_json::value::RawValue;
use tokio::{sync::mpsc, time::sleep};

use super::Takes;
use crate::mcp::{
    McpServer,
    answer::{self, Events},
    auth::Denial,
    methods::{Asker, Done, Failure, Later},
    sessions::{Busy, InFlight},
};

/// How long a call may take before its answer becomes a stream, where the client takes one.
const STREAM_AFTER: Duration = Duration::from_secs(5);

impl McpServer {
    /// The answer to what was done at once.
    pub(super) fn done(&self, era: Era, id: &RawValue, result: Result<Done, Failure>) -> Response {
        match result {
            Ok(Done::Text(text)) => answer::json(StatusCode::OK, response_bytes(id, &text)),
            Ok(Done::Kept(text)) => answer::cached(id, &text),
            Err(failure) => self.failed(era, id, failure),
        }
    }

    fn failed(&self, era: Era, id: &RawValue, failure: Failure) -> Response {
        match failure {
            Failure::Rpc(error) => answer::error(status(era, &error), Some(id), &error),
            Failure::Denied(denial) => self.deny(&denial),
        }
    }

    /// The answer to what takes its time: JSON if it comes soon, else a stream.
    pub(super) async fn later(
        self: &Arc<Self>,
        era: Era,
        id: &RawValue,
        mut later: Later,
        mut messages: Option<mpsc::Receiver<Bytes>>,
        takes: Takes,
    ) -> Response {
        if !takes.events {
            return match later.await {
                Ok(text) => answer::json(StatusCode::OK, response_bytes(id, &text)),
                Err(failure) => self.failed(era, id, failure),
            };
        }
        let reported = async {
            match &mut messages {
                Some(messages) => messages.recv().await,
                None => std::future::pending().await,
            }
        };
        let soon = tokio::select! {
            biased;
            result = &mut later => Soon::Ended(result),
            Some(first) = reported => Soon::Reported(first),
            () = sleep(STREAM_AFTER) => Soon::Nothing,
        };
        let first = match soon {
            Soon::Ended(Ok(text)) => {
                let last = response_bytes(id, &text);
                return match messages.filter(|messages| !messages.is_empty()) {
                    None => answer::json(StatusCode::OK, last),
                    // It reported, and ended, before anybody looked.
                    Some(messages) => {
                        let work = Box::pin(std::future::ready(Some(last)));
                        Events::new(messages, work, self.quiet).response()
                    }
                };
            }
            Soon::Ended(Err(failure)) => return self.failed(era, id, failure),
            Soon::Reported(first) => Some(first),
            Soon::Nothing => None,
        };
        let id = id.to_owned();
        let open = self.metrics.stream("call");
        let work = Box::pin(async move {
            let _open = open;
            Some(match later.await {
                Ok(text) => response_bytes(&id, &text),
                Err(failure) => rpc::error_bytes(Some(&id), &failure.into_rpc()),
            })
        });
        // Nobody sends into the second one.
        let messages = messages.unwrap_or_else(|| mpsc::channel(1).1);
        let events = Events::new(messages, work, self.quiet);
        events.beginning(first.as_ref()).response()
    }
}

/// What comes first of a call.
enum Soon {
    Ended(Result<Bytes, Failure>),
    Reported(Bytes),
    Nothing,
}

/// A request of a session while it goes on: the client can cancel it by its id.
pub(crate) struct Held {
    request: InFlight,
    _busy: Busy,
}

/// Holds a request, where it has a session.
pub(super) fn in_flight(asker: &Asker, id: &RawValue) -> Result<Option<Held>, RpcError> {
    let Some(session) = &asker.session else {
        return Ok(None);
    };
    let request = session.begin(rpc::id_key(id)).ok_or_else(id_in_use)?;
    let _busy = session.busy();
    Ok(Some(Held { request, _busy }))
}

/// A session takes no other request of this id, or none at all for now.
pub(crate) fn id_in_use() -> RpcError {
    let text = "the id is in use, or too many requests of this session are in flight";
    RpcError::new(code::INVALID_REQUEST, text)
}

/// Does what a request asks for, unless its client cancels it.
pub(crate) async fn unless_cancelled(held: Option<Held>, later: Later) -> Result<Bytes, Failure> {
    let Some(held) = held else {
        return later.await;
    };
    tokio::select! {
        biased;
        () = held.request.cancelled.cancelled() => Err(Failure::cancelled()),
        result = later => result,
    }
}

impl Failure {
    /// The client cancelled it. It does not wait for an answer.
    pub(crate) fn cancelled() -> Self {
        Self::Rpc(RpcError::internal("the request was cancelled"))
    }

    /// As an error of JSON-RPC, where the status of HTTP is sent already.
    pub(crate) fn into_rpc(self) -> RpcError {
        match self {
            Self::Rpc(error) => error,
            Self::Denied(Denial::Scope(scope)) => RpcError::new(
                code::INVALID_REQUEST,
                format!("the token lacks the scope {scope}"),
            ),
            Self::Denied(Denial::Rate(_)) => RpcError::new(
                code::INVALID_REQUEST,
                "the token's calls come faster than it allows",
            ),
            Self::Denied(Denial::Missing | Denial::Invalid(_) | Denial::Unknown(_)) => {
                RpcError::new(code::INVALID_REQUEST, "the token is not valid")
            }
        }
    }
}

/// The status of HTTP for an error. Before 2026-07-28 an error of JSON-RPC is an answer like any other.
pub(crate) fn status(era: Era, error: &RpcError) -> StatusCode {
    if !era.is_modern() {
        return StatusCode::OK;
    }
    match error.code {
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        code::HEADER_MISMATCH | code::MISSING_CAPABILITY | code::UNSUPPORTED_VERSION => {
            StatusCode::BAD_REQUEST
        }
        _ => StatusCode::OK,
    }
}
