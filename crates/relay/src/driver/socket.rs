//! Connections as byte streams.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Stream,
    ready::{ReadyQueue, ReadyWaker},
};
use crate::{Engine, Host, Id};

/// Work for one client in one turn, in the engine's events: about a millisecond. An instance's
/// connection has the calls of all clients, and is read as it comes.
const WORK: usize = 1024;
/// The size of the first reads of a client, bytes. It grows while the bytes are little work.
const SHARE: usize = 16 * 1024;
/// How long a connection that we have ended is still read. Unread bytes would make the kernel reset
/// it, and the peer would lose our last frames.
const LINGER: Duration = Duration::from_secs(1);

/// What reading came to.
pub(super) enum Read {
    /// There is nothing to read now.
    Waits,
    /// There may be more.
    More,
    /// There may be more, but other connections are to be served first.
    Enough,
    /// The connection is gone.
    Over,
}

struct Socket {
    id: Id,
    stream: Box<dyn Stream>,
    ready_waker: Arc<ReadyWaker>,
    waker: Waker,
    client: bool,
    /// Bytes that one read brings at most.
    share: usize,
    /// Its work in this turn, in the engine's events.
    work: usize,
    /// Has output that the stream did not take.
    blocked: bool,
    /// Not read since its output is too large.
    paused: bool,
    /// We have ended our direction.
    shut: bool,
    /// It is in the list of lingering connections.
    lingers: bool,
}

/// The connections, by the place of their ids.
#[derive(Default)]
pub(super) struct Sockets {
    slots: Vec<Option<Socket>>,
    clients: usize,
    lingering: VecDeque<(Instant, Id)>,
}

impl Sockets {
    /// Adds a connection, which is read at once.
    pub(super) fn insert(
        &mut self,
        id: Id,
        stream: Box<dyn Stream>,
        client: bool,
        ready: &Arc<ReadyQueue>,
    ) {
        let slot = id.index as usize;
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        let ready_waker = ReadyWaker::new(id.index, ready);
        let waker = Waker::from(Arc::clone(&ready_waker));
        waker.wake_by_ref();
        self.clients += usize::from(client);
        self.slots[slot] = Some(Socket {
            id,
            stream,
            ready_waker,
            waker,
            client,
            share: if client { SHARE } else { usize::MAX },
            work: 0,
            blocked: false,
            paused: false,
            shut: false,
            lingers: false,
        });
    }

    /// Forgets a connection; whether it was a client's.
    pub(super) fn remove(&mut self, id: Id) -> Option<bool> {
        self.get(id)?;
        let socket = self.slots.get_mut(id.index as usize)?.take()?;
        self.clients -= usize::from(socket.client);
        Some(socket.client)
    }

    pub(super) fn clients(&self) -> usize {
        self.clients
    }

    fn get(&mut self, id: Id) -> Option<&mut Socket> {
        let socket = self.slots.get_mut(id.index as usize)?.as_mut();
        socket.filter(|socket| socket.id == id)
    }

    /// Begins to serve a ready connection, which may become ready again from now on.
    pub(super) fn begin(&mut self, slot: u32) -> Option<Id> {
        let socket = self.slots.get_mut(slot as usize)?.as_mut()?;
        socket.ready_waker.queued.store(false, Ordering::Release);
        socket.work = 0;
        Some(socket.id)
    }

    pub(super) fn is_client(&mut self, id: Id) -> bool {
        self.get(id).is_some_and(|socket| socket.client)
    }

    pub(super) fn is_blocked(&mut self, id: Id) -> bool {
        self.get(id).is_some_and(|socket| socket.blocked)
    }

    /// Reads once. Call it until it says [`Read::Waits`]: the end of a stream is not signalled again.
    pub(super) fn read<H: Host>(
        &mut self,
        id: Id,
        engine: &mut Engine<H>,
        buffer: &mut [u8],
    ) -> Read {
        let Some(socket) = self.get(id) else {
            return Read::Waits;
        };
        let mut cx = Context::from_waker(&socket.waker);
        // What comes after our end is read and dropped.
        socket.paused = !socket.shut && !engine.wants_input(id);
        if socket.paused {
            return Read::Waits;
        }
        let share = socket.share.min(buffer.len());
        let mut into = ReadBuf::new(&mut buffer[..share]);
        match Pin::new(&mut socket.stream).poll_read(&mut cx, &mut into) {
            Poll::Pending => return Read::Waits,
            Poll::Ready(Ok(())) if !into.filled().is_empty() => {}
            Poll::Ready(_) => return Read::Over,
        }
        if socket.shut {
            return Read::More;
        }
        let events = engine.received(id, into.filled());
        if !socket.client {
            return Read::More;
        }
        if events > WORK {
            socket.share = (share * WORK / events).max(1);
        } else if into.filled().len() == share {
            socket.share = 2 * share;
        }
        socket.work += events;
        if socket.work < WORK {
            Read::More
        } else {
            Read::Enough
        }
    }

    /// Writes what the stream takes, and shuts it down once the engine has closed it.
    pub(super) fn write<H: Host>(&mut self, id: Id, engine: &mut Engine<H>) -> io::Result<()> {
        let slot = self.slots.get_mut(id.index as usize);
        let Some(socket) = slot
            .and_then(Option::as_mut)
            .filter(|socket| socket.id == id)
        else {
            return Ok(());
        };
        let mut cx = Context::from_waker(&socket.waker);
        let mut stream = Pin::new(&mut socket.stream);
        socket.blocked = true;
        if !socket.lingers && engine.has_failed(id) {
            socket.lingers = true;
            self.lingering.push_back((Instant::now() + LINGER, id));
        }
        loop {
            let output = engine.output(id);
            if output.is_empty() || socket.shut {
                break;
            }
            match stream.as_mut().poll_write(&mut cx, output)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => engine.wrote(id, n),
                Poll::Pending => return Ok(()),
            }
        }
        if socket.paused {
            socket.waker.wake_by_ref();
        }
        if stream.as_mut().poll_flush(&mut cx)?.is_pending() {
            return Ok(());
        }
        if engine.is_closed(id) {
            if !socket.shut {
                socket.shut = true;
                // What waits to be read is still read.
                socket.waker.wake_by_ref();
                if !std::mem::replace(&mut socket.lingers, true) {
                    self.lingering.push_back((Instant::now() + LINGER, id));
                }
            }
            if stream.poll_shutdown(&mut cx)?.is_pending() {
                return Ok(());
            }
        }
        socket.blocked = false;
        Ok(())
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        self.lingering.front().map(|(at, _)| *at)
    }

    /// Drops lingering connections whose time is over.
    pub(super) fn end_lingering<H: super::Transport>(
        &mut self,
        engine: &mut Engine<H>,
        now: Instant,
    ) {
        while let Some((_, id)) = self.lingering.pop_front_if(|(at, _)| *at <= now) {
            if let Some(client) = self.remove(id) {
                engine.closed(id);
                if client {
                    engine.host().disconnected(id);
                }
            }
        }
    }
}
