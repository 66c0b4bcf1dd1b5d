//! A stream that looks at what passes through another one.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Sees what passes through a stream. [`Tapped`] makes it a stream itself.
pub trait Tap: Unpin {
    /// The stream beneath.
    ///
    /// # Errors
    /// When it was given away.
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>>;

    /// Takes bytes that were read; none at the stream's end, or when it fails.
    ///
    /// # Errors
    /// When the connection is to end because of them.
    fn on_read(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> io::Result<()>;

    /// Writes some of these bytes to the stream.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Writes what was held back.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The stream of a [`Tap`].
#[derive(Debug)]
pub struct Tapped<T>(pub T);

impl<T: Tap> AsyncRead for Tapped<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let outcome = ready!(self.0.stream()?.poll_read(cx, into));
        self.0.on_read(cx, &into.filled()[before..])?;
        Poll::Ready(outcome)
    }
}

impl<T: Tap> AsyncWrite for Tapped<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(cx))?;
        self.0.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.stream()?.poll_shutdown(cx)
    }
}
