//! The body of an answer: its request is over when it has gone out, or nobody wants it any more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use crate::{
    clients::ClientConnection,
    connection::{OpenRequest, stalled_streams},
};

/// A body that holds its request's place.
pub(crate) struct ResponseBody<B> {
    body: Pin<Box<B>>,
    /// There is nothing to send after the head.
    empty: bool,
    _open: OpenRequest,
    _client: Arc<ClientConnection>,
}

impl<B: Body> ResponseBody<B> {
    pub(crate) fn new(body: B, open: OpenRequest, client: Arc<ClientConnection>) -> Self {
        stalled_streams::mark_pending();
        Self {
            empty: body.is_end_stream(),
            body: Box::pin(body),
            _open: open,
            _client: client,
        }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = self.body.as_mut().poll_frame(cx);
        match frame {
            Poll::Ready(_) => stalled_streams::mark_pending(),
            Poll::Pending => stalled_streams::mark_flushed(),
        }
        frame
    }

    /// Asked for one frame more than there is, a body stays until its last bytes may go out.
    fn is_end_stream(&self) -> bool {
        self.empty
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
