//! What the chassis enforces for every call: the largest message, read from the frame's header
//! before its bytes come; gzip; pauses within a message; and the caller's deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use channel::deadline;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use proto::{
    error_info::{self, Reason},
    frame::FrameReader,
};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};

use crate::{
    cause_slot::CauseSlot,
    compression::{self, RequestCoding},
    idle_timer::IdleTimer,
};

/// The limits of one call.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// Bytes of one message, also after decompression.
    pub message_bytes: usize,
    /// How long a client may pause within a message; zero is no limit. A pause between two messages
    /// has no limit.
    pub idle: Duration,
}

/// Runs `next` until the caller's deadline, with messages that are decompressed and within the
/// limits.
pub async fn with_call_limits<B, F>(
    mut request: Request<B>,
    call_limits: CallLimits,
    next: impl FnOnce(Request<Body>) -> F,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Response<Body>>,
{
    let cause = CauseSlot::of(request.extensions());
    let timeout = match deadline::read(request.headers()) {
        Ok(timeout) => timeout,
        Err(error) => {
            let (code, reason) = (Code::InvalidArgument, Reason::BadMetadata);
            let status = error_info::status(code, reason, error.to_string(), []);
            cause.note(&status);
            return status.into_http();
        }
    };
    let coding = RequestCoding::of(request.headers());
    if coding.compressed {
        request.headers_mut().remove(compression::ENCODING);
    }
    let request = request.map(|body| {
        Body::new(MessageBody {
            body,
            frames: FrameReader::new(call_limits.message_bytes as u64),
            message_bytes: call_limits.message_bytes,
            compressed: coding.compressed.then(BytesMut::new),
            idle_timer: IdleTimer::new(call_limits.idle),
            cause: cause.clone(),
        })
    });
    let Some(timeout) = timeout else {
        return coding.answer(next(request).await);
    };
    let end = deadline::after(Instant::now(), timeout);
    match timeout_at(end, next(request)).await {
        Ok(response) => until(coding.answer(response), async move {
            sleep_until(end).await;
            let status = deadline_exceeded();
            cause.note(&status);
            status
        }),
        Err(_) => {
            let status = deadline_exceeded();
            cause.note(&status);
            status.into_http()
        }
    }
}

/// The status for a request whose metadata is over `limit` bytes, as HTTP/2 counts them.
pub(crate) fn oversized_metadata<B>(request: &Request<B>, limit: u32) -> Option<Status> {
    // Each field counts 32 bytes more, and so does each pseudo-header (RFC 9113, 6.5.2).
    const FIELD: usize = 32;
    let uri = request.uri();
    let first = [
        request.method().as_str().len() + ":method".len(),
        uri.path_and_query().map_or(0, |it| it.as_str().len()) + ":path".len(),
        uri.authority().map_or(0, |it| it.as_str().len()) + ":authority".len(),
        ":schemehttp".len(),
    ];
    let first: usize = first.iter().map(|length| length + FIELD).sum();
    let headers = request.headers().iter();
    let fields = headers.map(|(name, value)| name.as_str().len() + value.len() + FIELD);
    let size = first + fields.sum::<usize>();
    (size > limit as usize).then(|| {
        let message =
            format!("the request's metadata of {size} bytes is over max_header_bytes = {limit}");
        let facts = [
            ("key", "max_header_bytes".to_owned()),
            ("limit", limit.to_string()),
        ];
        error_info::status(Code::ResourceExhausted, Reason::Limit, message, facts)
    })
}

/// Ends an answer with the status of `end` once that is ready.
pub(crate) fn until(
    response: Response<Body>,
    end: impl Future<Output = Status> + Send + 'static,
) -> Response<Body> {
    response.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(DeadlineBody {
            body,
            end: Box::pin(end),
            over: false,
        })
    })
}

/// Runs a call of health or reflection, which ends when the drain does: an open watch does not
/// delay it.
pub(crate) async fn until_drain(
    leave: CancellationToken,
    cause: CauseSlot,
    next: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    match leave.run_until_cancelled(next).await {
        Some(response) => until(response, async move {
            leave.cancelled_owned().await;
            draining(&cause)
        }),
        None => draining(&cause).into_http(),
    }
}

fn draining(cause: &CauseSlot) -> Status {
    let message = "the instance is shutting down: retry on another one";
    let status = error_info::status(Code::Unavailable, Reason::Draining, message, []);
    cause.note(&status);
    status
}

fn deadline_exceeded() -> Status {
    let message = "the caller's deadline passed before the answer was complete";
    error_info::status(
        Code::DeadlineExceeded,
        Reason::DeadlineExceeded,
        message,
        [],
    )
}

fn message_idle(limit: Duration) -> Status {
    let message = format!("the client paused for {limit:?} within a message (body_timeout)");
    let about = [("key", "body_timeout".to_owned())];
    error_info::status(Code::DeadlineExceeded, Reason::Silent, message, about)
}

/// A request's body that checks each message as it comes.
struct MessageBody<B> {
    body: B,
    /// Measures the messages.
    frames: FrameReader,
    /// The most bytes of a message.
    message_bytes: usize,
    /// An incomplete message of a request with compression.
    compressed: Option<BytesMut>,
    /// Runs while the client pauses within a message.
    idle_timer: IdleTimer,
    cause: CauseSlot,
}

impl<B> MessageBody<B> {
    /// What the service gets of these bytes.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Status> {
        self.frames
            .feed(&data)
            .map_err(|it| compression::message_too_large(it.size, self.message_bytes))?;
        match &mut self.compressed {
            Some(held) => {
                held.extend_from_slice(&data);
                compression::inflate(held, self.message_bytes)
            }
            None => Ok(data),
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        if self.frames.is_between_messages() {
            return Poll::Pending;
        }
        ready!(self.idle_timer.poll(cx));
        let status = message_idle(self.idle_timer.limit);
        self.cause.note(&status);
        Poll::Ready(status)
    }
}

impl<B> http_body::Body for MessageBody<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.poll_idle(cx).map(|status| Some(Err(status)));
            };
            self.idle_timer.reset();
            let frame = match frame {
                Some(Ok(frame)) => frame,
                Some(Err(error)) => {
                    return Poll::Ready(Some(Err(Status::from_error(error.into()))));
                }
                None => return Poll::Ready(None),
            };
            let data = match frame.into_data() {
                Ok(data) => self.take(data),
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            match data {
                // No message is complete yet.
                Ok(data) if data.is_empty() && self.compressed.is_some() => {}
                data => {
                    if let Err(status) = &data {
                        self.cause.note(status);
                    }
                    return Poll::Ready(Some(data.map(Frame::data)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.compressed {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

/// An answer that ends when `end` is ready, unless it ends before.
struct DeadlineBody {
    body: Body,
    end: Pin<Box<dyn Future<Output = Status> + Send>>,
    over: bool,
}

impl http_body::Body for DeadlineBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        let status = ready!(self.end.as_mut().poll(cx));
        self.over = true;
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        let written = status.add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
