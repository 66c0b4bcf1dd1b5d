//! One mount: its server, its tools, and who is connected.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use mcp::pins::{PinKeys, PinMode, Pins};
use serde_json::{Value, json};
use service::{Context, Severity};
use tokio::{
    sync::broadcast,
    time::{Instant, sleep, sleep_until},
};

use crate::{
    calls::Setting,
    command_line::split,
    definitions::{Definition, Definitions},
    http_link::HttpServer,
    keys::MountKeys,
    link::{Era, Exchange, Gone, Link, Outgoing},
    message::{Fields, Notification, Outcome, Raw, code, error, raw},
    metrics::MountMetrics,
    parked::Parked,
    process::ServerCommand,
    replies::gone_error,
    side::Side,
    stdio::within,
    tasks::HeldTasks,
    tools::Tools,
    upstream::{Address, Upstream},
};

/// Pauses before a server that has not told its tools is asked again.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often requests that have waited long enough are ended.
const SWEEP: Duration = Duration::from_secs(5);

/// A mount. It is shared by everything that serves it.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) context: Context,
    pub(crate) keys: MountKeys,
    pub(crate) metrics: MountMetrics,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) tools: Arc<Tools>,
    pub(crate) parked: Parked,
    pub(crate) held: HeldTasks,
    /// `None` when nothing is pinned.
    pins: Option<Pins>,
    /// The way that all clients have, unless the server has one for those of earlier revisions.
    pub(crate) side: Arc<Side>,
    legacy: OnceLock<Arc<Side>>,
    clients: AtomicU64,
    pub(crate) sessions: AtomicU64,
}

impl Mount {
    /// Starts the server of a configuration, and follows what it says.
    pub(crate) fn start(context: &Context) -> anyhow::Result<Arc<Self>> {
        let keys = MountKeys::from_config(&context.config);
        let metrics = MountMetrics::new(&context.registry);
        let address = address(&keys)?;
        let setting = Setting {
            message: keys.mount_max_message,
            calls: keys.mount_max_calls,
            queue: keys.mount_queue,
            patience: keys.mount_start_timeout,
            roots: roots(&keys.mount_roots),
            tracker: context.tracker.clone(),
            shutdown: context.shutdown.clone(),
            metrics: metrics.clone(),
        };
        let tools = Arc::new(Tools::default());
        let pins = (PinKeys::from_config(&context.config).mcp_pins == PinMode::Mounts)
            .then(|| Pins::new(Arc::clone(&context.discovery)));
        // A server that was started again may be another one.
        let forgotten = pins.as_ref().map(|_| Arc::clone(&tools));
        let upstream = Upstream::start(address, setting, &keys, false, forgotten);
        let mount = Arc::new(Self {
            upstream: Arc::clone(&upstream),
            tools,
            parked: Parked::new(&context.instance_id, &keys, &metrics),
            held: HeldTasks::default(),
            pins,
            side: Arc::new(Side::new(Arc::clone(&upstream))),
            legacy: OnceLock::new(),
            clients: AtomicU64::new(1),
            sessions: AtomicU64::new(0),
            context: context.clone(),
            metrics,
            keys,
        });
        let upstream = Arc::clone(&mount.upstream);
        context
            .conditions
            .add_check("server", move || upstream.problem());
        let (followed, shutdown) = (Arc::clone(&mount), context.shutdown.clone());
        let follow = async move { shutdown.run_until_cancelled(followed.follow()).await };
        context.tracker.spawn(follow);
        let (swept, shutdown) = (Arc::clone(&mount), context.shutdown.clone());
        let sweep = async move {
            loop {
                sleep(SWEEP).await;
                swept.parked.sweep();
                swept.held.sweep(swept.keys.mount_park_time);
            }
        };
        context
            .tracker
            .spawn(async move { shutdown.run_until_cancelled(sweep).await });
        Ok(mount)
    }

    /// A number for one client.
    pub(crate) fn client(&self) -> u64 {
        self.clients.fetch_add(1, Ordering::Relaxed)
    }

    /// The way of clients of earlier revisions: a session of theirs, if the server knows both eras.
    pub(crate) fn legacy_side(&self) -> Arc<Side> {
        let both = self
            .upstream
            .present()
            .is_some_and(|link| link.facts().knows_both);
        if !both {
            return Arc::clone(self.legacy.get().unwrap_or(&self.side));
        }
        let side = self.legacy.get_or_init(|| {
            let side = Arc::new(Side::new(self.upstream.start_legacy(&self.keys)));
            let (follow, shutdown) = (Arc::clone(&side).follow(), self.context.shutdown.clone());
            let follow = async move { shutdown.run_until_cancelled(follow).await };
            self.context.tracker.spawn(follow);
            side
        });
        Arc::clone(side)
    }

    /// Tells clients of both eras that a list changed.
    fn tell_changed(&self, kind: &str) {
        self.side.tell_changed(kind);
        if let Some(side) = self.legacy.get() {
            side.tell_changed(kind);
        }
    }

    /// Sends a request, and counts it.
    pub(crate) async fn request(&self, request: Outgoing) -> Result<Exchange, Gone> {
        self.request_over(&self.upstream, request).await
    }

    /// Sends a request one of two ways, and counts it.
    pub(crate) async fn request_over(
        &self,
        upstream: &Upstream,
        request: Outgoing,
    ) -> Result<Exchange, Gone> {
        let method = request.method.clone();
        // A server that reads nothing takes no request either.
        let sent = self.in_time(upstream.request(request)).await;
        if sent.is_err() {
            self.metrics.request(&method, None);
        }
        sent
    }

    /// Sends a request one of two ways, and waits for its outcome.
    pub(crate) async fn outcome_over(&self, upstream: &Upstream, request: Outgoing) -> Outcome {
        let asked = async { self.request_over(upstream, request).await?.outcome().await };
        let outcome = self.in_time(asked).await;
        outcome.unwrap_or_else(|gone| Err(gone_error(&gone)))
    }

    /// Waits until the tools are known: before, nobody can tell which may be used.
    pub(crate) async fn known_tools(&self) -> Result<(), Raw> {
        match self.tools.first(self.keys.mount_wait).await {
            Some(_) => Ok(()),
            None => Err(error(
                code::INTERNAL,
                "the server's tools are not known yet",
            )),
        }
    }

    /// Whether a tool may be called now: the server is there, and its tools were compared with their pins.
    /// Why not, if it may not.
    pub(crate) async fn check_tool(&self, name: &str) -> Result<(), Raw> {
        // One that is started again tells its tools anew.
        let link = self.upstream.link().await;
        link.map_err(|gone| gone_error(&gone))?;
        let known = self.known_tools().await;
        if self.pins.is_some() {
            known?;
        }
        match self.tools.blocked(name) {
            Some(reason) => Err(error(code::INVALID_PARAMS, reason)),
            None => Ok(()),
        }
    }

    /// How many tools are compared with pins; `None` when none is.
    pub(crate) fn pinned(&self) -> Option<usize> {
        self.pins.as_ref().map(|_| self.keys.mount_max_tools)
    }

    /// Waits for a sign of the server for as long as a request may go on without one.
    pub(crate) async fn in_time<T>(
        &self,
        sign: impl Future<Output = Result<T, Gone>>,
    ) -> Result<T, Gone> {
        let patience = self.keys.mount_timeout;
        let sign = within(patience, sign).await;
        sign.unwrap_or(Err(Gone::Late(patience)))
    }

    /// Reads the tools of each connection, and passes on what it tells everybody.
    async fn follow(self: Arc<Self>) {
        let mut links = self.upstream.links();
        let mut first = true;
        loop {
            let link = links.borrow_and_update().clone();
            if let Some(link) = link {
                let closed = link.closed().clone();
                closed
                    .run_until_cancelled(self.follow_link(&*link, first))
                    .await;
                first = false;
            }
            if links.changed().await.is_err() {
                return;
            }
        }
    }

    async fn follow_link(&self, link: &dyn Link, first: bool) {
        // Subscribed before the lists are read, so that no change is missed.
        let mut told = link.unsolicited();
        let mut entries = self.context.discovery.entries();
        entries.mark_unchanged();
        let mut listen = self.listen(link).await;
        let mut reading = Reading::new(self.read_tools(link).await);
        if !first {
            self.side.begin_again(link).await;
        }
        loop {
            let notification = tokio::select! {
                // The server has not listed them, and may have had no time for it.
                () = reading.is_due() => {
                    if reading.ended(self.read_tools(link).await) {
                        self.tell_changed("tools");
                    }
                    continue;
                }
                // An operator approves.
                Ok(()) = entries.changed() => {
                    let known = self.tools.known().unwrap_or_default();
                    if self.check_pins(&known).await {
                        self.tell_changed("tools");
                    }
                    continue;
                }
                // A page had a tool that is not known as it is there.
                () = reading.later(self.tools.strange.notified()) => {
                    let before = self.tools.usable();
                    reading.ended(self.read_tools(link).await);
                    if !same(&before, &self.tools.usable()) {
                        self.tell_changed("tools");
                    }
                    continue;
                }
                told = told.recv() => match told {
                    Ok(notification) => notification,
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        reading.ended(self.read_tools(link).await);
                        // Which changes were missed is not known.
                        for kind in ["tools", "resources", "prompts"] {
                            self.tell_changed(kind);
                        }
                        continue;
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                notification = next_of(&mut listen) => match notification {
                    Some(notification) => Arc::new(notification),
                    None => {
                        listen = None;
                        continue;
                    }
                },
            };
            if notification.method == "notifications/tools/list_changed" {
                reading.ended(self.read_tools(link).await);
            }
            self.side.tell(notification);
        }
    }

    /// Reads the tools. Whether the server has told them.
    async fn read_tools(&self, link: &dyn Link) -> bool {
        let limit = self.keys.mount_start_timeout;
        let read = within(limit, self.tools.read(link, &self.keys)).await;
        let read = read.unwrap_or_else(|| bail_late(limit));
        match read {
            Ok(read) => {
                self.context.conditions.set("tools", None);
                self.check_pins(&read).await;
                // Known only after it is known which may be used.
                self.tools.set(read);
                true
            }
            Err(error) => {
                let text = format!("the server's tools are not known: {error:#}");
                tracing::warn!("{text}");
                let condition = Some((Severity::Degraded, text));
                self.context.conditions.set("tools", condition);
                false
            }
        }
    }

    /// Compares the tools with their pins. Whether other ones may be used than before.
    async fn check_pins(&self, read: &Definitions) -> bool {
        let Some(pins) = &self.pins else { return false };
        let service = self.context.spec.service;
        let checked = self.tools.check(pins, service, read).await;
        self.metrics.blocked(checked.blocked);
        if checked.differs && checked.blocked > 0 {
            tracing::warn!(
                tools = checked.blocked,
                "tools changed and are not used until they are approved"
            );
        }
        let condition = match (checked.blocked, checked.not_kept) {
            (0, None) => None,
            (0, Some(why)) => Some(format!("the registry does not keep them: {why}")),
            (count, _) => Some(format!(
                "{count} tools wait for approval: see `meshctl mcp pins`"
            )),
        };
        let condition = condition.map(|text| (Severity::Degraded, text));
        self.context.conditions.set("pins", condition);
        checked.differs
    }

    /// Listens to a server of 2026-07-28 for changes of its lists.
    async fn listen(&self, link: &dyn Link) -> Option<Exchange> {
        let facts = link.facts();
        if facts.era == Era::Legacy {
            return None;
        }
        let mut filter = serde_json::Map::new();
        for kind in ["tools", "resources", "prompts"] {
            if facts.can(&format!("{kind}.listChanged")) {
                filter.insert(format!("{kind}ListChanged"), Value::Bool(true));
            }
        }
        if filter.is_empty() {
            return None;
        }
        let mut params: Fields = crate::definitions::own_params(link);
        params.insert("notifications".to_owned(), raw(&Value::Object(filter)));
        let request = Outgoing::own("subscriptions/listen", params);
        link.request(request).await.ok()
    }
}

fn bail_late(limit: Duration) -> anyhow::Result<Definitions> {
    bail!("it did not list them within {limit:?}")
}

/// Whether two lists of tools are the same for whoever sees them.
fn same(one: &[Arc<Definition>], other: &[Arc<Definition>]) -> bool {
    one.iter()
        .map(|it| &it.value)
        .eq(other.iter().map(|it| &it.value))
}

/// When tools are read again.
struct Reading {
    /// When the server was asked last.
    last: Instant,
    /// When it is to be asked again because it has not told them, and the pause after that.
    again: Option<Instant>,
    pause: Duration,
}

impl Reading {
    fn new(told: bool) -> Self {
        let mut reading = Self {
            last: Instant::now(),
            again: None,
            pause: FIRST_PAUSE,
        };
        reading.ended(told);
        reading
    }

    /// The server has told them, or not. The answer is the same.
    fn ended(&mut self, told: bool) -> bool {
        self.last = Instant::now();
        match told {
            true => (self.again, self.pause) = (None, FIRST_PAUSE),
            false => {
                self.again = Some(self.last + self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
        told
    }

    /// Waits until it is to be asked again. Cancel-safe.
    async fn is_due(&self) {
        match self.again {
            Some(again) => sleep_until(again).await,
            None => std::future::pending().await,
        }
    }

    /// Waits for an event, but not sooner than a pause after the last reading: a server may list
    /// something else each time. Cancel-safe where the event is.
    async fn later(&self, event: impl Future<Output = ()>) {
        sleep_until(self.last + FIRST_PAUSE).await;
        event.await;
    }
}

async fn next_of(listen: &mut Option<Exchange>) -> Option<Notification> {
    let Some(exchange) = listen else {
        return std::future::pending().await;
    };
    loop {
        match exchange.next().await {
            crate::link::Next::Event(crate::link::Event::Notification(it)) => {
                if it.method != "notifications/subscriptions/acknowledged" {
                    return Some(it);
                }
            }
            crate::link::Next::Event(crate::link::Event::Ask(_)) => {}
            crate::link::Next::Done(_) | crate::link::Next::Gone => return None,
        }
    }
}

/// Whether the keys name one server, which can be reached in some way.
///
/// # Errors
/// When they do not: what to give instead.
pub(crate) fn check(keys: &MountKeys) -> anyhow::Result<()> {
    match (&keys.mount_command, &keys.mount_url) {
        (Some(_), Some(_)) => bail!("give a command or `mount_url`, not both"),
        (None, None) => bail!(crate::NO_SERVER),
        (Some(command), None) => split(command).context(OPEN_QUOTE).map(drop),
        (None, Some(url)) => HttpServer::read(url, keys).map(drop),
    }
}

const OPEN_QUOTE: &str = "mount_command: a quote is not closed";

/// Where the server is.
fn address(keys: &MountKeys) -> anyhow::Result<Address> {
    match (&keys.mount_command, &keys.mount_url) {
        (Some(_), Some(_)) => bail!("give a command or `mount_url`, not both"),
        (None, None) => Ok(Address::Nowhere),
        (Some(command), None) => {
            let words = split(command).context(OPEN_QUOTE)?;
            let environment = config::environment();
            let variable = |name: &str| environment.get(name).cloned();
            let command = ServerCommand::new(words, &keys.mount_env, variable);
            Ok(Address::Command(command))
        }
        (None, Some(url)) => {
            let server = HttpServer::new(url, keys)?;
            Ok(Address::Http(Box::new(server)))
        }
    }
}

/// The roots of the keys, as `roots/list` has them.
fn roots(keys: &[String]) -> Value {
    let roots = keys.iter().map(|root| match root.contains("://") {
        true => json!({"uri": root}),
        false => match url::Url::from_file_path(root) {
            Ok(uri) => json!({"uri": uri.as_str()}),
            Err(()) => json!({"uri": format!("file://{root}")}),
        },
    });
    roots.collect()
}
