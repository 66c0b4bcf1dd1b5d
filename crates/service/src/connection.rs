//! A client's connection on a port that hyper serves: its timeouts, its protection from floods, and
//! how it ends.

mod closing;
mod flood;
mod frames;
mod guarded_stream;
mod monitor;
mod protocol;
pub(crate) mod stalled_streams;

#[cfg(test)]
mod tests;

use std::{future::Future, time::Duration};

use tokio::{
    net::TcpStream,
    time::{Instant, error::Elapsed, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::limits::ConnectionLimits;

pub(crate) use closing::{http1_answer, reject, send_and_close};
pub(crate) use guarded_stream::GuardedStream;
pub(crate) use monitor::{ConnectionMonitor, OpenRequest};
pub(crate) use protocol::{ConnectionService, HttpConnection, Protocols};

/// The poll interval for a call that crossed our GOAWAY.
const IDLE_RECHECK: Duration = Duration::from_secs(1);

impl ConnectionLimits {
    /// Waits for a client's first bytes, for `handshake` at most.
    pub(crate) async fn handshake<T>(
        self,
        first_bytes: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        match self.handshake.is_zero() {
            true => Ok(first_bytes.await),
            false => timeout(self.handshake, first_bytes).await,
        }
    }

    /// A stream that enforces the limits, and the monitor of its timeouts.
    ///
    /// Where `advertised` is given, its SETTINGS announce it as the limit of metadata. hyper would
    /// announce the larger limit up to which it reads.
    pub(crate) fn guard(
        self,
        stream: TcpStream,
        advertised: Option<u32>,
    ) -> (GuardedStream, ConnectionMonitor) {
        guarded_stream::guard(stream, self, advertised)
    }
}

/// When our side ends a connection.
pub(crate) struct Lifetime {
    /// Finish the calls in flight.
    pub(crate) drain: CancellationToken,
    /// Close at once; has its effect after `drain` only.
    pub(crate) abort: CancellationToken,
    /// Finish the calls in flight at this age; zero is never.
    pub(crate) age: Duration,
    /// How long those calls may then take; zero is no limit.
    pub(crate) grace: Duration,
}

/// Why a connection is closing, and until when.
enum Closing {
    No,
    Drain,
    /// It closes then.
    Until(Option<Instant>),
    /// It was idle. It closes then, unless a call crossed our GOAWAY.
    Idle(Option<Instant>),
}

/// Runs a connection to its end. `shut` makes it finish the calls in flight.
pub(crate) async fn drive<C, E>(
    mut connection: C,
    shut: impl Fn(&mut C),
    watch: Option<ConnectionMonitor>,
    lifetime: Lifetime,
) where
    C: Future<Output = Result<(), E>> + Unpin,
    E: std::fmt::Display,
{
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
            // The connection comes first: the monitor judges what it has just read and written.
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                break;
            }
            verdict = verdict => match verdict {
                monitor::Event::GoAway => {
                    shut(&mut connection);
                    if is_open {
                        closing = Closing::Until(None);
                    }
                }
                monitor::Event::Idle(last) => {
                    shut(&mut connection);
                    closing = Closing::Idle(last);
                }
                monitor::Event::Stalled(key) => {
                    tracing::debug!(key, "connection ended");
                    break;
                }
            },
            () = lifetime.drain.cancelled(), if !is_draining => {
                shut(&mut connection);
                closing = Closing::Drain;
            }
            () = lifetime.abort.cancelled(), if is_draining => break,
            () = &mut age, if is_open => {
                shut(&mut connection);
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
    // The stream is returned when the connection is dropped.
    drop(connection);
    if let Some(watch) = watch {
        watch.farewell().await;
    }
}

/// Sleeps; for ever if the time is zero.
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
