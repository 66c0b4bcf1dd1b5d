//! Answers over HTTP: JSON at once, or a stream of server-sent events.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use mcp::rpc::{self, RpcError};
use serde_json::value::RawValue;
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep, sleep_until},
};

pub(crate) const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-cache, no-transform");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The end of a stream: its last message, or none.
pub(crate) type Work = Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>;

/// A JSON body.
pub(crate) fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut answer = Response::new(body.into());
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, JSON);
    answer
}

/// A JSON-RPC error.
pub(crate) fn error(status: StatusCode, id: Option<&RawValue>, error: &RpcError) -> Response {
    json(status, rpc::error_bytes(id, error))
}

/// It cannot be answered now, but later it may.
pub(crate) fn unavailable(text: &str) -> Response {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    error(status, None, &RpcError::internal(text))
}

/// A notification or an answer was taken.
pub(crate) fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}

/// A result that is kept as bytes, between what is different each time. It is not copied.
pub(crate) fn cached(id: &RawValue, result: &Bytes) -> Response {
    let mut head = BytesMut::with_capacity(48 + id.get().len());
    head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    head.extend_from_slice(id.get().as_bytes());
    head.extend_from_slice(b",\"result\":");
    let parts = [
        Some(head.freeze()),
        Some(result.clone()),
        Some(Bytes::from_static(b"}")),
    ];
    json(StatusCode::OK, Body::new(Parts(parts)))
}

/// A body of three parts.
struct Parts([Option<Bytes>; 3]);

impl HttpBody for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.iter_mut().find_map(Option::take);
        Poll::Ready(next.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.0.iter().flatten().map(Bytes::len).sum::<usize>();
        SizeHint::with_exact(bytes as u64)
    }
}

/// A stream of events: messages as they come, comments while there are none, and at the end what
/// the work gives. When the client closes it, the work is dropped, and with it what it does.
pub(crate) struct Events {
    /// Written already before the first poll.
    first: Option<Bytes>,
    messages: mpsc::Receiver<Bytes>,
    work: Option<Work>,
    last: Option<Bytes>,
    comment: Pin<Box<Sleep>>,
    quiet: Duration,
    is_over: bool,
}

impl Events {
    pub(crate) fn new(messages: mpsc::Receiver<Bytes>, work: Work, quiet: Duration) -> Self {
        let quiet = quiet.max(Duration::from_millis(10));
        Self {
            first: None,
            messages,
            work: Some(work),
            last: None,
            comment: Box::pin(sleep_until(Instant::now() + quiet)),
            quiet,
            is_over: false,
        }
    }

    /// With a message that came already, or a comment, so that the head is sent at once.
    pub(crate) fn beginning(mut self, message: Option<&Bytes>) -> Self {
        self.first = Some(match message {
            Some(message) => event(message),
            None => comment(),
        });
        self
    }

    /// Begins with text that is an event already.
    pub(crate) fn beginning_with(mut self, text: Bytes) -> Self {
        self.first = Some(text);
        self
    }

    pub(crate) fn response(self) -> Response {
        let mut answer = Response::new(Body::new(self));
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, EVENTS);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        answer
    }

    fn poll_text(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if self.is_over {
            return Poll::Ready(None);
        }
        // The work first: it may put messages into the channel while it is polled.
        if let Some(work) = &mut self.work
            && let Poll::Ready(last) = work.as_mut().poll(context)
        {
            self.work = None;
            self.last = last;
        }
        match self.messages.poll_recv(context) {
            Poll::Ready(Some(message)) => {
                self.comment.as_mut().reset(Instant::now() + self.quiet);
                return Poll::Ready(Some(event(&message)));
            }
            // The work was dropped with its sender.
            Poll::Ready(None) if self.work.is_none() => {
                self.is_over = true;
                return Poll::Ready(self.last.take().map(|last| event(&last)));
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        if self.work.is_none() {
            // Another holds a sender: what it sends now belongs to nobody.
            self.is_over = true;
            return Poll::Ready(self.last.take().map(|last| event(&last)));
        }
        ready!(self.comment.as_mut().poll(context));
        self.comment.as_mut().reset(Instant::now() + self.quiet);
        Poll::Ready(Some(comment()))
    }
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = ready!(self.poll_text(context));
        Poll::Ready(next.map(|text| Ok(Frame::data(text))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_over && self.first.is_none()
    }
}

/// A sign of life.
fn comment() -> Bytes {
    Bytes::from_static(b": still here\n\n")
}

/// A message as an event. JSON that we write has no line breaks; that of a mount may.
pub(crate) fn event(message: &[u8]) -> Bytes {
    named_event("message", message)
}

/// An event of any name.
pub(crate) fn named_event(name: &str, data: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(data.len() + name.len() + 24);
    text.extend_from_slice(b"event: ");
    text.extend_from_slice(name.as_bytes());
    for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
        text.extend_from_slice(b"\ndata: ");
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[test]
    fn a_message_with_line_breaks_is_one_event() {
        assert_eq!(event(b"{\n}"), "event: message\ndata: {\ndata: }\n\n");
    }

    #[tokio::test]
    async fn messages_come_before_the_result_that_ends_the_stream() {
        let (send, receive) = mpsc::channel(4);
        let work = Box::pin(async move {
            send.send(Bytes::from_static(b"1")).await.unwrap();
            send.send(Bytes::from_static(b"2")).await.unwrap();
            Some(Bytes::from_static(b"3"))
        });
        let body = Events::new(receive, work, Duration::from_secs(15));
        let text = body.beginning(None).collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let datas: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("data"))
            .collect();
        assert_eq!(datas, ["data: 1", "data: 2", "data: 3"]);
        assert!(text.starts_with(": still here"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_sends_comments() {
        let (_send, receive) = mpsc::channel(1);
        let work = Box::pin(async {
            tokio::time::sleep(Duration::from_secs(40)).await;
            None
        });
        let body = Events::new(receive, work, Duration::from_secs(15));
        let text = body.collect().await.unwrap().to_bytes();
        assert_eq!(text, ": still here\n\n: still here\n\n");
    }

    #[tokio::test]
    async fn a_kept_result_is_framed_by_its_request() {
        let id = RawValue::from_string("\"a\"".to_owned()).unwrap();
        let answer = cached(&id, &Bytes::from_static(b"{\"tools\":[]}"));
        let size = answer.body().size_hint().exact().unwrap();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, r#"{"jsonrpc":"2.0","id":"a","result":{"tools":[]}}"#);
        assert_eq!(size, text.len() as u64);
    }
}
