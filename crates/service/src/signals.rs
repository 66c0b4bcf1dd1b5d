//! What a program does about signals. None of them ends it without its drain, except those that
//! nobody can catch, and a second request to leave.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

/// Hears them from its construction on, so that none gets lost.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    /// Heard and left alone: their default action would end the process.
    ignored: [Signal; 4],
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
            ignored: [
                signal(SignalKind::user_defined1())?,
                signal(SignalKind::user_defined2())?,
                signal(SignalKind::alarm())?,
                signal(SignalKind::io())?,
            ],
        })
    }

    /// Waits until the program is asked to leave. SIGHUP asks for its files in the meantime.
    pub(crate) async fn shutdown_requested(&mut self, reload: &Reload) -> &'static str {
        loop {
            let [usr1, usr2, alarm, io] = &mut self.ignored;
            tokio::select! {
                _ = self.term.recv() => return "SIGTERM",
                _ = self.int.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.hup.recv() => reload.trigger(),
                _ = usr1.recv() => ignored("SIGUSR1"),
                _ = usr2.recv() => ignored("SIGUSR2"),
                _ = alarm.recv() => ignored("SIGALRM"),
                _ = io.recv() => ignored("SIGIO"),
            }
        }
    }
}

fn ignored(signal: &'static str) {
    tracing::info!(
        signal,
        "ignored; SIGHUP reads files again, SIGTERM asks to leave"
    );
}

/// Asks whoever has read a file to read it again, as SIGHUP does. Clones ask the same readers.
#[derive(Clone, Debug)]
pub struct Reload(Arc<watch::Sender<u64>>);

impl Default for Reload {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }
}

impl Reload {
    /// Asks for it.
    pub fn trigger(&self) {
        tracing::info!("reading files again");
        self.0.send_modify(|version| *version += 1);
    }

    /// Changes whenever it is asked for from now on.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}
