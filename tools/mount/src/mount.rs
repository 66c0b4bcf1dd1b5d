//! One mount: its server, its tools, and who is connected.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use mcp::pins::{PinKeys, PinMode, Pins};
use parking_lot::Mutex;
use serde_json::{Value, json};
use service::{Context, Severity};
use tokio::{sync::broadcast, time::sleep};

use crate::{
    calls::Setting,
    command_line::split,
    definitions::Definitions,
    http_link::HttpServer,
    keys::MountKeys,
    link::{Era, Exchange, Gone, Link, Outgoing},
    message::{Fields, Notification, raw},
    metrics::MountMetrics,
    parked::Parked,
    process::ServerCommand,
    tasks::HeldTasks,
    tools::Tools,
    upstream::{Address, Upstream},
};

/// How often requests that have waited long enough are ended.
const SWEEP: Duration = Duration::from_secs(5);
/// Notifications that a slow listener may lag behind before it misses some.
const CHANGES: usize = 256;

/// A mount. It is shared by everything that serves it.
#[derive(Debug)]
pub(crate) struct Mount {
    pub(crate) context: Context,
    pub(crate) keys: MountKeys,
    pub(crate) metrics: MountMetrics,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) tools: Tools,
    pub(crate) parked: Parked,
    pub(crate) held: HeldTasks,
    /// `None` when nothing is pinned.
    pins: Option<Pins>,
    /// What the server tells everybody: that lists changed, and that resources did.
    pub(crate) changes: broadcast::Sender<Arc<Notification>>,
    /// How many clients follow each resource.
    followed: Mutex<BTreeMap<String, usize>>,
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
        let mount = Arc::new(Self {
            upstream: Upstream::start(address, setting, &keys),
            tools: Tools::default(),
            parked: Parked::new(&context.instance_id, &keys, &metrics),
            held: HeldTasks::default(),
            pins: (PinKeys::from_config(&context.config).mcp_pins == PinMode::Mounts)
                .then(|| Pins::new(Arc::clone(&context.discovery))),
            changes: broadcast::channel(CHANGES).0,
            followed: Mutex::default(),
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

    /// Sends a request, and counts it.
    pub(crate) async fn request(&self, request: Outgoing) -> Result<Exchange, Gone> {
        let method = request.method.clone();
        let sent = self.upstream.request(request).await;
        if sent.is_err() {
            self.metrics.request(&method, "lost");
        }
        sent
    }

    /// How long a request may go on without a sign of the server.
    pub(crate) fn patience(&self) -> Option<Duration> {
        Some(self.keys.mount_timeout).filter(|it| !it.is_zero())
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
        self.read_tools(link).await;
        if !first {
            // Another process may have others.
            for kind in ["tools", "resources", "prompts"] {
                if link.facts().can(kind) {
                    let method = format!("notifications/{kind}/list_changed");
                    self.tell(Arc::new(Notification::new(&method, &json!({}))));
                }
            }
            let followed: Vec<String> = self.followed.lock().keys().cloned().collect();
            for uri in followed {
                self.subscribe(link, "resources/subscribe", &uri).await;
            }
        }
        loop {
            let notification = tokio::select! {
                // An operator approves.
                Ok(()) = entries.changed() => {
                    let known = self.tools.known().unwrap_or_default();
                    if self.check_pins(&known).await {
                        let method = "notifications/tools/list_changed";
                        self.tell(Arc::new(Notification::new(method, &json!({}))));
                    }
                    continue;
                }
                told = told.recv() => match told {
                    Ok(notification) => notification,
                    Err(broadcast::error::RecvError::Lagged(_)) => {
                        self.read_tools(link).await;
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
                self.read_tools(link).await;
            }
            self.tell(notification);
        }
    }

    fn tell(&self, notification: Arc<Notification>) {
        // Nobody may listen.
        self.changes.send(notification).ok();
    }

    async fn read_tools(&self, link: &dyn Link) {
        match self.tools.read(link, self.keys.mount_max_tools).await {
            Ok(read) => {
                self.context.conditions.set("tools", None);
                self.check_pins(&read).await;
                // Known only after it is known which may be used.
                self.tools.set(read);
            }
            Err(error) => {
                let text = format!("the server's tools are not known: {error:#}");
                tracing::warn!("{text}");
                let condition = Some((Severity::Degraded, text));
                self.context.conditions.set("tools", condition);
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

    /// One more client follows a resource of a server of an earlier revision.
    pub(crate) async fn follow_resource(&self, uri: &str) {
        let first = {
            let mut followed = self.followed.lock();
            let count = followed.entry(uri.to_owned()).or_default();
            *count += 1;
            *count == 1
        };
        if first && let Ok(link) = self.upstream.link().await {
            self.subscribe(&*link, "resources/subscribe", uri).await;
        }
    }

    /// One client follows it no more.
    pub(crate) async fn unfollow_resource(&self, uri: &str) {
        let last = {
            let mut followed = self.followed.lock();
            let count = followed.get_mut(uri).map(|count| {
                *count -= 1;
                *count
            });
            if count == Some(0) {
                followed.remove(uri);
            }
            count == Some(0)
        };
        if last && let Some(link) = self.upstream.present() {
            self.subscribe(&*link, "resources/unsubscribe", uri).await;
        }
    }

    async fn subscribe(&self, link: &dyn Link, method: &str, uri: &str) {
        if link.facts().era == Era::Modern {
            return;
        }
        let params = Fields::from([("uri".to_owned(), raw(&Value::from(uri)))]);
        if let Ok(asked) = link.request(Outgoing::own(method, params)).await
            && let Ok(Err(error)) = asked.outcome().await
        {
            tracing::debug!(uri, %error, method, "refused");
        }
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

/// Where the server is.
fn address(keys: &MountKeys) -> anyhow::Result<Address> {
    match (&keys.mount_command, &keys.mount_url) {
        (Some(_), Some(_)) => bail!("give a command or `mount_url`, not both"),
        (None, None) => Ok(Address::Nowhere),
        (Some(command), None) => {
            let words = split(command).context("mount_command: a quote is not closed")?;
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
