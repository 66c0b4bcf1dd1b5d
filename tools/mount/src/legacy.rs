//! Clients of revisions before 2026-07-28: each has a session, and is asked by requests of its own.

mod follow;
mod forward;
mod questions;
mod requests;
mod tasks;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use proto::mesh::v1::McpMessage;
use serde_json::Value;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use self::follow::{follow_lists, follow_resources};
use crate::{
    asks::Capabilities,
    listen::Followed,
    message::{Message, Notification, Outcome, Raw, code, error, raw},
    mount::Mount,
    replies::{Out, answer, gone_error},
    side::Side,
    translate,
};

/// The level of log lines of a client that has not said one: `info`.
const DEFAULT_LEVEL: usize = 1;
/// Requests of one session at once.
const MAX_RUNNING: usize = 1000;

/// Largest `initialize`, bytes: what it says of the client is kept as long as the session.
const MAX_INITIALIZE: usize = 64 << 10;

/// One client.
#[derive(Debug)]
struct Session {
    mount: Arc<Mount>,
    /// The way to the server.
    side: Arc<Side>,
    out: Out,
    client: u64,
    info: Value,
    capabilities: Capabilities,
    level: AtomicUsize,
    /// The questions that it has not answered yet, by the text of their ids.
    asks: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    next_ask: AtomicU64,
    /// What cancels each of its requests, by the text of their ids.
    running: Mutex<HashMap<String, CancellationToken>>,
    /// The resources that it follows.
    followed: Mutex<Followed>,
    /// Those that it follows at a server of 2026-07-28.
    listened: watch::Sender<BTreeSet<String>>,
    /// The tasks that it has begun.
    tasks: Mutex<BTreeSet<String>>,
}

/// Serves one client until it leaves.
pub(crate) async fn serve(mount: Arc<Mount>, mut incoming: Streaming<McpMessage>, out: Out) {
    let Some(session) = begin(&mount, &mut incoming, &out).await else {
        return;
    };
    let session = Arc::new(session);
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_lists(Arc::clone(&session)));
    tasks.spawn(follow_resources(Arc::clone(&session)));
    let background = tasks.len();
    let draining = mount.context.draining.clone();
    loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            Some(_) = tasks.join_next() => continue,
            () = draining.cancelled(), if tasks.len() <= background => {
                let text = "the mount is draining: begin the session at another one";
                out.send(Err(Status::unavailable(text))).await.ok();
                return;
            }
            () = out.closed() => return,
        };
        // Whatever ends the stream ends the session, and what runs in it.
        let Ok(Some(message)) = message else { return };
        match Message::read(&message.message) {
            Ok(Message::Request(request)) => {
                let id = request.id.get().to_owned();
                let cancel = match session.begin(&id) {
                    Ok(cancel) => cancel,
                    Err(refused) => {
                        answer(&out, Some(&request.id), &Err(refused)).await;
                        continue;
                    }
                };
                let session = Arc::clone(&session);
                tasks.spawn(async move {
                    let id_of = request.id.clone();
                    let run = Box::pin(session.run(request));
                    let outcome = cancel.run_until_cancelled(run).await;
                    session.running.lock().remove(&id);
                    if let Some(outcome) = outcome {
                        answer(&session.out, Some(&id_of), &outcome).await;
                    }
                });
            }
            Ok(Message::Notification(it)) => session.notified(it).await,
            Ok(Message::Response { id, outcome }) => {
                let id = id.map(|id| id.get().to_owned()).unwrap_or_default();
                if let Some(asked) = session.asks.lock().remove(&id) {
                    asked.send(outcome).ok();
                }
            }
            Err(malformed) => {
                answer(&out, None, &Err(error(malformed.0, malformed.1))).await;
            }
        }
    }
}

/// The handshake. `None` when there is no session.
async fn begin(
    mount: &Arc<Mount>,
    incoming: &mut Streaming<McpMessage>,
    out: &Out,
) -> Option<Session> {
    let first = incoming.message().await.ok()??;
    let request = match Message::read(&first.message) {
        Ok(Message::Request(request)) if request.method == "initialize" => request,
        other => {
            let id = match &other {
                Ok(Message::Request(request)) => Some(&request.id),
                _ => None,
            };
            let text = "a session begins with `initialize`";
            answer(out, id, &Err(error(code::INVALID_REQUEST, text))).await;
            return None;
        }
    };
    if first.message.len() > MAX_INITIALIZE {
        let text = format!("`initialize` has more than {MAX_INITIALIZE} bytes");
        let outcome = Err(error(code::INVALID_REQUEST, text));
        answer(out, Some(&request.id), &outcome).await;
        return None;
    }
    let params: Value = request
        .params
        .as_ref()
        .and_then(|it| serde_json::from_str(it.get()).ok())
        .unwrap_or_default();
    // Which way there is shows once the server is known.
    let known = mount.upstream.link().await;
    let side = mount.legacy_side();
    let link = match known.and(side.upstream.link().await) {
        Ok(link) => link,
        Err(gone) => {
            answer(out, Some(&request.id), &Err(gone_error(&gone))).await;
            return None;
        }
    };
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let begun = translate::begun(link.facts(), asked);
    answer(out, Some(&request.id), &Ok(raw(&begun))).await;
    let followed = Followed {
        side: Arc::clone(&side),
        tracker: mount.context.tracker.clone(),
        uris: BTreeSet::new(),
    };
    Some(Session {
        client: mount.client(),
        mount: Arc::clone(mount),
        side,
        out: out.clone(),
        info: params["clientInfo"].clone(),
        capabilities: Capabilities::read(params.get("capabilities")),
        level: AtomicUsize::new(DEFAULT_LEVEL),
        asks: Mutex::default(),
        next_ask: AtomicU64::new(1),
        running: Mutex::default(),
        followed: Mutex::new(followed),
        listened: watch::channel(BTreeSet::new()).0,
        tasks: Mutex::default(),
    })
}

impl Session {
    /// Takes a request in, and gives what cancels it. Refused: one too many, and one whose id has a request
    /// that is not answered yet.
    fn begin(&self, id: &str) -> Result<CancellationToken, Raw> {
        let mut running = self.running.lock();
        if running.len() >= MAX_RUNNING {
            return Err(error(code::INTERNAL, "the session has too many requests"));
        }
        if running.contains_key(id) {
            let text = "a request of this id is not answered yet: give each its own";
            return Err(error(code::INVALID_REQUEST, text));
        }
        let cancel = CancellationToken::new();
        running.insert(id.to_owned(), cancel.clone());
        Ok(cancel)
    }

    fn level(&self) -> usize {
        self.level.load(Ordering::Relaxed)
    }

    async fn notified(&self, it: Notification) {
        match &*it.method {
            "notifications/cancelled" => {
                let id = it.fields().remove("requestId");
                let id = id.map(|id| id.get().to_owned()).unwrap_or_default();
                if let Some(running) = self.running.lock().get(&id) {
                    running.cancel();
                }
            }
            // The mount has begun its own session with the server, and has its own roots.
            "notifications/initialized" | "notifications/roots/list_changed" => {}
            _ => {
                if let Ok(link) = self.side.upstream.link().await {
                    link.notify(it).await.ok();
                }
            }
        }
    }
}
