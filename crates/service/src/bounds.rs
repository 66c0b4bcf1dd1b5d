//! What a service's own code need not look after: the largest message, judged from a frame's
//! header before the bytes come, compression, silence within a message, and the caller's deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use channel::deadline;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use proto::error_info;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};

use crate::coding::{self, Asked, HEADER};

/// What a request may be, and how slowly it may come.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one message, after inflation too.
    pub message: usize,
    /// How long a client may be silent within a message; zero is for ever. Between two messages it
    /// may be silent for as long as it likes.
    pub silence: Duration,
}

/// Runs `next` with messages within the bounds, not compressed, until the caller's deadline.
pub async fn bounded<B, F>(
    mut request: Request<B>,
    bounds: Bounds,
    next: impl FnOnce(Request<Body>) -> F,
) -> Response<Body>
where
    B: http_body::Body<Data = Bytes> + Unpin + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    F: Future<Output = Response<Body>>,
{
    let timeout = match deadline::read(request.headers()) {
        Ok(timeout) => timeout,
        Err(error) => {
            let reason = "MALFORMED_TIMEOUT";
            return error_info::status(Code::InvalidArgument, reason, error.to_string(), [])
                .into_http();
        }
    };
    let asked = Asked::of(request.headers());
    if asked.comes {
        request.headers_mut().remove(coding::ENCODING);
    }
    let request = request.map(|body| {
        Body::new(Messages {
            body,
            bounds,
            head: Vec::new(),
            left: 0,
            compressed: asked.comes.then(BytesMut::new),
            silence: None,
        })
    });
    let Some(timeout) = timeout else {
        return asked.answer(next(request).await);
    };
    let end = deadline::after(Instant::now(), timeout);
    match timeout_at(end, next(request)).await {
        Ok(response) => until(asked.answer(response), async move {
            sleep_until(end).await;
            too_late()
        }),
        Err(_) => too_late().into_http(),
    }
}

/// The refusal of a request whose metadata is larger than `limit`, as HTTP/2 counts it.
pub(crate) fn large_head<B>(request: &Request<B>, limit: u32) -> Option<Status> {
    // Each field counts 32 bytes besides, and so do the pseudo-headers.
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
        error_info::status(Code::ResourceExhausted, "LIMIT", message, facts)
    })
}

/// Lets an answer go on until `end`, which says with what status it is then cut short.
pub(crate) fn until(
    response: Response<Body>,
    end: impl Future<Output = Status> + Send + 'static,
) -> Response<Body> {
    response.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Until {
            body,
            end: Box::pin(end),
            over: false,
        })
    })
}

/// An answer of the chassis' own that ends when the program leaves: whoever watches or reflects
/// does not hold it up.
pub(crate) async fn until_leave(
    leave: CancellationToken,
    next: impl Future<Output = Response<Body>>,
) -> Response<Body> {
    match leave.run_until_cancelled(next).await {
        Some(response) => until(response, async move {
            leave.cancelled_owned().await;
            leaving()
        }),
        None => leaving().into_http(),
    }
}

fn leaving() -> Status {
    let message = "the instance leaves: ask another one";
    error_info::status(Code::Unavailable, "DRAINING", message, [])
}

fn too_late() -> Status {
    let message = "the caller's deadline passed before the answer was complete";
    error_info::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message, [])
}

fn silent(limit: Duration) -> Status {
    let message = format!("a message has begun and did not go on for {limit:?}");
    let about = [("key", "body_timeout".to_owned())];
    error_info::status(Code::DeadlineExceeded, "SILENT", message, about)
}

pub(crate) fn too_large(size: usize, limit: usize) -> Status {
    let message = format!("a message of {size} bytes is over max_message_bytes = {limit}");
    let facts = [
        ("key", "max_message_bytes".to_owned()),
        ("limit", limit.to_string()),
    ];
    error_info::status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message, facts)
}

/// A request whose messages are measured as they come.
struct Messages<B> {
    body: B,
    bounds: Bounds,
    /// What is there of the next frame's header.
    head: Vec<u8>,
    /// What is still to come of the present message.
    left: usize,
    /// What has come of messages that may be compressed and are not complete.
    compressed: Option<BytesMut>,
    /// Runs while a message does not go on.
    silence: Option<Pin<Box<Sleep>>>,
}

impl<B> Messages<B> {
    fn measure(&mut self, mut data: Bytes) -> Result<(), Status> {
        while data.has_remaining() {
            let skipped = self.left.min(data.len());
            data.advance(skipped);
            self.left -= skipped;
            let wanted = (HEADER - self.head.len()).min(data.len());
            if self.left > 0 || wanted == 0 {
                continue;
            }
            self.head.extend_from_slice(&data.split_to(wanted));
            if let Some((_, length)) = coding::frame(&self.head) {
                self.left = length;
                self.head.clear();
                if self.left > self.bounds.message {
                    return Err(too_large(self.left, self.bounds.message));
                }
            }
        }
        Ok(())
    }

    /// What goes on to the service of bytes that have come.
    fn take(&mut self, data: Bytes) -> Result<Bytes, Status> {
        self.measure(data.clone())?;
        match &mut self.compressed {
            Some(held) => {
                held.extend_from_slice(&data);
                coding::inflate(held, self.bounds.message)
            }
            None => Ok(data),
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let within = self.left > 0 || !self.head.is_empty();
        let limit = self.bounds.silence;
        if !within || limit.is_zero() {
            return Poll::Pending;
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(silence.as_mut().poll(cx));
        Poll::Ready(silent(limit))
    }
}

impl<B> http_body::Body for Messages<B>
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
                return self.poll_silence(cx).map(|status| Some(Err(status)));
            };
            self.silence = None;
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
                // Nothing is complete yet.
                Ok(data) if data.is_empty() && self.compressed.is_some() => {}
                data => return Poll::Ready(Some(data.map(Frame::data))),
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

/// An answer that is cut short at its end, if it does not come to one before.
struct Until {
    body: Body,
    end: Pin<Box<dyn Future<Output = Status> + Send>>,
    over: bool,
}

impl http_body::Body for Until {
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
