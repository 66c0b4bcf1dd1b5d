//! The connections to a server of HTTP, and one request and its answer over one of them.

use bytes::Bytes;
use fetch::{Error as FetchError, KeptConnection, SendError};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;

use super::{Peer, SESSION, VERSION};
use crate::link::Gone;

/// Idle connections that are kept.
const MAX_IDLE: usize = 64;

/// A connection in use. It is idle again when its answer was read.
pub(super) struct InUse {
    connection: KeptConnection,
}

/// An answer as it comes.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Incoming,
    pub(super) from: InUse,
}

impl Peer {
    /// A connection that can take a request: an idle one, or a new one. There are as many as there are
    /// requests in flight, which are limited, and posts, which are too.
    pub(super) async fn connection(&self, fresh: bool) -> Result<InUse, FetchError> {
        let idle = if fresh { None } else { self.idle() };
        if let Some(connection) = idle {
            return Ok(InUse { connection });
        }
        let (connection, driver) = self.server.client.open(&self.server.url).await?;
        self.setting.tracker.spawn(driver);
        Ok(InUse { connection })
    }

    /// An idle connection that the server has not left.
    fn idle(&self) -> Option<KeptConnection> {
        let mut idle = self.idle.lock();
        loop {
            let connection = idle.pop()?;
            if connection.is_ready() {
                return Some(connection);
            }
        }
    }

    pub(super) fn release(&self, from: InUse) {
        let mut idle = self.idle.lock();
        if from.connection.is_ready()
            && idle.len() < MAX_IDLE
            && !self.calls.closed().is_cancelled()
        {
            idle.push(from.connection);
        }
    }

    /// Sends a request of HTTP. One that was certainly not received is sent again.
    pub(super) async fn exchange(
        &self,
        mut from: InUse,
        method: &Method,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Answer, FetchError> {
        loop {
            let url = self.endpoint.lock().clone();
            let url = url.as_ref().filter(|_| method == Method::POST);
            let url = url.unwrap_or(&self.server.url);
            let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
            let mut request = http::Request::builder()
                .method(method.clone())
                .uri(target)
                .body(Full::new(body.clone()))
                .map_err(|error| FetchError::BadUrl {
                    url: url.to_string(),
                    reason: error.to_string(),
                })?;
            *request.headers_mut() = headers.clone();
            match from.connection.send(request).await {
                Ok(answer) => {
                    let (head, body) = answer.into_parts();
                    return Ok(Answer {
                        status: head.status,
                        headers: head.headers,
                        body,
                        from,
                    });
                }
                Err(SendError::Unsent) => from = self.connection(true).await?,
                Err(SendError::Failed(error)) => return Err(error),
            }
        }
    }

    /// The headers of every request: those of the keys, the session's and the revision's.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = self.server.headers.clone();
        let (session, version) = self.session.lock().clone();
        if let Some(session) = session {
            headers.insert(SESSION, session);
        }
        if let Some(version) = version {
            headers.insert(VERSION, version);
        }
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        headers.insert(header::ACCEPT, accept);
        headers
    }

    /// The whole body, within the limit.
    pub(super) async fn finish_body(&self, mut answer: Answer) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(frame) = answer.body.frame().await {
            let Ok(data) = frame.ok()?.into_data() else {
                continue;
            };
            if whole.len() + data.len() > self.setting.message {
                return None;
            }
            whole.extend_from_slice(&data);
        }
        self.release(answer.from);
        Some(whole)
    }

    /// The server cannot be connected to: then the link has ended. One that breaks off loses one
    /// request.
    pub(super) fn away(&self, error: &FetchError) -> Gone {
        if let FetchError::Unreachable { .. } | FetchError::Unresolved { .. } = error {
            self.calls.close();
        }
        Gone::Away(error.to_string())
    }
}
