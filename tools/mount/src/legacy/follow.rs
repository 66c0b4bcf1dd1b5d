//! What a session is told without asking.

use std::sync::Arc;

use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::Session;
use crate::{
    handshake,
    link::{Era, Event, Next, Outgoing},
    message::{Fields, Notification, raw, text, to_raw},
    replies::send,
    translate,
};

/// Passes on what the server tells everybody.
pub(super) async fn follow_lists(session: Arc<Session>) {
    let mut changes = session.side.changes.subscribe();
    loop {
        let it = match changes.recv().await {
            Ok(it) => it,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let wanted = match &*it.method {
            "notifications/resources/updated" => {
                let uri = text(it.fields().get("uri"));
                uri.is_some_and(|uri| session.followed.lock().uris.contains(&uri))
            }
            "notifications/tasks/status" => {
                let id = text(it.fields().get("taskId"));
                id.is_some_and(|id| session.tasks.lock().contains(&id))
            }
            "notifications/message" => translate::is_logged(it.params.as_ref(), session.level()),
            _ => true,
        };
        if wanted {
            let it = Notification {
                method: it.method.clone(),
                params: translate::without_subscription(it.params.as_ref()),
            };
            send(&session.out, it.write(), Vec::new()).await;
        }
    }
}

/// Follows resources at a server of 2026-07-28.
pub(super) async fn follow_resources(session: Arc<Session>) {
    let mut listened = session.listened.subscribe();
    let mut links = session.side.upstream.links();
    loop {
        let uris = listened.borrow_and_update().clone();
        let link = links.borrow_and_update().clone();
        let link = link.filter(|link| link.facts().era == Era::Modern && !uris.is_empty());
        let following = async {
            let Some(link) = link else {
                return std::future::pending().await;
            };
            let capabilities = &session.capabilities.0;
            let meta = handshake::modern_meta(&link.facts().version, &session.info, capabilities);
            let params = Fields::from([
                ("_meta".to_owned(), to_raw(&meta)),
                (
                    "notifications".to_owned(),
                    raw(&json!({"resourceSubscriptions": uris})),
                ),
            ]);
            let mut request = Outgoing::own("subscriptions/listen", params);
            request.client = session.client;
            let Ok(mut exchange) = link.request(request).await else {
                return std::future::pending().await;
            };
            loop {
                match exchange.next().await {
                    Next::Event(Event::Notification(mut it)) => {
                        if it.method == "notifications/resources/updated" {
                            it.params = translate::without_subscription(it.params.as_ref());
                            send(&session.out, it.write(), Vec::new()).await;
                        }
                    }
                    Next::Event(Event::Ask(_)) => {}
                    // Until the server is back, or other resources are followed.
                    Next::Done(_) | Next::Gone => return std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = following => {}
            changed = listened.changed() => if changed.is_err() {
                return;
            },
            changed = links.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
