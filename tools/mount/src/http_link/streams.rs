//! What goes on beside the requests: the server's own stream, replies to it, and whether it lives.

use std::{sync::Arc, time::Duration};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::warn;

use super::{LAST_EVENT, Peer, RETRY, requests::pause};
use crate::{
    handshake,
    link::{Era, Facts, Gone, Outgoing},
    message,
    sse::Sse,
};

/// How often a server is asked whether it is still there.
const PROBE: Duration = Duration::from_secs(5);
/// How long it may take to answer that.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

impl Peer {
    /// Opens the stream of 2024-11-05, which says where messages go.
    pub(super) async fn open_sse(self: &Arc<Self>) -> anyhow::Result<()> {
        let from = self.connection(false).await?;
        let mut headers = self.headers();
        headers.insert(
            header::ACCEPT,
            HeaderValue::from_static("text/event-stream"),
        );
        let mut answer = self
            .exchange(from, &Method::GET, &headers, &Bytes::new())
            .await?;
        if !answer.status.is_success() {
            bail!("and GET answers HTTP {}", answer.status);
        }
        let mut sse = Sse::new(self.setting.message);
        loop {
            let frame = answer
                .body
                .frame()
                .await
                .context("its stream of events ends at once")??;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let events = sse
                .feed(&data)
                .ok()
                .context("its first event is too large")?;
            let Some(first) = events.iter().find(|it| it.kind == "endpoint") else {
                continue;
            };
            let path = String::from_utf8_lossy(&first.data).into_owned();
            let endpoint = self.server.url.join(path.trim())?;
            if endpoint.origin() != self.server.url.origin() {
                bail!("its stream of events names an endpoint of another host");
            }
            *self.endpoint.lock() = Some(endpoint);
            break;
        }
        let (peer, closed) = (Arc::clone(self), self.calls.closed().clone());
        self.setting.tracker.spawn(async move {
            closed
                .run_until_cancelled(peer.read_events(answer, &mut sse, None))
                .await;
            peer.calls.close();
        });
        Ok(())
    }
}

/// Sends what the server asked for.
pub(super) async fn send_replies(peer: Arc<Peer>, mut replies: mpsc::Receiver<Vec<u8>>) {
    let closed = peer.calls.closed().clone();
    while let Some(Some(reply)) = closed.run_until_cancelled(replies.recv()).await {
        peer.post_message(reply).await.ok();
    }
}

/// Follows what a server of a session tells without being asked.
pub(super) async fn follow(peer: Arc<Peer>) {
    let closed = peer.calls.closed().clone();
    closed
        .run_until_cancelled(async {
            let mut sse = Sse::new(peer.setting.message);
            loop {
                let Ok(from) = peer.connection(false).await else {
                    return;
                };
                let mut headers = peer.headers();
                headers.insert(
                    header::ACCEPT,
                    HeaderValue::from_static("text/event-stream"),
                );
                if let Some(last) = sse
                    .last_id
                    .as_ref()
                    .and_then(|it| HeaderValue::try_from(it).ok())
                {
                    headers.insert(LAST_EVENT, last);
                }
                let answer = peer
                    .exchange(from, &Method::GET, &headers, &Bytes::new())
                    .await;
                match answer {
                    Ok(answer) if answer.status.is_success() => {
                        peer.read_events(answer, &mut sse, None).await;
                    }
                    // It has no such stream.
                    Ok(answer) if answer.status.is_client_error() => return,
                    _ => {}
                }
                sleep(pause(&sse)).await;
            }
        })
        .await;
}

/// Asks the server again and again whether it is there, and ends the session at last.
pub(super) async fn watch(peer: Arc<Peer>, facts: Arc<Facts>) {
    let (closed, shutdown) = (peer.calls.closed().clone(), peer.setting.shutdown.clone());
    loop {
        tokio::select! {
            () = sleep(PROBE) => {}
            () = closed.cancelled() => return,
            () = shutdown.cancelled() => break,
        }
        let question = match facts.era {
            Era::Modern => handshake::discover(),
            Era::Legacy => Outgoing::own("ping", message::Fields::new()),
        };
        let asked = async { peer.request(question, None).await?.outcome().await };
        match timeout(PROBE_TIMEOUT, asked).await {
            // One that has all the requests that it may have is there.
            Ok(Ok(_) | Err(Gone::Busy(_))) => {}
            // Many servers do one thing at a time: their requests have limits of their own.
            Err(_) if peer.calls.is_working() => {}
            Ok(Err(_)) | Err(_) => {
                warn!("the server does not answer");
                peer.calls.close();
                return;
            }
        }
    }
    if peer.session.lock().0.is_some()
        && let Ok(from) = peer.connection(false).await
    {
        let headers = peer.headers();
        let nothing = Bytes::new();
        let ended = peer.exchange(from, &Method::DELETE, &headers, &nothing);
        timeout(RETRY, ended).await.ok();
    }
    peer.calls.close();
}
