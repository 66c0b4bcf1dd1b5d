//! Changes of the resources of mounted servers, for who follows them among all resources: each mount is
//! listened to for those that are its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mcp::{
    catalog::forward,
    mounted::MountClient,
    rpc::{self, Message, Params},
};
use serde_json::json;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};
use tonic::metadata::MetadataMap;

use super::{McpServer, listen::Listener, methods::Asker};

/// How long after an announcement the next one of the same mount is made at the earliest.
const PAUSE: Duration = Duration::from_secs(1);
/// A mount that was heard for longer than this is listened to again after the shortest pause.
const STEADY: Duration = Duration::from_secs(30);

/// What is followed at each mount: the server's address of a resource, and ours.
type Followed = BTreeMap<Arc<str>, BTreeMap<String, String>>;

impl McpServer {
    /// Tells of updates of mounted resources as long as somebody listens. `changed` says that the
    /// resources are others.
    pub(super) async fn follow_mounts<I: Iterator<Item = String>>(
        &self,
        asker: &Asker,
        resources: impl Fn() -> I,
        changed: Option<&Notify>,
        to: &Listener,
    ) {
        if changed.is_none() && resources().next().is_none() {
            return std::future::pending().await;
        }
        let mut catalog = self.catalog.changes();
        let mut tasks = JoinSet::new();
        let mut running: BTreeMap<Arc<str>, (BTreeMap<String, String>, AbortHandle)> =
            BTreeMap::new();
        loop {
            catalog.borrow_and_update();
            let mut wanted = self.mounted_resources(asker, resources()).await;
            running.retain(|service, (known, task)| {
                let stays = wanted.get(service) == Some(known);
                match stays {
                    true => drop(wanted.remove(service)),
                    false => task.abort(),
                }
                stays
            });
            for (service, uris) in wanted {
                let listening = Listening {
                    client: self.mounts.clone(),
                    service: Arc::clone(&service),
                    metadata: Self::metadata(asker.caller()),
                    uris: uris.clone(),
                    to: to.clone(),
                };
                let task = tasks.spawn(listening.run());
                running.insert(service, (uris, task));
            }
            let others = async {
                match changed {
                    Some(changed) => changed.notified().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = others => {}
                // A mount of which nothing was known may be there now.
                changed = catalog.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                Some(ended) = tasks.join_next() => {
                    // Nobody listens any more. One that was aborted is followed otherwise.
                    if ended.is_ok() {
                        return;
                    }
                }
            }
        }
    }

    async fn mounted_resources(
        &self,
        asker: &Asker,
        resources: impl Iterator<Item = String>,
    ) -> Followed {
        let mut followed = Followed::new();
        let mut resources = resources.peekable();
        if resources.peek().is_none() {
            return followed;
        }
        let Ok(view) = self.view(&asker.scope).await else {
            return followed;
        };
        for uri in resources {
            if let Some((service, inner)) = forward::resource(&view, &uri) {
                let inner = inner.to_owned();
                followed.entry(service).or_default().insert(inner, uri);
            }
        }
        followed
    }
}

/// Listens to one mount for one client.
struct Listening {
    client: MountClient,
    service: Arc<str>,
    metadata: MetadataMap,
    /// The server's address of each resource, and ours.
    uris: BTreeMap<String, String>,
    to: Listener,
}

impl Listening {
    /// Until the client listens no more.
    async fn run(self) {
        let mut pauses = mcp::mounted::pauses();
        loop {
            let began = Instant::now();
            if !self.listen().await {
                return;
            }
            if began.elapsed() > STEADY {
                pauses.reset();
            }
            let pause = pauses.after_failure(&mut rand::rng());
            sleep(pause).await;
        }
    }

    /// Until the mount goes away. `false` when the client has.
    async fn listen(&self) -> bool {
        let uris: Vec<&String> = self.uris.keys().collect();
        let message = forward::request(
            "subscriptions/listen",
            json!({"notifications": {"resourceSubscriptions": uris}}),
        );
        let called = self
            .client
            .call(&self.service, message, self.metadata.clone());
        let Ok(mut events) = called.await else {
            return true;
        };
        let (mut updated, mut next) = (BTreeSet::new(), Instant::now());
        loop {
            tokio::select! {
                event = events.message() => {
                    let Ok(Some(event)) = event else {
                        return true;
                    };
                    match self.told(&event.message) {
                        Told::Updated(uri) => drop(updated.insert(uri)),
                        Told::Other => {}
                        Told::End => return true,
                    }
                }
                () = sleep_until(next), if !updated.is_empty() => {
                    for uri in std::mem::take(&mut updated) {
                        if !self.to.tell_updated(uri).await {
                            return false;
                        }
                    }
                    next = Instant::now() + PAUSE;
                }
            }
        }
    }

    fn told(&self, message: &[u8]) -> Told {
        let Ok(Message::Notification(told)) = rpc::parse_one(message) else {
            return Told::End;
        };
        if told.method != "notifications/resources/updated" {
            return Told::Other;
        }
        let params = Params::read(told.params).ok();
        let uri = params.and_then(|params| params.uri().ok());
        let ours = uri.and_then(|uri| self.uris.get(&*uri).cloned());
        ours.map_or(Told::Other, Told::Updated)
    }
}

enum Told {
    Updated(String),
    Other,
    End,
}
