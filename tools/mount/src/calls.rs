//! The requests in flight on one connection, and where each message of the server belongs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json, value::RawValue};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::{
    asks::{self, Capabilities},
    link::{Ask, Event, Events, Exchange, Gone, Outgoing},
    message::{self, Fields, Message, Notification, Outcome, Raw, Request, code, cut, error, raw},
    metrics::MountMetrics,
    translate::SUBSCRIPTION,
};

/// Unsolicited notifications that a slow session may lag behind before it misses some.
const UNSOLICITED: usize = 256;
/// The largest notification that belongs to no request: all that wait are kept for the slowest reader.
const MAX_UNSOLICITED: usize = 64 << 10;
/// Questions of one request that may be open at once.
const MAX_ASKS: usize = 32;

/// What a connection obeys, and who owns its tasks.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// Largest message of the server, bytes.
    pub(crate) message: usize,
    /// Requests in flight.
    pub(crate) calls: usize,
    /// Messages that wait for one client.
    pub(crate) queue: usize,
    /// How long the handshake may take.
    pub(crate) patience: Duration,
    /// What the server is told of roots outside a call.
    pub(crate) roots: Value,
    pub(crate) tracker: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: MountMetrics,
}

/// The requests in flight.
#[derive(Debug)]
pub(crate) struct Calls {
    pending: Mutex<BTreeMap<u64, Pending>>,
    next: AtomicU64,
    setting: Setting,
    unsolicited: broadcast::Sender<Arc<Notification>>,
    /// Responses to what the server asked.
    replies: mpsc::Sender<Vec<u8>>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Pending {
    events: EventSender,
    done: oneshot::Sender<Outcome>,
    capabilities: Capabilities,
    client: u64,
    progress: bool,
    /// A stream of changes, which has no end that is waited for.
    listens: bool,
    asks: Arc<AtomicUsize>,
}

/// Where the events of one request go: so many, and so many bytes of them.
#[derive(Clone, Debug)]
struct EventSender {
    events: mpsc::Sender<(Event, usize)>,
    waiting: Arc<AtomicUsize>,
    most: usize,
}

impl EventSender {
    /// Sends an event of this size. Whether there was room.
    fn send(&self, event: Event, size: usize) -> bool {
        if self.waiting.fetch_add(size, Ordering::Relaxed) + size > self.most
            || self.events.try_send((event, size)).is_err()
        {
            self.waiting.fetch_sub(size, Ordering::Relaxed);
            return false;
        }
        true
    }
}

impl Calls {
    pub(crate) fn new(setting: &Setting, replies: mpsc::Sender<Vec<u8>>) -> Self {
        Self {
            pending: Mutex::default(),
            next: AtomicU64::new(1),
            setting: setting.clone(),
            unsolicited: broadcast::channel(UNSOLICITED).0,
            replies,
            closed: CancellationToken::new(),
        }
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    pub(crate) fn unsolicited(&self) -> broadcast::Receiver<Arc<Notification>> {
        self.unsolicited.subscribe()
    }

    pub(crate) fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Ends every request: their responses will not come.
    pub(crate) fn close(&self) {
        self.closed.cancel();
        self.pending.lock().clear();
    }

    /// A new request in flight, and its id.
    pub(crate) fn open(&self, request: &Outgoing) -> Result<(u64, Exchange), Gone> {
        let (events, received) = mpsc::channel(self.setting.queue);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (done, outcome) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut pending = self.pending.lock();
        if self.closed.is_cancelled() {
            return Err(Gone::Away("its connection has just ended".to_owned()));
        }
        if pending.len() >= self.setting.calls {
            return Err(Gone::Busy(self.setting.calls));
        }
        pending.insert(
            id,
            Pending {
                events: EventSender {
                    events,
                    waiting: Arc::clone(&waiting),
                    // One message of the largest size, and room for as much of small ones.
                    most: self.setting.message.saturating_mul(2),
                },
                done,
                capabilities: request.capabilities.clone(),
                client: request.client,
                progress: request.progress,
                listens: request.method == "subscriptions/listen",
                asks: Arc::default(),
            },
        );
        let exchange = Exchange {
            events: Events::new(received, waiting),
            done: outcome,
            ended: false,
            cancel: CancellationToken::new(),
        };
        Ok((id, exchange))
    }

    /// Whether a request is in flight.
    pub(crate) fn has(&self, id: u64) -> bool {
        self.pending.lock().contains_key(&id)
    }

    /// Whether the server has requests of clients to work on.
    pub(crate) fn is_working(&self) -> bool {
        let pending = self.pending.lock();
        pending.values().any(|it| it.client != 0 && !it.listens)
    }

    /// Forgets a request. Whether it was still in flight.
    pub(crate) fn forget(&self, id: u64) -> bool {
        self.pending.lock().remove(&id).is_some()
    }

    /// The response to a request that comes from the transport and not from the server.
    pub(crate) fn finish(&self, id: u64, outcome: Outcome) {
        if let Some(pending) = self.pending.lock().remove(&id) {
            // Its client may be gone: then nobody waits for it.
            pending.done.send(outcome).ok();
        }
    }

    /// Takes a message of the server. `of` is the request on whose stream it came.
    pub(crate) fn receive(&self, message: Message, of: Option<u64>) {
        match message {
            Message::Response { id, outcome } => self.response(id.as_deref(), of, outcome),
            Message::Notification(it) => self.notification(it, of),
            Message::Request(it) => self.request(it, of),
        }
    }

    fn response(&self, id: Option<&RawValue>, of: Option<u64>, outcome: Outcome) {
        let number = id.and_then(|id| id.get().parse::<u64>().ok());
        // Some servers answer what they could not read with `null`: on a stream it is known whose it is.
        let number = match (number, of, &outcome) {
            (Some(number), Some(of), _) if number != of => None,
            (None, Some(of), Err(_)) if id.is_none() => Some(of),
            (number, ..) => number,
        };
        let known = number.and_then(|id| self.pending.lock().remove(&id));
        match known {
            Some(pending) => drop(pending.done.send(outcome)),
            None => {
                self.setting.metrics.dropped("unknown_id");
                debug!(
                    id = cut(id.map_or("none", RawValue::get)),
                    "the server answers what was not asked"
                );
            }
        }
    }

    fn notification(&self, it: Notification, of: Option<u64>) {
        let owner = match (&*it.method, of) {
            ("notifications/progress", of) => {
                let token = it.fields().remove("progressToken");
                let token = token.and_then(|it| it.get().parse::<u64>().ok());
                let pending = self.pending.lock();
                let asked = |id: &u64| pending.get(id).is_some_and(|it| it.progress);
                match token
                    .filter(asked)
                    .filter(|id| of.is_none_or(|of| of == *id))
                {
                    Some(id) => Some(id),
                    None => {
                        self.setting.metrics.dropped("unknown_token");
                        return;
                    }
                }
            }
            (_, Some(of)) => Some(of),
            // On one channel nothing says whose it is, unless there is only one.
            ("notifications/message", None) => {
                let owner = self.sole(|it| it.client != 0);
                if owner.is_none() && self.pending.lock().values().any(|it| it.client != 0) {
                    self.setting.metrics.dropped("ambiguous_log");
                    return;
                }
                owner
            }
            ("notifications/cancelled", None) => return,
            (_, None) => subscription(&it),
        };
        let size = it.size();
        let Some(owner) = owner else {
            if size > MAX_UNSOLICITED {
                self.setting.metrics.dropped("too_large");
                return;
            }
            // Nobody listens: that is no error.
            self.unsolicited.send(Arc::new(it)).ok();
            return;
        };
        let events = self.pending.lock().get(&owner).map(|it| it.events.clone());
        if let Some(events) = events
            && !events.send(Event::Notification(it), size)
        {
            self.setting.metrics.dropped("slow_client");
        }
    }

    /// The latest request in flight that a condition holds for; `None` if they are of several clients.
    fn sole(&self, holds: impl Fn(&Pending) -> bool) -> Option<u64> {
        let pending = self.pending.lock();
        let mut found = pending.iter().rev().filter(|(_, it)| holds(it));
        let (id, first) = found.next()?;
        found
            .all(|(_, it)| it.client == first.client)
            .then_some(*id)
    }

    fn request(&self, request: Request, of: Option<u64>) {
        let Request { id, method, params } = request;
        if method == "ping" {
            return self.reply(&id, &Ok(raw(&json!({}))));
        }
        if asks::capability(&method).is_none() {
            let text = format!("a client has no method {:?}", cut(&method));
            return self.reply(&id, &Err(error(code::UNKNOWN_METHOD, text)));
        }
        let can =
            |it: &Pending| it.client != 0 && it.capabilities.answer(&method, params.as_deref());
        let owner = match of {
            Some(of) => Some(of).filter(|of| self.pending.lock().get(of).is_some_and(can)),
            // Who has been asked already is waited for, and is hardly asked again.
            None => self
                .sole(|it| can(it) && it.asks.load(Ordering::Relaxed) == 0)
                .or_else(|| self.sole(can)),
        };
        let Some(owner) = owner else {
            if method == "roots/list" {
                return self.reply(&id, &Ok(raw(&json!({"roots": self.setting.roots}))));
            }
            let text =
                format!("no client can answer {method}, or it is not known which one is asked");
            return self.reply(&id, &Err(error(code::UNKNOWN_METHOD, text)));
        };
        let found = self
            .pending
            .lock()
            .get(&owner)
            .map(|it| (it.events.clone(), Arc::clone(&it.asks)));
        let Some((events, open)) = found else {
            return self.reply(&id, &Err(error(code::INTERNAL, "its request has ended")));
        };
        if open.fetch_add(1, Ordering::Relaxed) >= MAX_ASKS {
            open.fetch_sub(1, Ordering::Relaxed);
            return self.reply(
                &id,
                &Err(error(code::INTERNAL, "too many questions are open")),
            );
        }
        let (answer, answered) = oneshot::channel();
        let size = method.len() + params.as_ref().map_or(0, |it| it.get().len());
        let ask = Ask {
            method,
            params,
            answer,
        };
        if !events.send(Event::Ask(ask), size) {
            open.fetch_sub(1, Ordering::Relaxed);
            return self.reply(
                &id,
                &Err(error(code::INTERNAL, "the client does not keep up")),
            );
        }
        let (replies, closed) = (self.replies.clone(), self.closed.clone());
        self.setting.tracker.spawn(async move {
            let none = || Err(error(code::INTERNAL, "the client gave no answer"));
            let outcome = tokio::select! {
                outcome = answered => outcome.unwrap_or_else(|_| none()),
                () = closed.cancelled() => return,
            };
            open.fetch_sub(1, Ordering::Relaxed);
            // The connection has ended: nobody waits for it.
            replies
                .send(message::response(Some(&id), &outcome))
                .await
                .ok();
        });
    }

    fn reply(&self, id: &RawValue, outcome: &Outcome) {
        if self
            .replies
            .try_send(message::response(Some(id), outcome))
            .is_err()
        {
            self.setting.metrics.dropped("slow_server");
            warn!("the server asks, and does not read the answers");
        }
    }
}

/// The subscription that a notification belongs to.
fn subscription(it: &Notification) -> Option<u64> {
    let mut meta: Fields = serde_json::from_str(it.fields().get("_meta")?.get()).ok()?;
    let id: Raw = meta.remove(SUBSCRIPTION)?;
    id.get().parse().ok()
}
