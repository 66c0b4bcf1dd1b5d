//! The body of an answer as it comes from the connection.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use http_body::{Body, Frame};

/// Data, then trailers. When dropped before its end, it gives back the flow-control windows.
pub(crate) struct Incoming {
    stream: RecvStream,
    data_ended: bool,
}

impl Incoming {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self {
            stream,
            data_ended: false,
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let this = &mut *self;
        if !this.data_ended {
            match ready!(this.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    // The reader has it: the instance may send as much again.
                    let credit = this.stream.flow_control().release_capacity(data.len());
                    return Poll::Ready(Some(credit.map(|()| Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => this.data_ended = true,
            }
        }
        let trailers = ready!(this.stream.poll_trailers(cx)).transpose();
        Poll::Ready(trailers.map(|trailers| {
            let mut trailers = trailers?;
            proto::details::remove_invalid(&mut trailers);
            Ok(Frame::trailers(trailers))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }
}
