//! HTTP/1 or HTTP/2, by the first bytes of a connection.
//!
//! hyper-util's own way gives hyper those bytes by themselves. hyper then makes its buffer twice as large
//! for the rest of the head, and keeps it as long as the connection. Here they come with what follows.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::HttpService,
};
use hyper_util::rt::TokioIo;
use mesh_relay::frame::PREFACE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stalled_streams::StreamExecutor;
use crate::http::HttpBody;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Answers the requests of one connection.
pub(crate) trait ConnectionService:
    HttpService<Incoming, ResBody: HttpBody, Future: Send + 'static> + Send + 'static
{
}

impl<S> ConnectionService for S where
    S: HttpService<Incoming, ResBody: HttpBody, Future: Send + 'static> + Send + 'static
{
}

type Http1<I, S> = http1::UpgradeableConnection<TokioIo<Sniffed<I>>, S>;
type Http2<I, S> = http2::Connection<TokioIo<Sniffed<I>>, S, StreamExecutor>;

/// How each protocol is served.
#[derive(Debug)]
pub(crate) struct Protocols {
    pub(crate) http1: http1::Builder,
    pub(crate) http2: http2::Builder<StreamExecutor>,
}

/// A connection whose client chooses the protocol.
pub(crate) enum HttpConnection<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming>,
{
    /// `None` once the protocol is known.
    Sniffing(Option<Box<Sniffing<I, S>>>),
    Http1(Pin<Box<Http1<I, S>>>),
    Http2(Pin<Box<Http2<I, S>>>),
    /// It was told to finish before its client had said anything.
    Over,
}

/// What a connection is made of, until its protocol is known.
pub(crate) struct Sniffing<I, S> {
    stream: Sniffed<I>,
    service: S,
    protocols: Protocols,
}

/// A stream that gives its first bytes once more.
pub(crate) struct Sniffed<I> {
    stream: I,
    first: [u8; PREFACE.len()],
    /// How many of them were read.
    have: usize,
    /// How many of those were given.
    given: usize,
    /// Why nothing could be read behind them.
    failed: Option<io::Error>,
}

impl<I, S> HttpConnection<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: ConnectionService,
{
    pub(crate) fn new(stream: I, protocols: Protocols, service: S) -> Self {
        let stream = Sniffed::new(stream);
        Self::Sniffing(Some(Box::new(Sniffing {
            stream,
            service,
            protocols,
        })))
    }

    /// Finishes the calls in flight.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Sniffing(_) => *self = Self::Over,
            Self::Http1(connection) => connection.as_mut().graceful_shutdown(),
            Self::Http2(connection) => connection.as_mut().graceful_shutdown(),
            Self::Over => {}
        }
    }
}

impl<I, S> Future for HttpConnection<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: ConnectionService,
{
    type Output = Result<(), BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Self::Sniffing(sniffing) = &mut *self
            && let Some(open) = sniffing
        {
            let is_http2 = ready!(open.stream.poll_sniff(cx))?;
            if let Some(open) = sniffing.take() {
                *self = open.known(is_http2);
            }
        }
        match &mut *self {
            Self::Http1(connection) => connection.as_mut().poll(cx).map_err(Into::into),
            Self::Http2(connection) => connection.as_mut().poll(cx).map_err(Into::into),
            Self::Sniffing(_) | Self::Over => Poll::Ready(Ok(())),
        }
    }
}

// Each part is in a box of its own.
impl<I, S> Unpin for HttpConnection<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: HttpService<Incoming>,
{
}

impl<I, S> Sniffing<I, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: ConnectionService,
{
    fn known(self, is_http2: bool) -> HttpConnection<I, S> {
        let Self {
            stream,
            service,
            protocols,
        } = self;
        let stream = TokioIo::new(stream);
        match is_http2 {
            true => {
                let connection = protocols.http2.serve_connection(stream, service);
                HttpConnection::Http2(Box::pin(connection))
            }
            false => {
                let connection = protocols.http1.serve_connection(stream, service);
                HttpConnection::Http1(Box::pin(connection.with_upgrades()))
            }
        }
    }
}

impl<I> Sniffed<I> {
    const fn new(stream: I) -> Self {
        Self {
            stream,
            first: [0; PREFACE.len()],
            have: 0,
            given: 0,
            failed: None,
        }
    }
}

impl<I: AsyncRead + Unpin> Sniffed<I> {
    /// Reads until it is known whether the client speaks HTTP/2. One that ends before says nothing.
    fn poll_sniff(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.have < PREFACE.len() {
            let mut into = ReadBuf::new(&mut self.first[self.have..]);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut into))?;
            let more = into.filled().len();
            let (from, to) = (self.have, self.have + more);
            self.have = to;
            if more == 0 || self.first[from..to] != PREFACE[from..to] {
                return Poll::Ready(Ok(false));
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Sniffed<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let kept = &this.first[this.given..this.have];
        if kept.is_empty() {
            if let Some(error) = this.failed.take() {
                return Poll::Ready(Err(error));
            }
            return Pin::new(&mut this.stream).poll_read(cx, into);
        }
        let count = kept.len().min(into.remaining());
        into.put_slice(&kept[..count]);
        this.given += count;
        if this.given == this.have
            && into.remaining() > 0
            && let Poll::Ready(Err(error)) = Pin::new(&mut this.stream).poll_read(cx, into)
        {
            this.failed = Some(error);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Sniffed<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    async fn sniffed(first: &[u8], rest: &[u8]) -> (bool, Vec<u8>) {
        let (mut client, server) = duplex(1000);
        let mut stream = Sniffed::new(server);
        client.write_all(first).await.unwrap();
        let sniffing = poll_fn(|cx| stream.poll_sniff(cx));
        let rest = async {
            tokio::task::yield_now().await;
            client.write_all(rest).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let (is_http2, ()) = tokio::join!(sniffing, rest);
        let mut all = Vec::new();
        let mut one = [0; 500];
        loop {
            let count = stream.read(&mut one).await.unwrap();
            all.extend_from_slice(&one[..count]);
            if count == 0 {
                return (is_http2.unwrap(), all);
            }
        }
    }

    #[tokio::test]
    async fn the_first_bytes_tell_the_protocol_and_are_read_once_more() {
        let (start, end) = PREFACE.split_at(10);
        for (first, rest, expected) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], &b"and more"[..], false),
            (b"P", b"OST / HTTP/1.1\r\n\r\n", false),
            (start, end, true),
            (PREFACE, b"frames", true),
            (b"PRI", b"", false),
            (b"", b"", false),
        ] {
            let (is_http2, all) = sniffed(first, rest).await;
            assert_eq!(is_http2, expected, "{first:?}");
            assert_eq!(all, [first, rest].concat());
        }
    }

    #[tokio::test]
    async fn the_first_bytes_come_with_what_follows() {
        let (mut client, server) = duplex(1000);
        let mut stream = Sniffed::new(server);
        let head = [b"GET /".as_slice(), &[b'a'; 300], b" HTTP/1.1\r\n\r\n"].concat();
        client.write_all(&head).await.unwrap();
        assert!(!poll_fn(|cx| stream.poll_sniff(cx)).await.unwrap());
        let mut all = [0; 1000];
        assert_eq!(stream.read(&mut all).await.unwrap(), head.len());
    }
}
