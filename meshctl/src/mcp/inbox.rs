//! What a server sends by itself within a session, beside the answers to requests.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::endpoint::Endpoint;

/// Messages that wait to be taken.
const QUEUED: usize = 64;
/// How long a server may take to open the stream before requests are sent without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// The messages of a session's own stream.
#[derive(Debug)]
pub(super) struct Inbox {
    messages: mpsc::Receiver<Value>,
    /// Ends with this.
    _reader: JoinSet<()>,
}

impl Inbox {
    /// Opens the stream. A server that has none is as good as one that is silent.
    pub(super) async fn open(endpoint: Endpoint, headers: HeaderMap) -> Self {
        let (to, messages) = mpsc::channel(QUEUED);
        let (opened, is_open) = oneshot::channel();
        let mut reader = JoinSet::new();
        reader.spawn(read(endpoint, headers, to, opened));
        timeout(PATIENCE, is_open).await.ok();
        Self {
            messages,
            _reader: reader,
        }
    }

    /// The next message; never, when there are no more. Can be dropped at any time.
    pub(super) async fn next(&mut self) -> Value {
        match self.messages.recv().await {
            Some(message) => message,
            None => std::future::pending().await,
        }
    }
}

async fn read(
    endpoint: Endpoint,
    mut headers: HeaderMap,
    to: mpsc::Sender<Value>,
    opened: oneshot::Sender<()>,
) {
    let mut opened = Some(opened);
    loop {
        let Ok(mut answer) = endpoint.get(headers.clone()).await else {
            return;
        };
        if let Some(opened) = opened.take() {
            // Who waited may have gone on without it.
            opened.send(()).ok();
        }
        if !answer.status().is_success() || !answer.is_stream() {
            return;
        }
        while let Ok(Some(text)) = answer.next().await {
            let message = serde_json::from_str(&text).unwrap_or_default();
            if to.send(message).await.is_err() {
                return;
            }
        }
        let last = answer.last_event_id.as_deref();
        if let Some(Ok(event)) = last.map(HeaderValue::from_str) {
            headers.insert("last-event-id", event);
        }
        sleep(answer.retry).await;
    }
}
