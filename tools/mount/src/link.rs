//! A live connection to the server, of whichever era and transport.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    asks::Capabilities,
    message::{Fields, Notification, Outcome, Raw},
};

/// The revision without handshake and sessions.
pub(crate) const MODERN: &str = "2026-07-28";
/// The revisions with them, the latest first.
pub(crate) const LEGACY: [&str; 4] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// How a peer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Era {
    /// It begins with `initialize`, and asks by requests of its own.
    Legacy,
    /// Each request stands for itself; who needs input says so in its result.
    Modern,
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) era: Era,
    /// The revision that is spoken with it.
    pub(crate) version: String,
    /// Its name and version, as it gives them.
    pub(crate) server: Value,
    pub(crate) capabilities: Map<String, Value>,
    pub(crate) instructions: Option<String>,
    /// Whether it knows earlier revisions beside the one that is spoken.
    pub(crate) knows_both: bool,
    /// Whether only this process can ask it: then its tasks are marked with this instance.
    pub(crate) is_own: bool,
}

impl Facts {
    /// Whether the server has a capability, such as `resources` or `resources.subscribe`.
    pub(crate) fn can(&self, path: &str) -> bool {
        let (first, second) = path.split_once('.').unwrap_or((path, ""));
        let Some(found) = self.capabilities.get(first) else {
            return false;
        };
        second.is_empty()
            || found
                .get(second)
                .is_some_and(|it| *it != Value::Bool(false))
    }
}

/// A request to the server.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) method: String,
    pub(crate) params: Fields,
    /// Whether progress is asked for: the link chooses the token.
    pub(crate) progress: bool,
    /// What its client can be asked for.
    pub(crate) capabilities: Capabilities,
    /// Whose it is; 0 for the mount itself, whom nothing is asked.
    pub(crate) client: u64,
    /// Values of arguments that HTTP carries as headers too, by the header's name.
    pub(crate) headers: Vec<(String, String)>,
}

impl Outgoing {
    /// A request of the mount itself.
    pub(crate) fn own(method: &str, params: Fields) -> Self {
        Self {
            method: method.to_owned(),
            params,
            progress: false,
            capabilities: Capabilities::default(),
            client: 0,
            headers: Vec::new(),
        }
    }
}

/// A question of the server to a client.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    pub(crate) params: Option<Raw>,
    /// Where the answer goes; dropping it answers with an error.
    pub(crate) answer: oneshot::Sender<Outcome>,
}

/// What a request in flight brings.
#[derive(Debug)]
pub(crate) enum Event {
    /// Progress, or a line of the log.
    Notification(Notification),
    /// A question to its client.
    Ask(Ask),
}

/// What comes next of a request in flight.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    /// Its response.
    Done(Outcome),
    /// The server is gone, and the response will not come.
    Gone,
}

/// The events of a request in flight. What they take together is counted while they wait.
#[derive(Debug)]
pub(crate) struct Events {
    received: mpsc::Receiver<(Event, usize)>,
    waiting: Arc<AtomicUsize>,
}

impl Events {
    pub(crate) const fn new(
        received: mpsc::Receiver<(Event, usize)>,
        waiting: Arc<AtomicUsize>,
    ) -> Self {
        Self { received, waiting }
    }

    /// The next one; `None` when the request has ended. Cancel-safe.
    async fn next(&mut self) -> Option<Event> {
        let (event, size) = self.received.recv().await?;
        self.waiting.fetch_sub(size, Ordering::Relaxed);
        Some(event)
    }

    /// One that waits already.
    pub(crate) fn take(&mut self) -> Option<Event> {
        let (event, size) = self.received.try_recv().ok()?;
        self.waiting.fetch_sub(size, Ordering::Relaxed);
        Some(event)
    }
}

/// A request in flight. Dropping it cancels it.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) events: Events,
    pub(crate) done: oneshot::Receiver<Outcome>,
    pub(crate) ended: bool,
    /// Runs when the exchange is dropped.
    pub(crate) cancel: CancellationToken,
}

impl Exchange {
    /// What comes next. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Next {
        if self.ended {
            return Next::Gone;
        }
        tokio::select! {
            biased;
            Some(event) = self.events.next() => Next::Event(event),
            done = &mut self.done => {
                self.ended = true;
                done.map_or(Next::Gone, Next::Done)
            }
        }
    }

    /// Its outcome, whatever comes before: nobody is there to hear or answer it. Cancel-safe.
    pub(crate) async fn outcome(&mut self) -> Result<Outcome, Gone> {
        loop {
            match self.next().await {
                Next::Event(_) => {}
                Next::Done(outcome) => return Ok(outcome),
                Next::Gone => return Err(Gone::Lost),
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Why the server did not take or answer a request.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Gone {
    /// It is not there: certainly it did not get the request.
    #[error("the server is not running: {0}")]
    Away(String),
    /// Its connection ended: it may have got the request.
    #[error("the server ended, or its connection did, before it answered")]
    Lost,
    /// It has as many requests as it may have.
    #[error("the server has {0} requests already")]
    Busy(usize),
    /// It took too long.
    #[error("the server did not answer within {0:?}")]
    Late(std::time::Duration),
}

/// A connection.
#[async_trait::async_trait]
pub(crate) trait Link: std::fmt::Debug + Send + Sync {
    /// What the server says of itself.
    fn facts(&self) -> &Arc<Facts>;

    /// Sends a request.
    async fn request(&self, request: Outgoing) -> Result<Exchange, Gone>;

    /// Sends a notification.
    async fn notify(&self, notification: Notification) -> Result<(), Gone>;

    /// The notifications that belong to no request.
    fn unsolicited(&self) -> broadcast::Receiver<Arc<Notification>>;

    /// Whether requests carry headers, as over HTTP.
    fn has_headers(&self) -> bool {
        false
    }

    /// Cancelled when the connection has ended.
    fn closed(&self) -> &CancellationToken;
}
