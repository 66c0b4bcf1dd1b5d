//! What waits to be sent: encoded items in chunks, at most [`MOST`] bytes of them.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    Signal,
    dropped::{Dropped, Reason},
    write,
};

/// The most that waits, bytes.
const MOST: usize = 4 << 20;
/// What is sent at once, bytes. A collector takes up to 4 MiB.
const CHUNK: usize = 256 << 10;
/// Room in a chunk beyond [`CHUNK`], so that it need not grow.
const SLACK: usize = 4 << 10;

/// Items that are sent at once.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Fields of spans or records.
    pub(crate) bytes: Vec<u8>,
    /// How many.
    pub(crate) items: u64,
}

/// What waits to be sent.
#[derive(Debug)]
pub(crate) struct Queue {
    signal: Signal,
    dropped: Dropped,
    waiting: Mutex<Waiting>,
    /// No more is taken: asked before anything is recorded.
    full: AtomicBool,
    /// The collector does not answer.
    unreachable: AtomicBool,
    /// A chunk is ready.
    ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    last: Chunk,
    ready: VecDeque<Chunk>,
    bytes: usize,
    /// A buffer to use again.
    spare: Vec<u8>,
}

impl Queue {
    pub(crate) fn new(signal: Signal) -> Self {
        Self {
            signal,
            dropped: Dropped::of(signal),
            waiting: Mutex::default(),
            full: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            ready: Notify::new(),
        }
    }

    /// Whether an item would be taken. One that would not is counted as dropped.
    pub(crate) fn has_room(&self) -> bool {
        let full = self.full.load(Relaxed);
        if full {
            self.dropped.count(self.reason(), 1);
        }
        !full
    }

    /// Takes an encoded item.
    pub(crate) fn push(&self, item: &[u8]) {
        let mut waiting = self.waiting.lock();
        if waiting.bytes + item.len() > MOST {
            drop(waiting);
            self.full.store(true, Relaxed);
            return self.dropped.count(self.reason(), 1);
        }
        if waiting.last.bytes.capacity() == 0 {
            waiting.last.bytes = std::mem::take(&mut waiting.spare);
            waiting.last.bytes.reserve(CHUNK + SLACK);
        }
        let before = waiting.last.bytes.len();
        write::bytes(&mut waiting.last.bytes, 2, item);
        waiting.last.items += 1;
        waiting.bytes += waiting.last.bytes.len() - before;
        if waiting.last.bytes.len() >= CHUNK {
            let chunk = std::mem::take(&mut waiting.last);
            waiting.ready.push_back(chunk);
            drop(waiting);
            self.ready.notify_one();
        }
    }

    /// Waits until a whole chunk is there.
    pub(crate) async fn chunk_ready(&self) {
        self.ready.notified().await;
    }

    /// The oldest chunk, even one that is not full.
    pub(crate) fn take(&self) -> Option<Chunk> {
        let mut waiting = self.waiting.lock();
        let chunk = waiting.ready.pop_front();
        chunk.or_else(|| (waiting.last.items > 0).then(|| std::mem::take(&mut waiting.last)))
    }

    /// Whether a whole chunk is there.
    pub(crate) fn has_chunk(&self) -> bool {
        !self.waiting.lock().ready.is_empty()
    }

    /// A chunk is done with: it was sent, or is lost.
    pub(crate) fn done(&self, mut chunk: Chunk, lost: Option<Reason>) {
        if let Some(reason) = lost {
            self.dropped.count(reason, chunk.items);
        }
        let mut waiting = self.waiting.lock();
        waiting.bytes -= chunk.bytes.len();
        if chunk.bytes.capacity() > waiting.spare.capacity() {
            chunk.bytes.clear();
            waiting.spare = chunk.bytes;
        }
        // Another chunk fits, so that it does not stop and go with every item.
        if waiting.bytes + CHUNK <= MOST {
            self.full.store(false, Relaxed);
        }
    }

    /// Items of a chunk that was sent, and that the collector did not take.
    pub(crate) fn count_lost(&self, reason: Reason, items: u64) {
        self.dropped.count(reason, items);
    }

    /// Whether the collector answers, as the last request showed. Returns what was known before.
    pub(crate) fn set_unreachable(&self, unreachable: bool) -> bool {
        self.unreachable.swap(unreachable, Relaxed)
    }

    fn reason(&self) -> Reason {
        if self.unreachable.load(Relaxed) {
            Reason::Unreachable
        } else {
            Reason::QueueFull
        }
    }

    pub(crate) fn signal(&self) -> Signal {
        self.signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_has_room_again_later() {
        let queue = Queue::new(Signal::Spans);
        let item = [7; 1000];
        for _ in 0..10_000 {
            if queue.has_room() {
                queue.push(&item);
            }
        }
        let dropped = |reason| queue.dropped.get(reason);
        assert!(dropped(Reason::QueueFull) > 5_000 && dropped(Reason::Unreachable) == 0);
        assert!(queue.waiting.lock().bytes <= MOST);
        queue.set_unreachable(true);
        assert!(!queue.has_room());
        assert_eq!(dropped(Reason::Unreachable), 1);
        let chunk = queue.take().unwrap();
        assert!(chunk.bytes.len() >= CHUNK && chunk.items == chunk.bytes.len() as u64 / 1003);
        queue.done(chunk, None);
        let chunk = queue.take().unwrap();
        queue.done(chunk, Some(Reason::Refused));
        assert!(queue.has_room(), "two chunks have left");
        assert!(dropped(Reason::Refused) > 0);
    }
}
