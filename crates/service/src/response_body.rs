//! The body of an HTTP answer. Its request ends when the body is sent or dropped.

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

/// A body that ends its request when dropped.
pub(crate) struct ResponseBody<B> {
    body: Pin<Box<B>>,
    /// The answer is its head alone.
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

    /// False until the last frame was polled: so hyper keeps the body until its last bytes are
    /// sent.
    fn is_end_stream(&self) -> bool {
        self.empty
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
