//! One way to the server: its connections, what it tells everybody, and which resources are followed.
//! A server of both eras has two: clients of earlier revisions are served by a session of theirs.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    link::{Era, Link, Outgoing},
    message::{Fields, Notification, raw},
    upstream::Upstream,
};

/// Notifications that a slow listener may lag behind before it misses some.
const CHANGES: usize = 256;

/// A way to the server.
#[derive(Debug)]
pub(crate) struct Side {
    pub(crate) upstream: Arc<Upstream>,
    /// What the server tells everybody: that lists changed, and that resources did.
    pub(crate) changes: broadcast::Sender<Arc<Notification>>,
    /// How many clients follow each resource.
    followed: Mutex<BTreeMap<String, usize>>,
}

impl Side {
    pub(crate) fn new(upstream: Arc<Upstream>) -> Self {
        Self {
            upstream,
            changes: broadcast::channel(CHANGES).0,
            followed: Mutex::default(),
        }
    }

    /// Tells whoever listens.
    pub(crate) fn tell(&self, notification: Arc<Notification>) {
        // Nobody may listen.
        self.changes.send(notification).ok();
    }

    /// Tells that a list changed.
    pub(crate) fn tell_changed(&self, kind: &str) {
        let method = format!("notifications/{kind}/list_changed");
        self.tell(Arc::new(Notification::new(&method, &json!({}))));
    }

    /// After another connection: its lists may be others, and it does not know who follows what.
    pub(crate) async fn begin_again(&self, link: &dyn Link) {
        for kind in ["tools", "resources", "prompts"] {
            if link.facts().can(kind) {
                self.tell_changed(kind);
            }
        }
        let followed: Vec<String> = self.followed.lock().keys().cloned().collect();
        for uri in followed {
            self.subscribe(link, "resources/subscribe", &uri).await;
        }
    }

    /// Passes on what a server with a session tells everybody, over all its connections.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut links = self.upstream.links();
        let mut first = true;
        loop {
            let link = links.borrow_and_update().clone();
            if let Some(link) = link {
                let mut told = link.unsolicited();
                if !first {
                    self.begin_again(&*link).await;
                }
                first = false;
                let closed = link.closed().clone();
                let pass = async {
                    loop {
                        match told.recv().await {
                            Ok(it) => self.tell(it),
                            Err(RecvError::Lagged(_)) => {}
                            Err(RecvError::Closed) => return,
                        }
                    }
                };
                closed.run_until_cancelled(pass).await;
            }
            if links.changed().await.is_err() {
                return;
            }
        }
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
        if let Ok(mut asked) = link.request(Outgoing::own(method, params)).await
            && let Ok(Err(error)) = asked.outcome().await
        {
            tracing::debug!(uri, %error, method, "refused");
        }
    }
}
