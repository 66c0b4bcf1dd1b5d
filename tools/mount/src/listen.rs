//! `subscriptions/listen` of a client of 2026-07-28, whatever the server speaks.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Map, Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::task::TaskTracker;

use crate::{
    link::{Era, Event, Facts, Link, Next, Outgoing},
    message::{Fields, Notification, Outcome, Raw, code, error, fields, raw, text, to_raw},
    modern::Call,
    mount::Mount,
    parked::{Parked, State},
    replies::{Out, gone_error, send},
    side::Side,
    translate,
};

/// Resources that one client may follow.
pub(crate) const MAX_RESOURCES: usize = 1000;
/// The longest URI of one, bytes.
pub(crate) const MAX_URI: usize = 4 << 10;

/// Follows the server until it ends the stream: then with its outcome. Servers come and go meanwhile.
pub(crate) async fn follow(mount: &Arc<Mount>, call: &Call, out: &Out) -> Option<Outcome> {
    let filter = call.params.get("notifications").map(|it| &**it);
    let Some(filter) = filter.and_then(|it| serde_json::from_str::<Value>(it.get()).ok()) else {
        return Some(Err(error(code::INVALID_PARAMS, "notifications is missing")));
    };
    if !filter.is_object() {
        return Some(Err(error(
            code::INVALID_PARAMS,
            "notifications is no object",
        )));
    }
    let mut acknowledged = false;
    let mut links = mount.upstream.links();
    loop {
        let link = match mount.upstream.link().await {
            Ok(link) => link,
            Err(gone) if !acknowledged => return Some(Err(gone_error(&gone))),
            Err(_) => {
                // It comes back some time, and the stream waits for it.
                if links.changed().await.is_err() {
                    return None;
                }
                continue;
            }
        };
        let ended = match link.facts().era {
            Era::Modern => pass(mount, &*link, call, out, &mut acknowledged).await,
            Era::Legacy => {
                let closed = link.closed().clone();
                let facts = Arc::clone(link.facts());
                let listening = gather(mount, &facts, call, &filter, out, &mut acknowledged);
                closed.run_until_cancelled(listening).await.flatten()
            }
        };
        if ended.is_some() {
            return ended;
        }
    }
}

/// Passes the stream of the server through. `None` when the server went away.
async fn pass(
    mount: &Mount,
    link: &dyn Link,
    call: &Call,
    out: &Out,
    acknowledged: &mut bool,
) -> Option<Outcome> {
    let mut params = call.params.clone();
    let meta = params.get("_meta").map(|it| &**it);
    let mut meta = fields(meta).unwrap_or_default();
    let version = raw(&Value::from(link.facts().version.as_str()));
    meta.insert(crate::handshake::VERSION.to_owned(), version);
    params.insert("_meta".to_owned(), to_raw(&meta));
    let is_own = link.facts().is_own;
    if is_own && let Some(filter) = params.get("notifications") {
        let filter = with_tasks(filter, |id| match Parked::read(id) {
            State::Task { instance, sealed } if mount.parked.is_here(&instance) => {
                mount.parked.task(sealed, &call.caller).map(str::to_owned)
            }
            _ => None,
        });
        params.insert("notifications".to_owned(), filter);
    }
    let mark = |id: &str| Some(mount.parked.wrap_task(id, &call.caller));
    let request = Outgoing {
        method: call.method.clone(),
        params,
        progress: false,
        capabilities: call.capabilities.clone(),
        client: call.client,
        headers: Vec::new(),
    };
    let mut exchange = match link.request(request).await {
        Ok(exchange) => exchange,
        Err(gone) if !*acknowledged => return Some(Err(gone_error(&gone))),
        Err(_) => return None,
    };
    loop {
        match exchange.next().await {
            Next::Event(Event::Notification(mut it)) => {
                if it.method == "notifications/subscriptions/acknowledged" {
                    if *acknowledged {
                        continue;
                    }
                    *acknowledged = true;
                    if is_own && let Some(mut params) = fields(it.params.as_deref()) {
                        if let Some(filter) = params.get("notifications") {
                            let filter = with_tasks(filter, mark);
                            params.insert("notifications".to_owned(), filter);
                        }
                        it.params = Some(to_raw(&params));
                    }
                }
                if is_own && it.method == "notifications/tasks" {
                    let mut params = it.fields();
                    if let Some(id) = text(params.get("taskId")) {
                        let marked = raw(&Value::from(mount.parked.wrap_task(&id, &call.caller)));
                        params.insert("taskId".to_owned(), marked);
                        it.params = Some(to_raw(&params));
                    }
                }
                it.params = Some(translate::with_subscription(it.params.as_ref(), &call.id));
                send(out, it.write(), call.id.get().as_bytes().to_vec()).await;
            }
            Next::Event(Event::Ask(_)) => {}
            Next::Done(Ok(result)) => {
                return Some(Ok(translate::with_subscription(Some(&result), &call.id)));
            }
            Next::Done(error) => return Some(error),
            Next::Gone => return None,
        }
    }
}

/// A filter with other ids of tasks; those without one are left out.
fn with_tasks(filter: &Raw, other: impl Fn(&str) -> Option<String>) -> Raw {
    let Some(mut filter) = fields(Some(filter)) else {
        return filter.clone();
    };
    let ids = filter
        .get("taskIds")
        .map(|it| serde_json::from_str::<Vec<String>>(it.get()));
    if let Some(Ok(ids)) = ids {
        let ids: Vec<String> = ids.iter().filter_map(|id| other(id)).collect();
        filter.insert("taskIds".to_owned(), to_raw(&ids));
    }
    to_raw(&filter)
}

/// Gathers what a server of an earlier revision tells everybody, and what its resources tell those
/// who follow them.
async fn gather(
    mount: &Arc<Mount>,
    facts: &Facts,
    call: &Call,
    filter: &Value,
    out: &Out,
    acknowledged: &mut bool,
) -> Option<Outcome> {
    let mut changes = mount.side.changes.subscribe();
    let mut honoured = Map::new();
    for kind in ["tools", "prompts", "resources"] {
        let name = format!("{kind}ListChanged");
        if filter[&name] == json!(true) && facts.can(&format!("{kind}.listChanged")) {
            honoured.insert(name, Value::Bool(true));
        }
    }
    let mut followed = Followed {
        side: Arc::clone(&mount.side),
        tracker: mount.context.tracker.clone(),
        uris: BTreeSet::new(),
    };
    if facts.can("resources.subscribe")
        && let Some(uris) = filter["resourceSubscriptions"].as_array()
    {
        let uris = uris.iter().filter_map(Value::as_str);
        for uri in uris.filter(|uri| uri.len() <= MAX_URI).take(MAX_RESOURCES) {
            if followed.uris.insert(uri.to_owned()) {
                mount.side.follow_resource(uri).await;
            }
        }
        honoured.insert("resourceSubscriptions".to_owned(), json!(followed.uris));
    }
    let related = call.id.get().as_bytes().to_vec();
    if !*acknowledged {
        *acknowledged = true;
        let told = raw(&json!({"notifications": honoured}));
        let it = Notification {
            method: "notifications/subscriptions/acknowledged".to_owned(),
            params: Some(translate::with_subscription(Some(&told), &call.id)),
        };
        send(out, it.write(), related.clone()).await;
    }
    loop {
        let it = match changes.recv().await {
            Ok(it) => it,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return None,
        };
        let wanted = match &*it.method {
            "notifications/resources/updated" => {
                let uri: Fields = it.fields();
                text(uri.get("uri")).is_some_and(|uri| followed.uris.contains(&uri))
            }
            method => {
                let kind = method
                    .strip_prefix("notifications/")
                    .and_then(|it| it.strip_suffix("/list_changed"));
                kind.is_some_and(|kind| honoured.contains_key(&format!("{kind}ListChanged")))
            }
        };
        if wanted {
            let it = Notification {
                method: it.method.clone(),
                params: Some(translate::with_subscription(it.params.as_ref(), &call.id)),
            };
            send(out, it.write(), related.clone()).await;
        }
    }
}

/// Resources that one stream follows, until it ends.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) side: Arc<Side>,
    pub(crate) tracker: TaskTracker,
    pub(crate) uris: BTreeSet<String>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        let (side, uris) = (Arc::clone(&self.side), std::mem::take(&mut self.uris));
        if uris.is_empty() {
            return;
        }
        self.tracker.spawn(async move {
            for uri in uris {
                side.unfollow_resource(&uri).await;
            }
        });
    }
}
