//! Changes of lists and resources as clients follow them: `subscriptions/listen`, and the stream of a
//! legacy session. A change is announced at once, and the next one a second later at the earliest.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use mcp::{
    CatalogView,
    rpc::{notification_bytes, response_bytes},
};
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use super::{
    McpServer,
    answer::{self, Events},
    audit::Operation,
    methods::{Asker, Filter},
    scope::Scope,
    sessions::Session,
    view_of,
};

/// How long after an announcement the next one is made at the earliest.
const PAUSE: Duration = Duration::from_secs(1);
/// Messages that may wait for a listener. More than a list and its kinds there are only where a client
/// follows many resources.
const WAITING: usize = 4;
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What a listener knows of.
#[derive(Debug, Default)]
struct Seen {
    /// Versions of tools, resources and prompts.
    lists: Option<[u64; 3]>,
    resources: HashMap<String, Option<u64>>,
}

/// What is new for a listener.
#[derive(Debug, PartialEq, Eq)]
enum News {
    List(&'static str),
    Resource(String),
}

/// The lists, with what announces them.
const LISTS: [&str; 3] = [
    "notifications/tools/list_changed",
    "notifications/resources/list_changed",
    "notifications/prompts/list_changed",
];

impl Seen {
    /// What is new since the last time for who follows these lists and resources.
    fn news(
        &mut self,
        view: Option<&CatalogView>,
        wanted: [bool; 3],
        resources: impl Iterator<Item = String>,
    ) -> Vec<News> {
        let now = view.map_or([0; 3], |view| {
            let versions = view.versions;
            [versions.tools, versions.resources, versions.prompts]
        });
        let before = self.lists.replace(now);
        let lists = LISTS.iter().zip(wanted).enumerate();
        let mut news: Vec<News> = lists
            .filter(|(at, (_, wanted))| *wanted && before.is_some_and(|it| it[*at] != now[*at]))
            .map(|(_, (method, _))| News::List(method))
            .collect();
        let mut followed = HashMap::new();
        for uri in resources {
            let version = view
                .and_then(|view| view.resource(&uri))
                .map(|it| it.version);
            if self
                .resources
                .get(&uri)
                .is_some_and(|known| *known != version)
            {
                news.push(News::Resource(uri.clone()));
            }
            followed.insert(uri, version);
        }
        self.resources = followed;
        news
    }
}

impl News {
    fn message(&self, meta: Option<&Map<String, Value>>) -> Bytes {
        let mut params = Map::new();
        let method = match self {
            Self::List(method) => method,
            Self::Resource(uri) => {
                params.insert("uri".to_owned(), uri.as_str().into());
                "notifications/resources/updated"
            }
        };
        if let Some(meta) = meta {
            params.insert("_meta".to_owned(), meta.clone().into());
        }
        notification_bytes(method, &params)
    }
}

impl McpServer {
    /// One more stream of changes.
    fn listener(&self) -> Result<OwnedSemaphorePermit, Response> {
        let permit = Arc::clone(&self.listeners).try_acquire_owned();
        permit.map_err(|_| {
            self.metrics.refuse("full");
            answer::unavailable(
                "mcp_max_listeners streams of changes are open already: try again later",
            )
        })
    }

    /// Answers `subscriptions/listen`: what is followed, then the changes, and a result when the gateway
    /// ends.
    pub(super) fn listen(
        self: &Arc<Self>,
        asker: &Asker,
        id: &RawValue,
        filter: Filter,
        mut operation: Operation,
    ) -> Response {
        let permit = match self.listener() {
            Ok(permit) => permit,
            Err(refusal) => return refusal,
        };
        // The work is waiting, which says nothing of how long an operation takes.
        operation.end("ok");
        drop(operation);
        let subscription: Value = serde_json::from_str(id.get()).unwrap_or_default();
        let meta = Map::from_iter([(SUBSCRIPTION.to_owned(), subscription)]);
        let followed = json!({"_meta": meta, "notifications": filter.followed()});
        let first = notification_bytes("notifications/subscriptions/acknowledged", &followed);
        let (send, receive) = mpsc::channel(WAITING);
        let (server, asker) = (Arc::clone(self), asker.clone());
        let changes = self.catalog.changes();
        let last = ended(id);
        let work = Box::pin(async move {
            let _permit = permit;
            let _open = server.metrics.stream("changes");
            let draining = server.context.draining.clone();
            let wanted = [
                filter.tools_list_changed,
                filter.resources_list_changed,
                filter.prompts_list_changed,
            ];
            let resources = || filter.resource_subscriptions.iter().cloned();
            let to = Listener::Subscription(send, meta);
            let mounted = server.follow_mounts(&asker, resources, None, &to);
            let tasks = server.follow_tasks(&asker, &filter.task_ids, &to);
            let followed = follow(changes, &asker.scope, wanted, resources, &to);
            let all = async {
                tokio::select! {
                    () = followed => {}
                    () = mounted => {}
                    () = tasks => {}
                }
            };
            draining.run_until_cancelled(all).await;
            Some(last)
        });
        Events::new(receive, work, self.quiet)
            .beginning(Some(&first))
            .response()
    }

    /// The stream of a legacy session: what belongs to no request of it.
    pub(super) fn session_stream(
        self: &Arc<Self>,
        session: &Arc<Session>,
        asker: Asker,
        first: Option<Bytes>,
    ) -> Response {
        let permit = match self.listener() {
            Ok(permit) => permit,
            Err(refusal) => return refusal,
        };
        let receive = session.stream();
        let (server, session) = (Arc::clone(self), Arc::clone(session));
        let changes = self.catalog.changes();
        let work = Box::pin(async move {
            let _permit = permit;
            let _open = server.metrics.stream("session");
            let busy = session.busy();
            let session = busy.session();
            let _end = session.is_old().then(|| EndOfSession(&server, session));
            let draining = server.context.draining.clone();
            if session.mount.is_some() {
                // Its server says what changes.
                tokio::select! {
                    () = draining.cancelled() => {}
                    () = session.ended.cancelled() => {}
                }
                return None;
            }
            let resources = || session.resources.lock().clone().into_iter();
            let to = Listener::Session(Arc::clone(session));
            let changed = Some(&session.follows);
            let mounted = server.follow_mounts(&asker, resources, changed, &to);
            let followed = follow(changes, &asker.scope, [true; 3], resources, &to);
            tokio::select! {
                () = followed => {}
                () = mounted => {}
                () = draining.cancelled() => {}
                () = session.ended.cancelled() => {}
            }
            None
        });
        let events = Events::new(receive, work, self.quiet);
        match first {
            Some(first) => events.beginning_with(first),
            None => events.beginning(None),
        }
        .response()
    }
}

/// The result of a subscription, which ends its stream.
pub(super) fn ended(id: &RawValue) -> Bytes {
    let subscription: Value = serde_json::from_str(id.get()).unwrap_or_default();
    let result = json!({"resultType": "complete", "_meta": {SUBSCRIPTION: subscription}});
    response_bytes(id, result.to_string().as_bytes())
}

/// Ends a session of 2024-11-05, which lives as long as its stream.
struct EndOfSession<'a>(&'a McpServer, &'a Arc<Session>);

impl Drop for EndOfSession<'_> {
    fn drop(&mut self) {
        self.0.sessions.close_this(self.1);
    }
}

/// Who is told of changes.
#[derive(Clone)]
pub(super) enum Listener {
    Subscription(mpsc::Sender<Bytes>, Map<String, Value>),
    Session(Arc<Session>),
}

impl Listener {
    /// Whether it still listens.
    async fn tell(&self, news: &News) -> bool {
        match self {
            Self::Subscription(send, meta) => send.send(news.message(Some(meta))).await.is_ok(),
            Self::Session(session) => {
                session.send(news.message(None));
                true
            }
        }
    }

    /// A resource has changed. Whether it still listens.
    pub(super) async fn tell_updated(&self, uri: String) -> bool {
        self.tell(&News::Resource(uri)).await
    }

    /// A task has changed: what `tasks/get` would say.
    pub(super) async fn tell_task(&self, mut task: Map<String, Value>) -> bool {
        let Self::Subscription(send, meta) = self else {
            return false;
        };
        task.insert("_meta".to_owned(), meta.clone().into());
        let message = notification_bytes("notifications/tasks", &task);
        send.send(message).await.is_ok()
    }
}

/// Tells of changes as long as somebody listens.
async fn follow<I: Iterator<Item = String>>(
    mut changes: watch::Receiver<Arc<mcp::CatalogSnapshot>>,
    scope: &Scope,
    wanted: [bool; 3],
    resources: impl Fn() -> I,
    to: &Listener,
) {
    let mut seen = Seen::default();
    loop {
        let view = {
            let snapshot = changes.borrow_and_update();
            snapshot.ready.then(|| view_of(&snapshot, scope))
        };
        // Before the first answer nothing is known that could change.
        if let Some(view) = view {
            let news = seen.news(view.as_deref(), wanted, resources());
            let is_news = !news.is_empty();
            for news in &news {
                if !to.tell(news).await {
                    return;
                }
            }
            if is_news {
                tokio::time::sleep(PAUSE).await;
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

impl Filter {
    /// As the client is told what it gets.
    fn followed(&self) -> Value {
        let mut followed = Map::new();
        for (name, wanted) in [
            ("toolsListChanged", self.tools_list_changed),
            ("promptsListChanged", self.prompts_list_changed),
            ("resourcesListChanged", self.resources_list_changed),
        ] {
            if wanted {
                followed.insert(name.to_owned(), true.into());
            }
        }
        if !self.resource_subscriptions.is_empty() {
            let uris = json!(self.resource_subscriptions);
            followed.insert("resourceSubscriptions".to_owned(), uris);
        }
        if !self.task_ids.is_empty() {
            followed.insert("taskIds".to_owned(), json!(self.task_ids));
        }
        followed.into()
    }
}
