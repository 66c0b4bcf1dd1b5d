//! The server behind the mount, kept running: connected, and connected again when it ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use backoff::{Backoff, Pauses};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    calls::Setting,
    http_link::{self, HttpServer},
    keys::MountKeys,
    link::{Exchange, Gone, Link, Outgoing},
    message::cut,
    process::ServerCommand,
    stdio,
    tools::Tools,
};

/// After how long a connection counts as good: the next pause is the first again.
const GOOD: Duration = Duration::from_secs(5);

/// How the server is reached.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    /// By starting it.
    Command(ServerCommand),
    /// It is not said where it is.
    Nowhere,
    /// By HTTP.
    Http(Box<HttpServer>),
}

/// The server, connected or about to be.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: Address,
    setting: Setting,
    link: watch::Sender<Option<Arc<dyn Link>>>,
    /// Why it is not connected, and since when.
    away: Mutex<(String, Option<Instant>)>,
    /// Whether it ended when it was asked what it is.
    fears_questions: AtomicBool,
    restart: Backoff,
    wait: Duration,
    legacy: bool,
    /// Tools that each connection has to tell anew before any is used.
    forgotten: Option<Arc<Tools>>,
}

impl Upstream {
    /// Connects to the server until the end of the setting.
    ///
    /// With `legacy` it speaks an earlier revision, whatever else the server knows. The `forgotten` tools are
    /// unknown with each new connection.
    pub(crate) fn start(
        address: Address,
        setting: Setting,
        keys: &MountKeys,
        legacy: bool,
        forgotten: Option<Arc<Tools>>,
    ) -> Arc<Self> {
        let upstream = Arc::new(Self {
            address,
            link: watch::channel(None).0,
            away: Mutex::new(("it has not started yet".to_owned(), None)),
            fears_questions: AtomicBool::new(false),
            restart: Backoff::new(keys.mount_restart_min, keys.mount_restart_max, 0.2),
            wait: keys.mount_wait,
            setting,
            legacy,
            forgotten,
        });
        let (kept, shutdown) = (Arc::clone(&upstream), upstream.setting.shutdown.clone());
        let supervise = Box::pin(async move { kept.supervise().await });
        let supervise = async move { shutdown.run_until_cancelled(supervise).await };
        upstream.setting.tracker.spawn(supervise);
        upstream
    }

    /// The same server over connections of its own, which speak an earlier revision.
    pub(crate) fn start_legacy(&self, keys: &MountKeys) -> Arc<Self> {
        Self::start(self.address.clone(), self.setting.clone(), keys, true, None)
    }

    async fn supervise(&self) {
        let mut pauses = Pauses::new(self.restart);
        loop {
            match self.connect().await {
                Ok(link) => {
                    let facts = Arc::clone(link.facts());
                    let said = |name: &str| facts.server[name].as_str().unwrap_or_default();
                    info!(
                        server = cut(said("name")),
                        version = cut(said("version")),
                        revision = facts.version,
                        "connected"
                    );
                    let (begun, closed) = (Instant::now(), link.closed().clone());
                    if !self.legacy {
                        self.setting.metrics.up(true);
                    }
                    // Before anybody can call one.
                    self.forgotten.iter().for_each(|tools| tools.forget());
                    self.link.send_replace(Some(link));
                    closed.cancelled().await;
                    self.link.send_replace(None);
                    if !self.legacy {
                        self.setting.metrics.up(false);
                    }
                    *self.away.lock() = ("it ended".to_owned(), Some(Instant::now()));
                    if begun.elapsed() >= GOOD {
                        pauses.reset();
                    }
                }
                Err(error) => {
                    let text = format!("{error:#}");
                    warn!(error = text, "the server cannot be used");
                    let mut away = self.away.lock();
                    *away = (text, away.1);
                }
            }
            // In its own statement: the generator must not live across the wait.
            let pause = pauses.after_failure(&mut rand::rng());
            sleep(pause).await;
        }
    }

    async fn connect(&self) -> anyhow::Result<Arc<dyn Link>> {
        let probe = !self.legacy && !self.fears_questions.load(Ordering::Relaxed);
        match &self.address {
            Address::Command(command) => {
                let connected = stdio::connect(command, &self.setting, probe).await;
                // Next time the same way if this one did, else the other one: servers that end at the
                // question are of earlier revisions.
                self.fears_questions
                    .store(connected.is_ok() != probe, Ordering::Relaxed);
                connected
            }
            Address::Nowhere => anyhow::bail!(crate::NO_SERVER),
            Address::Http(server) => http_link::connect(server, &self.setting, self.legacy).await,
        }
    }

    /// The connections, one after the other; `None` while there is none.
    pub(crate) fn links(&self) -> watch::Receiver<Option<Arc<dyn Link>>> {
        self.link.subscribe()
    }

    /// The connection, if there is one at this moment.
    pub(crate) fn present(&self) -> Option<Arc<dyn Link>> {
        self.link.borrow().clone()
    }

    /// The connection; one that is about to be is waited for.
    pub(crate) async fn link(&self) -> Result<Arc<dyn Link>, Gone> {
        if let Some(link) = self.present() {
            return Ok(link);
        }
        let mut links = self.link.subscribe();
        let connected = timeout(self.wait, links.wait_for(Option::is_some)).await;
        match connected {
            Ok(Ok(link)) => link.clone(),
            _ => None,
        }
        .ok_or_else(|| Gone::Away(self.away.lock().0.clone()))
    }

    /// Sends a request over the present connection.
    pub(crate) async fn request(&self, request: Outgoing) -> Result<Exchange, Gone> {
        self.link().await?.request(request).await
    }

    /// Why the server cannot be used; `None` while it can, or is expected back at any moment.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.link.borrow().is_some() {
            return None;
        }
        let away = self.away.lock();
        let expected = away.1.is_some_and(|since| since.elapsed() < self.wait);
        (!expected).then(|| away.0.clone())
    }
}
