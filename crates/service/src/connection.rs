//! A client's connection on any port that hyper carries: which of its silences are too long, what
//! it may cost without use, and how it ends.

mod closing;
mod flood;
mod frames;
mod guarded_stream;
pub(crate) mod stalled_streams;
mod monitor;

#[cfg(test)]
mod tests;

use std::{future::Future, pin::Pin, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, error::Elapsed, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::keys::ChassisKeys;

pub(crate) use closing::reject;
pub(crate) use guarded_stream::GuardedStream;
pub(crate) use monitor::{OpenRequest, ConnectionMonitor};

/// How often it is looked whether a call that crossed our word is over.
const IDLE_RECHECK: Duration = Duration::from_secs(1);

/// The limits of one connection, from the configuration. A time of zero is for ever.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    /// How long a head may take to come, and a client to speak at all.
    pub(crate) handshake: Duration,
    /// How long a peer may be silent in the middle of a body or of a frame, or leave what we write
    /// unread.
    pub(crate) body: Duration,
    /// How long a connection may have nothing to do.
    pub(crate) keep_alive: Duration,
    /// Calls that may be given up in ten seconds, unanswered.
    wasted_calls: u32,
    /// Calls at once on an HTTP/2 connection.
    pub(crate) streams: u32,
    /// Bytes of one head.
    pub(crate) header_bytes: u32,
}

impl ConnectionLimits {
    pub(crate) fn new(keys: &ChassisKeys) -> Self {
        let header_bytes = keys.metadata.max_header_bytes;
        let keys = &keys.connections;
        Self {
            handshake: keys.handshake_timeout,
            body: keys.body_timeout,
            keep_alive: keys.keep_alive,
            wasted_calls: keys.wasted_calls,
            streams: keys.max_concurrent_streams,
            header_bytes: u32::try_from(header_bytes).unwrap_or(u32::MAX),
        }
    }

    /// Waits for a client's first words, for as long as a head may take.
    pub(crate) async fn handshake<T>(self, first_bytes: impl Future<Output = T>) -> Result<T, Elapsed> {
        match self.handshake.is_zero() {
            true => Ok(first_bytes.await),
            false => timeout(self.handshake, first_bytes).await,
        }
    }

    /// A stream that keeps them, and what tells when it does not.
    pub(crate) fn guard(self, stream: TcpStream) -> (GuardedStream, ConnectionMonitor) {
        guarded_stream::guard(stream, self)
    }
}

/// What ends a connection from our side.
pub(crate) struct Lifetime {
    /// Finish what is under way.
    pub(crate) drain: CancellationToken,
    /// End at once; heard after `leave`.
    pub(crate) abort: CancellationToken,
    /// Finish what is under way after so long; zero is never.
    pub(crate) age: Duration,
    /// What may then go on for so long; zero is for ever.
    pub(crate) grace: Duration,
}

/// Why a connection finishes what is under way, and how long it may take for that.
enum Closing {
    No,
    Drain,
    /// Until then.
    Until(Option<Instant>),
    /// It was idle: until then, should no call have crossed our word.
    Idle(Option<Instant>),
}

/// Runs a connection to its end. `shut` makes it finish what is under way.
pub(crate) async fn drive<C, E>(
    connection: C,
    shut: impl Fn(Pin<&mut C>),
    watch: Option<ConnectionMonitor>,
    lifetime: Lifetime,
) where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut connection = Box::pin(connection);
    let mut watch = watch;
    let mut closing = Closing::No;
    let age = after(lifetime.age, rand::random_range(0.9..=1.1));
    tokio::pin!(age);
    loop {
        let last = match closing {
            Closing::Until(last) | Closing::Idle(last) => last,
            Closing::No | Closing::Drain => None,
        };
        let is_draining = matches!(closing, Closing::Drain);
        let is_open = matches!(closing, Closing::No);
        let verdict = async {
            match &mut watch {
                Some(watch) => watch.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The connection first: what is watched is what it has just read and written.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                break;
            }
            verdict = verdict => match verdict {
                monitor::Event::GoAway => {
                    shut(connection.as_mut());
                    if is_open {
                        closing = Closing::Until(None);
                    }
                }
                monitor::Event::Idle(last) => {
                    shut(connection.as_mut());
                    closing = Closing::Idle(last);
                }
                monitor::Event::Stalled(key) => {
                    tracing::debug!(key, "connection ended");
                    break;
                }
            },
            () = lifetime.drain.cancelled(), if !is_draining => {
                shut(connection.as_mut());
                closing = Closing::Drain;
            }
            () = lifetime.abort.cancelled(), if is_draining => break,
            () = &mut age, if is_open => {
                shut(connection.as_mut());
                let last = (!lifetime.grace.is_zero()).then(|| Instant::now() + lifetime.grace);
                closing = Closing::Until(last);
            }
            () = until(last), if last.is_some() => {
                let busy = watch.as_ref().is_some_and(ConnectionMonitor::is_busy);
                if !(busy && matches!(closing, Closing::Idle(_))) {
                    break;
                }
                closing = Closing::Idle(last.map(|_| Instant::now() + IDLE_RECHECK));
            }
        }
    }
    // The stream is given back when the connection is gone.
    drop(connection);
    if let Some(watch) = watch {
        watch.farewell().await;
    }
}

/// Waits for a time that is not zero.
async fn after(time: Duration, jitter: f64) {
    if time.is_zero() {
        std::future::pending::<()>().await;
    }
    sleep(time.mul_f64(jitter)).await;
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
