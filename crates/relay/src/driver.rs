//! Runs an [`Engine`] on one thread of tokio: sockets, connecting, time.
//!
//! Everything is one future. It is polled when sockets are ready, and reads all of them before it
//! writes to any: what comes from many connections for one goes out with one system call. Another
//! thread is a second [`run`] with an engine of its own, and a listener of the same port.

mod ready;
mod socket;

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
    task::{JoinSet, coop},
    time::{Sleep, sleep_until},
};

use crate::{Endpoint, Engine, Host, Id};
use ready::ReadyQueue;
use socket::{Read, Sockets};

/// What one read brings at most: a 64 KiB message of several calls in one system call.
const BUFFER: usize = 256 * 1024;
/// Reads of one connection in one turn: the others want theirs.
const READS: usize = 4;
/// Reads of a connection that broke: what the kernel may have of it.
const LAST_READS: usize = 64;
/// Connections accepted in one turn, so that a burst of them does not stop the calls.
const ACCEPTS: usize = 32;
/// When there are no more descriptors, how long until there may be.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long clients may take to answer the first word of a drain.
const DRAIN_STEP: Duration = Duration::from_secs(1);
/// The sleep of a driver that has nothing to wait for.
const FAR: Duration = Duration::from_secs(3600);

/// A byte stream: a socket, TLS over one, or a pipe to a service in this process.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection that is being opened.
pub type DialFuture = Pin<Box<dyn Future<Output = io::Result<Dialed>> + Send>>;

/// A connection that is open.
pub struct Dialed {
    /// Its bytes.
    pub stream: Box<dyn Stream>,
    /// What the peer answered to [`Engine::preface`], SETTINGS at least; `None` when it was not said.
    pub received: Option<Vec<u8>>,
}

impl Dialed {
    /// One on which nothing has been said.
    #[must_use]
    pub fn without_handshake(stream: Box<dyn Stream>) -> Self {
        Self {
            stream,
            received: None,
        }
    }
}

impl std::fmt::Debug for Dialed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let received = self.received.as_ref().map(Vec::len);
        f.debug_struct("Dialed")
            .field("received", &received)
            .finish_non_exhaustive()
    }
}

/// What a driven host does besides: it knows where endpoints are.
#[expect(unused_variables, reason = "most defaults do nothing")]
pub trait Transport: Host {
    /// Opens a connection. The future ends within the host's connect timeout. What has to be said
    /// on it first is `preface`: a host that says it waits for the peer's SETTINGS, and so no call is
    /// lost on a peer that does not speak HTTP/2.
    fn dial(&mut self, to: Endpoint, preface: &Arc<[u8]>) -> DialFuture;

    /// A client has connected; its calls come as this one's. An error is the reason for which it is
    /// turned away.
    ///
    /// # Errors
    /// When the client is not wanted.
    fn accepted(&mut self, client: Id, from: SocketAddr) -> Result<(), &'static str> {
        Ok(())
    }

    /// A client's connection is gone, after all of its calls.
    fn disconnected(&mut self, client: Id) {}

    /// A turn is over, and the engine has this.
    fn report(&mut self, stats: EngineStats) {}
}

/// What an engine has between two turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Calls that are not over.
    pub calls: usize,
    /// Connections of clients.
    pub clients: usize,
    /// Connections to instances.
    pub instances: usize,
    /// Bytes that calls keep, and that wait to be written.
    pub memory: usize,
}

/// Something to be done with an engine, on its thread.
pub type EngineFn<H> = Box<dyn FnOnce(&mut Engine<H>) + Send>;

/// What other threads ask of a driver.
pub enum Command<H: Host> {
    /// Resume a call, retire an endpoint, change the host.
    Do(EngineFn<H>),
    /// A client that did not come through the listener.
    Client(Box<dyn Stream>),
    /// Take no more clients, let calls end, and be over within this time.
    Drain(Duration),
}

impl<H: Host> std::fmt::Debug for Command<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Do(_) => "Do",
            Self::Client(_) => "Client",
            Self::Drain(_) => "Drain",
        })
    }
}

/// Runs an engine until a drain is over; answers how many calls that cut. To be run on a
/// `current_thread` runtime, one per thread.
pub async fn run<H: Transport>(
    listener: Option<TcpListener>,
    engine: Engine<H>,
    commands: mpsc::Receiver<Command<H>>,
) -> usize {
    let mut driver = Driver {
        preface: engine.preface().into(),
        listener,
        accept_at: None,
        engine,
        commands,
        sockets: Sockets::default(),
        ready: Arc::new(ReadyQueue::default()),
        turn: Vec::new(),
        dirty: Vec::new(),
        buffer: vec![0; BUFFER].into_boxed_slice(),
        dials: JoinSet::new(),
        timer: Box::pin(sleep_until((Instant::now() + FAR).into())),
        drain: None,
    };
    // Its own turns are its fairness; tokio's budget would stop a turn in the middle.
    coop::unconstrained(poll_fn(move |cx| driver.turn(cx))).await
}

struct Driver<H: Transport> {
    listener: Option<TcpListener>,
    /// Not before then: there were no more descriptors.
    accept_at: Option<Instant>,
    engine: Engine<H>,
    preface: Arc<[u8]>,
    commands: mpsc::Receiver<Command<H>>,
    sockets: Sockets,
    /// Connections that may be read or written again.
    ready: Arc<ReadyQueue>,
    turn: Vec<u32>,
    dirty: Vec<Id>,
    buffer: Box<[u8]>,
    dials: JoinSet<(Endpoint, io::Result<Dialed>)>,
    timer: Pin<Box<Sleep>>,
    drain: Option<Drain>,
}

#[derive(Clone, Copy, Debug)]
struct Drain {
    /// When clients that did not answer the first word are told the second.
    next: Option<Instant>,
    end: Instant,
}

impl<H: Transport> Driver<H> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        self.ready.begin(cx.waker());
        let now = Instant::now();
        self.engine.tick(now);
        self.apply_commands(cx, now);
        self.accept(cx, now);
        self.ready.take(&mut self.turn);
        for at in 0..self.turn.len() {
            self.serve(self.turn[at]);
        }
        self.sockets.end_lingering(&mut self.engine, now);
        self.flush();
        self.dial(cx);
        let stats = self.stats();
        self.engine.host().report(stats);
        if let Some(cut) = self.drained(now) {
            return Poll::Ready(cut);
        }
        self.sleep(cx);
        Poll::Pending
    }

    fn stats(&self) -> EngineStats {
        let clients = self.sockets.clients();
        EngineStats {
            calls: self.engine.calls(),
            clients,
            instances: self.engine.connections().saturating_sub(clients),
            memory: self.engine.memory(),
        }
    }

    /// Does what other threads ask.
    fn apply_commands(&mut self, cx: &mut Context<'_>, now: Instant) {
        while let Poll::Ready(Some(command)) = self.commands.poll_recv(cx) {
            match command {
                Command::Do(act) => act(&mut self.engine),
                Command::Client(stream) => {
                    let id = self.engine.accept();
                    self.sockets.insert(id, stream, true, &self.ready);
                }
                Command::Drain(within) => {
                    (self.listener, self.accept_at) = (None, None);
                    self.engine.drain();
                    self.drain = Some(Drain {
                        next: Some(now + DRAIN_STEP.min(within / 2)),
                        end: now + within,
                    });
                }
            }
        }
    }

    fn accept(&mut self, cx: &mut Context<'_>, now: Instant) {
        let Some(listener) = &self.listener else {
            return;
        };
        if self.accept_at.is_some_and(|at| at > now) {
            return;
        }
        self.accept_at = None;
        for _ in 0..ACCEPTS {
            match listener.poll_accept(cx) {
                Poll::Ready(Ok((stream, from))) => {
                    // Without it small answers wait for acknowledgements; a socket that is already
                    // broken says so when it is read.
                    drop(stream.set_nodelay(true));
                    let id = self.engine.accept();
                    if let Err(reason) = self.engine.host().accepted(id, from) {
                        self.engine.reject(id, reason);
                    }
                    self.sockets.insert(id, Box::new(stream), true, &self.ready);
                }
                // Nothing will say that there are descriptors again.
                Poll::Ready(Err(_)) => {
                    self.accept_at = Some(now + ACCEPT_PAUSE);
                    return;
                }
                Poll::Pending => return,
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Writes and reads a connection that may be ready.
    fn serve(&mut self, slot: u32) {
        let Some(id) = self.sockets.begin(slot) else {
            return;
        };
        if self.sockets.is_blocked(id) {
            self.write(id);
        }
        for _ in 0..READS {
            let read = self.sockets.read(id, &mut self.engine, &mut self.buffer);
            match read {
                Read::Waits => return,
                Read::Over => return self.forget(id),
                Read::More | Read::Enough => {}
            }
            while let Some(large) = self.engine.take_large() {
                self.write(large);
            }
            if let Read::Enough = read {
                break;
            }
        }
        self.ready.push(slot);
    }

    fn forget(&mut self, id: Id) {
        self.engine.closed(id);
        if self.sockets.remove(id) == Some(true) {
            self.engine.host().disconnected(id);
        }
    }

    /// Writes to every connection that has output. What that makes room for is written in the same
    /// turn, a few times over.
    fn flush(&mut self) {
        for _ in 0..4 {
            let mut dirty = std::mem::take(&mut self.dirty);
            self.engine.take_dirty(&mut dirty);
            let done = dirty.is_empty();
            for id in &dirty {
                self.write(*id);
            }
            self.dirty = dirty;
            if done {
                return;
            }
        }
        self.ready.wake();
    }

    fn write(&mut self, id: Id) {
        if self.sockets.write(id, &mut self.engine).is_err() {
            self.drain_reads(id);
            self.forget(id);
        }
    }

    /// An instance that takes no more may have answered before it left: that is still to be read.
    fn drain_reads(&mut self, id: Id) {
        if self.sockets.is_client(id) {
            return;
        }
        for _ in 0..LAST_READS {
            let read = self.sockets.read(id, &mut self.engine, &mut self.buffer);
            if let Read::Waits | Read::Over = read {
                return;
            }
        }
    }

    /// Opens the connections that are wanted, and takes those that are open.
    fn dial(&mut self, cx: &mut Context<'_>) {
        for to in self.engine.take_wanted() {
            let dialing = self.engine.host().dial(to, &self.preface);
            self.dials.spawn(async move { (to, dialing.await) });
        }
        while let Poll::Ready(Some(dialed)) = self.dials.poll_join_next(cx) {
            match dialed {
                Ok((to, Ok(Dialed { stream, received }))) => {
                    let id = match received {
                        Some(received) => self.engine.connected_after_handshake(to, &received),
                        None => self.engine.connected(to),
                    };
                    self.sockets.insert(id, stream, false, &self.ready);
                }
                Ok((to, Err(_))) => self.engine.unreachable(to),
                // A dial that panicked names nobody: its calls end with their deadlines.
                Err(_) => {}
            }
            self.flush();
            self.ready.wake();
        }
    }

    /// How many calls a drain cut, once it is over.
    fn drained(&mut self, now: Instant) -> Option<usize> {
        let drain = self.drain.as_mut()?;
        if drain.next.is_some_and(|at| at <= now) {
            drain.next = None;
            self.engine.drain();
            self.ready.wake();
        }
        let over = self.sockets.clients() == 0 || drain.end <= now;
        over.then(|| self.engine.cut())
    }

    fn sleep(&mut self, cx: &mut Context<'_>) {
        let drain = self.drain.map(|drain| drain.next.unwrap_or(drain.end));
        let sockets = self.sockets.next_timer();
        let until = [self.engine.next_timer(), sockets, drain, self.accept_at];
        let until = until.into_iter().flatten().min();
        let until = until.unwrap_or_else(|| Instant::now() + FAR).into();
        let earlier = until < self.timer.deadline();
        if earlier || self.timer.is_elapsed() {
            self.timer.as_mut().reset(until);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}
