//! The thread that sends what waits in the queue.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{
    Destination, Queue, Resource,
    connection::{Connection, Failure},
    dropped::Reason,
    protobuf::PartialSuccess,
    queue::Chunk,
};
use crate::Error;

/// How long something waits for more to be sent with it.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one request may take, as OpenTelemetry has it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The first and the longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// Sends what waits in a queue, until [`Exporter::shutdown`].
#[derive(Debug)]
pub(crate) struct Exporter {
    end: Arc<End>,
    ended: mpsc::Receiver<u64>,
}

/// Tells the thread to send what is left.
#[derive(Debug, Default)]
struct End {
    asked: AtomicBool,
    notify: Notify,
}

struct Task {
    queue: Arc<Queue>,
    resource: Resource,
    to: Destination,
    end: Arc<End>,
    connection: Option<Connection>,
}

impl Exporter {
    /// Starts the thread.
    pub(crate) fn start(
        queue: Arc<Queue>,
        resource: Resource,
        to: Destination,
    ) -> Result<Self, Error> {
        let cannot = |error: io::Error| Error::Flush(format!("no thread to send with: {error}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        let end = Arc::<End>::default();
        let (left, ended) = mpsc::sync_channel(1);
        let mut task = Task {
            queue,
            resource,
            to,
            end: Arc::clone(&end),
            connection: None,
        };
        thread::Builder::new()
            .name("otlp".to_owned())
            .spawn(move || {
                let lost = runtime.block_on(task.run());
                // Nobody may wait for it any more.
                left.send(lost).ok();
            })
            .map_err(cannot)?;
        Ok(Self { end, ended })
    }

    /// Blocks until what is left is sent, or `limit` has passed.
    pub(crate) fn shutdown(self, limit: Duration) -> Result<(), Error> {
        self.end.asked.store(true, Relaxed);
        self.end.notify.notify_one();
        match self.ended.recv_timeout(limit) {
            Ok(0) => Ok(()),
            Ok(lost) => Err(Error::Flush(format!("{lost} are lost"))),
            Err(_) => Err(Error::Flush(format!("not within {limit:?}"))),
        }
    }
}

impl Task {
    /// Runs until the end is asked for; answers how much was lost then.
    async fn run(&mut self) -> u64 {
        loop {
            self.collect().await;
            if self.is_ending() {
                return self.send_rest().await;
            }
            // What is there when a round begins is sent in it; the rest waits for more.
            while let Some(chunk) = self.queue.take() {
                if let Some(chunk) = self.send_until_done(chunk).await {
                    self.queue.done(chunk, Some(Reason::Shutdown));
                }
                if self.is_ending() || !self.queue.has_chunk() {
                    break;
                }
            }
        }
    }

    /// Waits until it is time to send.
    async fn collect(&self) {
        if self.queue.has_chunk() || self.is_ending() {
            return;
        }
        tokio::select! {
            () = self.queue.chunk_ready() => {}
            () = self.end.notify.notified() => {}
            () = sleep(INTERVAL) => {}
        }
    }

    /// Tries until the collector has taken a chunk or refuses it. It is given back when the program ends
    /// before.
    async fn send_until_done(&mut self, chunk: Chunk) -> Option<Chunk> {
        let message: Bytes = self.message(&chunk).into();
        let mut pause = PAUSE.0;
        loop {
            match self.try_send(message.clone()).await {
                Ok(partial) => {
                    if self.queue.set_unreachable(false) {
                        tracing::info!(signal = self.name(), "the collector takes them again");
                    }
                    self.queue.done(chunk, None);
                    self.note_rejected(&partial);
                    return None;
                }
                Err(Failure::Refused(reason)) => {
                    let (signal, lost) = (self.name(), chunk.items);
                    tracing::warn!(signal, lost, reason, "the collector refuses them");
                    self.queue.done(chunk, Some(Reason::Refused));
                    return None;
                }
                Err(Failure::Retry(reason)) => {
                    self.connection = None;
                    if !self.queue.set_unreachable(true) {
                        let (signal, to) = (self.name(), self.to.uri.to_string());
                        tracing::warn!(
                            signal,
                            to,
                            reason,
                            "the collector does not take them: they wait"
                        );
                    }
                }
            }
            if self.is_ending() {
                return Some(chunk);
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = self.end.notify.notified() => return Some(chunk),
            }
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Sends what is left, once; answers how much is lost.
    async fn send_rest(&mut self) -> u64 {
        let mut lost = 0;
        let until = Instant::now() + PATIENCE;
        while let Some(chunk) = self.queue.take() {
            let message = self.message(&chunk).into();
            let sent = match lost == 0 && Instant::now() < until {
                true => self.try_send(message).await.ok(),
                false => None,
            };
            match &sent {
                Some(partial) => self.note_rejected(partial),
                None => lost += chunk.items,
            }
            self.queue
                .done(chunk, sent.is_none().then_some(Reason::Shutdown));
        }
        lost
    }

    /// Counts and tells what the collector did not take of a message.
    fn note_rejected(&self, PartialSuccess { rejected, reason }: &PartialSuccess) {
        if *rejected > 0 {
            self.queue.count_lost(Reason::Refused, *rejected);
            let (signal, lost) = (self.name(), rejected);
            tracing::warn!(signal, lost, reason, "the collector refuses some of them");
        } else if !reason.is_empty() {
            let signal = self.name();
            tracing::warn!(signal, reason, "the collector took them, and warns");
        }
    }

    async fn try_send(&mut self, message: Bytes) -> Result<PartialSuccess, Failure> {
        let Self { connection, to, .. } = self;
        let attempt = async {
            let connection = match connection {
                Some(open) if !open.is_closed() => open,
                connection => connection.insert(Connection::open(to).await?),
            };
            connection.send(to, message).await
        };
        let late = || Failure::Retry(format!("no answer within {PATIENCE:?}"));
        timeout(PATIENCE, attempt)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn message(&self, chunk: &Chunk) -> Vec<u8> {
        let room = Connection::room(self.to.protocol);
        let mut message = self.resource.request(&chunk.bytes, room);
        if room > 0 {
            let length = u32::try_from(message.len() - room).unwrap_or(u32::MAX);
            message[1..room].copy_from_slice(&length.to_be_bytes());
        }
        message
    }

    fn is_ending(&self) -> bool {
        self.end.asked.load(Relaxed)
    }

    fn name(&self) -> &'static str {
        self.queue.signal().name()
    }
}
