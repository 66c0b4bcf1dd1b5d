//! The body of an answer: its request is over when it has gone out, or nobody wants it any more.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use crate::{clients::Connection, connection::Request};

/// A body that holds its request's place.
pub(crate) struct Reply<B> {
    body: Pin<Box<B>>,
    _open: Request,
    _client: Arc<Connection>,
}

impl<B> Reply<B> {
    pub(crate) fn new(body: B, open: Request, client: Arc<Connection>) -> Self {
        Self {
            body: Box::pin(body),
            _open: open,
            _client: client,
        }
    }
}

impl<B: Body> Body for Reply<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
