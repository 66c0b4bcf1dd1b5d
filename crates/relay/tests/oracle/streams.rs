//! Byte streams that are no sockets: slow ones, ones that keep bytes until they are flushed, and
//! ones that break.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use mesh_relay::{
    Config,
    frame::{self, PREFACE},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex},
    time::timeout,
};

use crate::{
    SOON,
    support::answer,
    world::{self, World, body_of, call},
};

/// Gives and takes a few bytes at a time, pends every other time, and passes nothing on before it is
/// flushed: what TLS may do, and worse.
struct Dribble {
    inner: DuplexStream,
    held: VecDeque<u8>,
    /// Of reads, and of writes.
    turns: [usize; 2],
}

impl Dribble {
    fn new(inner: DuplexStream) -> Self {
        Self {
            inner,
            held: VecDeque::new(),
            turns: [0; 2],
        }
    }

    /// How many bytes pass this time; none every other time.
    fn few(&mut self, which: usize, cx: &Context<'_>) -> Option<usize> {
        self.turns[which] += 1;
        let turn = self.turns[which];
        if turn.is_multiple_of(2) {
            cx.waker().wake_by_ref();
            return None;
        }
        Some(1 + turn % 7)
    }
}

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(most) = self.few(0, cx) else {
            return Poll::Pending;
        };
        let mut few = into.take(most);
        let read = Pin::new(&mut self.inner).poll_read(cx, &mut few);
        let filled = few.filled().len();
        into.advance(filled);
        read
    }
}

impl AsyncWrite for Dribble {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(most) = self.few(1, cx) else {
            return Poll::Pending;
        };
        let n = bytes.len().min(most);
        self.held.extend(&bytes[..n]);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held: Vec<u8> = self.held.iter().copied().take(11).collect();
            match Pin::new(&mut self.inner).poll_write(cx, &held)? {
                Poll::Ready(n) => drop(self.held.drain(..n)),
                Poll::Pending => return Poll::Pending,
            }
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.as_mut().poll_flush(cx)? {
            Poll::Ready(()) => Pin::new(&mut self.inner).poll_shutdown(cx),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[tokio::test]
async fn streams_that_dribble_carry_calls() {
    let world = World::new(Config::default(), 1);
    world.wrap(|stream| Box::new(Dribble::new(stream)));
    let (ours, theirs) = duplex(50);
    world.accept(Box::new(Dribble::new(theirs))).await;
    let mut builder = h2::client::Builder::new();
    let client = world
        .client_on(builder.data_frame_budget(1 << 30), ours)
        .await;
    for size in [0, 1, 100, 20_000] {
        let sent: Vec<u8> = (0..size).map(|n| n as u8).collect();
        let outcome = timeout(SOON, call(&client, "/echo", &sent)).await;
        let (got, trailers) = outcome.unwrap().unwrap();
        assert!(got == sent, "{size} bytes: {}", world.ended_so_far());
        assert_eq!(trailers.unwrap()["grpc-status"], "0");
    }
    assert_eq!(world.ended(4).await.len(), 4);
    drop(client);
    world.left(1).await;
}

#[tokio::test]
async fn a_client_that_breaks_the_rules_and_reads_nothing_is_gone_all_the_same() {
    let world = World::new(Config::default(), 1);
    // Nothing of what it is told has room.
    let (mut ours, theirs) = duplex(100);
    world.accept(Box::new(theirs)).await;
    let mut flood = PREFACE.to_vec();
    frame::settings(&mut flood, &[]);
    for _ in 0..1100 {
        frame::ping(&mut flood, [0; 8]);
    }
    // It is read to the end of what is wrong with it.
    timeout(SOON, ours.write_all(&flood)).await.unwrap().ok();
    world.left(1).await;
    assert_eq!(world.memory().await, 0);
    drop(ours);
}

/// An instance whose end of the connection the test holds.
#[derive(Clone, Default)]
struct Remote(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What it has sent.
    sent: VecDeque<u8>,
    /// How much it has been sent.
    got: usize,
    /// It takes no more for now.
    full: bool,
    /// It is gone.
    gone: bool,
    wakers: Vec<Waker>,
}

impl Remote {
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.0.lock();
        change(&mut state);
        state.wakers.drain(..).for_each(Waker::wake);
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        while !holds(&self.0.lock()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl AsyncRead for Remote {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let n = state.sent.len().min(into.remaining());
        if n == 0 && !state.gone {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        state
            .sent
            .drain(..n)
            .for_each(|byte| into.put_slice(&[byte]));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Remote {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.lock();
        if state.gone {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.full {
            state.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        state.got += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn an_answer_that_came_before_its_connection_broke_is_delivered() {
    let world = World::new(Config::default(), 1);
    let remote = Remote::default();
    world.dial(Box::new(remote.clone()));
    let client = world.client().await;
    let (response, mut body) = world::open(&client, "/x").await;
    timeout(SOON, remote.until(|state| state.got > 100))
        .await
        .unwrap();
    // More is on its way to the instance, which answers and closes without having read it.
    remote.change(|state| state.full = true);
    body.send_data(Bytes::from(vec![0; 1000]), false).unwrap();
    world.heard(1000).await;
    let mut last_words = Vec::new();
    frame::settings(&mut last_words, &[]);
    answer(&mut last_words, 1, b"goodbye");
    remote.change(|state| {
        state.sent.extend(last_words);
        state.gone = true;
    });
    let (got, trailers) = body_of(response.await.unwrap().into_body()).await.unwrap();
    assert_eq!(got, b"goodbye");
    assert_eq!(trailers.unwrap()["grpc-status"], "0");
}
