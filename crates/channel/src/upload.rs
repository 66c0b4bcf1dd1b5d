//! Sends the body of a request on its stream, as fast as flow control allows.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body as _;

use crate::replay::AttemptBody;

/// Ends with the body, with the stream, or with the call. Then the stream is reset with CANCEL,
/// even while its window is closed.
pub(crate) struct Upload {
    stream: SendStream<Bytes>,
    body: AttemptBody,
    /// Was read, and waits for the instance's window.
    chunk: Option<Bytes>,
}

impl Upload {
    pub(crate) fn new(stream: SendStream<Bytes>, body: AttemptBody) -> Self {
        Self {
            stream,
            body,
            chunk: None,
        }
    }

    /// An error means that the stream has already ended: its answer says why.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            if self.body.is_over(cx) {
                self.stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Ok(()));
            }
            if self.stream.poll_reset(cx)?.is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.chunk.is_some() && self.stream.capacity() == 0 {
                if ready!(self.stream.poll_capacity(cx)).transpose()?.is_none() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if let Some(chunk) = self.chunk.take() {
                let ends = self.body.is_end_stream();
                self.stream.send_data(chunk, ends)?;
                if ends {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)) else {
                return Poll::Ready(self.stream.send_data(Bytes::new(), true));
            };
            let Ok(frame) = frame else {
                // The caller has cancelled its request.
                self.stream.send_reset(Reason::CANCEL);
                return Poll::Ready(Ok(()));
            };
            match frame.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => {
                    // Any capacity is enough: h2 requests the rest when it has the data.
                    self.stream.reserve_capacity(1);
                    self.chunk = Some(data);
                }
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        return Poll::Ready(self.stream.send_trailers(trailers));
                    }
                }
            }
        }
    }
}

impl Future for Upload {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_send(cx).map(|result| {
            if let Err(error) = result {
                tracing::debug!(%error, "request body not sent to its end");
            }
        })
    }
}
