//! What a service's own code need not look after: the largest message, judged from a frame's
//! header before the bytes come, and the caller's deadline.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use channel::deadline;
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use proto::error_info;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use tonic::{Code, Status, body::Body};

/// A gRPC frame begins with a byte of flags and the message's length in four.
const HEADER: usize = 5;

/// Runs `next` with messages of at most `limit` bytes, until the caller's deadline.
pub(crate) async fn bounded<F>(
    request: Request<Incoming>,
    limit: usize,
    next: impl FnOnce(Request<Body>) -> F,
) -> Response<Body>
where
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
    let request = request.map(|body| {
        Body::new(Messages {
            body,
            limit,
            head: Vec::new(),
            left: 0,
        })
    });
    let Some(timeout) = timeout else {
        return next(request).await;
    };
    let end = deadline::after(Instant::now(), timeout);
    match timeout_at(end, next(request)).await {
        Ok(response) => response.map(|body| {
            if body.is_end_stream() {
                return body;
            }
            Body::new(Until {
                body,
                end: Box::pin(sleep_until(end)),
                over: false,
            })
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

fn too_late() -> Status {
    let message = "the caller's deadline passed before the answer was complete";
    error_info::status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", message, [])
}

fn too_large(size: usize, limit: usize) -> Status {
    let message = format!("a message of {size} bytes is over max_message_bytes = {limit}");
    let facts = [
        ("key", "max_message_bytes".to_owned()),
        ("limit", limit.to_string()),
    ];
    error_info::status(Code::ResourceExhausted, "MESSAGE_TOO_LARGE", message, facts)
}

/// A request whose messages are measured as they come.
struct Messages {
    body: Incoming,
    limit: usize,
    /// What is there of the next frame's header.
    head: Vec<u8>,
    /// What is still to come of the present message.
    left: usize,
}

impl Messages {
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
            if let [_, a, b, c, d] = self.head[..] {
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.head.clear();
                if self.left > self.limit {
                    return Err(too_large(self.left, self.limit));
                }
            }
        }
        Ok(())
    }
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
            None => return Poll::Ready(None),
        };
        let measured = frame
            .data_ref()
            .map_or(Ok(()), |data| self.measure(data.clone()));
        Poll::Ready(Some(measured.map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that ends with the caller's deadline, if not before.
struct Until {
    body: Body,
    end: Pin<Box<Sleep>>,
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
        ready!(self.end.as_mut().poll(cx));
        self.over = true;
        self.body = Body::empty();
        let mut trailers = HeaderMap::new();
        let written = too_late().add_header(&mut trailers);
        Poll::Ready(Some(written.map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.body.is_end_stream()
    }
}
