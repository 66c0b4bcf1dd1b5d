//! Batches, which only revision 2025-03-26 and earlier have, and requests that are answered as a whole.

use std::{sync::Arc, time::Instant};

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mcp::rpc::{self, Message, Meta, Params, Request, RpcError, Version, response_bytes};
use tokio::sync::mpsc;

use super::outcome::in_flight;
use crate::mcp::{
    McpServer, answer,
    audit::Operation,
    headers,
    methods::{Asked, Asker, Done, Failure, Started},
};

impl McpServer {
    /// A batch: its answers in one array, or nothing where nothing is to be answered.
    pub(super) async fn batch(
        self: &Arc<Self>,
        asker: Asker,
        headers: &HeaderMap,
        messages: Vec<Result<Message<'_>, RpcError>>,
    ) -> Response {
        if headers::is_modern(headers) {
            return answer::error(StatusCode::BAD_REQUEST, None, &rpc::no_batches());
        }
        let of_session = asker.session.as_ref().map(|session| session.version);
        let version = match headers::era(headers, "", &Meta::default(), of_session) {
            Ok(era) => era.version(),
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, None, &error),
        };
        let is_mounted = asker.session.as_ref().is_some_and(|it| it.mount.is_some());
        if !version.has_batches() || is_mounted {
            return answer::error(StatusCode::BAD_REQUEST, None, &rpc::no_batches());
        }
        let mut answers: Vec<Bytes> = Vec::new();
        for message in messages {
            match message {
                Err(error) => answers.push(rpc::error_bytes(None, &error)),
                Ok(Message::Request(request)) => {
                    answers.push(self.one_of_batch(&asker, version, &request).await);
                }
                Ok(Message::Notification(notification)) => {
                    if let Err(error) = self.notification(&asker, headers, &notification) {
                        tracing::debug!(%error, "a notification is not taken");
                    }
                }
                Ok(Message::Response(_)) => {}
            }
        }
        if answers.is_empty() {
            return answer::accepted();
        }
        let mut text = Vec::with_capacity(answers.iter().map(|it| it.len() + 1).sum::<usize>() + 2);
        for (at, answer) in answers.iter().enumerate() {
            text.push(if at == 0 { b'[' } else { b',' });
            text.extend_from_slice(answer);
        }
        text.push(b']');
        answer::json(StatusCode::OK, text)
    }

    async fn one_of_batch(
        self: &Arc<Self>,
        asker: &Asker,
        version: Version,
        request: &Request<'_>,
    ) -> Bytes {
        let mut asker = asker.clone();
        asker.era = version.era();
        match self.whole(&asker, request, None).await {
            Ok(text) => response_bytes(request.id, &text),
            Err(failure) => rpc::error_bytes(Some(request.id), &failure.into_rpc()),
        }
    }

    /// The result of a request of the legacy era, however long it takes.
    pub(in crate::mcp) async fn whole(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Bytes, Failure> {
        let params = Params::read(request.params)?;
        let meta = params.meta()?;
        let operation = Operation::begin(self, asker, &request.method, &meta, Instant::now());
        let asked = Asked {
            request,
            params: &params,
            meta: &meta,
        };
        match self.start(asker, &HeaderMap::new(), asked, progress).await {
            Started::Done(result) => {
                let mut operation = operation;
                operation.end_with(&result);
                result.map(|done| match done {
                    Done::Text(text) | Done::Kept(text) => text,
                })
            }
            Started::Later(later) => {
                let held = in_flight(asker, request.id)?;
                operation.run(held, later).await
            }
            Started::Listen(_) | Started::Mounted { .. } => {
                Err(RpcError::method(&request.method).into())
            }
        }
    }
}
