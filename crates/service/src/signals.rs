//! What a program does about signals. None of them ends it without its drain, except those that
//! nobody can catch.

use std::{future::poll_fn, io, sync::Arc, task::Poll};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// The signals of a process, caught from its construction on, so that none gets lost.
///
/// SIGTERM, SIGINT and SIGQUIT ask for shutdown. SIGUSR1, SIGUSR2, SIGALRM and SIGIO are logged
/// and ignored, since their default action would end the process.
#[derive(Debug)]
pub struct Signals {
    shutdown: [(&'static str, Signal); 3],
    hangup: Signal,
    ignored: [(&'static str, Signal); 4],
}

/// What SIGHUP means to a program.
#[derive(Clone, Copy, Debug)]
pub enum Hangup<'a> {
    /// It reads its files again, as services do.
    Reload(&'a Reload),
    /// It shuts down, as a program of a terminal does that is closed.
    Shutdown,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When the system refuses to.
    pub fn new() -> io::Result<Self> {
        let catch = |name, kind| Ok::<_, io::Error>((name, signal(kind)?));
        Ok(Self {
            shutdown: [
                catch("SIGTERM", SignalKind::terminate())?,
                catch("SIGINT", SignalKind::interrupt())?,
                catch("SIGQUIT", SignalKind::quit())?,
            ],
            hangup: signal(SignalKind::hangup())?,
            ignored: [
                catch("SIGUSR1", SignalKind::user_defined1())?,
                catch("SIGUSR2", SignalKind::user_defined2())?,
                catch("SIGALRM", SignalKind::alarm())?,
                catch("SIGIO", SignalKind::io())?,
            ],
        })
    }

    /// Waits until the program is asked to shut down, and names the signal.
    pub async fn shutdown_requested(&mut self, hangup: Hangup<'_>) -> &'static str {
        loop {
            tokio::select! {
                name = any(&mut self.shutdown) => return name,
                _ = self.hangup.recv() => match hangup {
                    Hangup::Reload(reload) => reload.trigger(),
                    Hangup::Shutdown => return "SIGHUP",
                },
                signal = any(&mut self.ignored) => tracing::info!(signal, "ignored: SIGTERM shuts down"),
            }
        }
    }
}

/// The name of the next of these signals.
async fn any<const N: usize>(signals: &mut [(&'static str, Signal); N]) -> &'static str {
    poll_fn(|cx| {
        for (name, signal) in signals.iter_mut() {
            if signal.poll_recv(cx).is_ready() {
                return Poll::Ready(*name);
            }
        }
        Poll::Pending
    })
    .await
}

/// Tells whoever has read a file to read it again, as SIGHUP does. Clones tell the same readers.
#[derive(Clone, Debug)]
pub struct Reload(Arc<watch::Sender<u64>>);

impl Default for Reload {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Reload {
    /// Tells all subscribers.
    pub fn trigger(&self) {
        tracing::info!("reading files again");
        self.0.send_modify(|version| *version += 1);
    }

    /// A receiver that changes with each trigger from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
