//! Sessions in Redis, so that they outlive their gateway. Without a Redis they do not.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use jobs::RedisValues;
use service::Context;
use tokio::{sync::mpsc, time::timeout};
use work::QueueKeys;

use super::sessions::{Session, SessionRecord};

/// How long Redis may take: a session is not worth more.
const PATIENCE: Duration = Duration::from_millis(500);
/// Sessions whose time may wait to be renewed.
const WAITING: usize = 1024;

/// Keeps sessions for other gateways.
#[derive(Debug)]
pub(crate) struct SessionStore {
    values: Arc<RedisValues>,
    /// Sessions that were used, whose time is to be renewed.
    used: mpsc::Sender<String>,
}

/// A session as it is kept.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) record: SessionRecord,
    /// As it stands there.
    text: Bytes,
}

impl SessionStore {
    /// The store of the queue's Redis, if there is one. Sessions are kept for `idle`.
    pub(crate) fn open(context: &Context, idle: Duration) -> anyhow::Result<Option<Self>> {
        let Some(values) = QueueKeys::from_config(&context.config).values()? else {
            return Ok(None);
        };
        let values = Arc::new(values);
        let (used, mut renew) = mpsc::channel::<String>(WAITING);
        let (renewing, shutdown) = (Arc::clone(&values), context.shutdown.clone());
        context.tracker.spawn(async move {
            let renewing = async {
                while let Some(key) = renew.recv().await {
                    let renewed = timeout(PATIENCE, renewing.touch(&key, kept(idle)));
                    if !matches!(renewed.await, Ok(Ok(()))) {
                        tracing::debug!(key, "the time of a session is not renewed");
                    }
                }
            };
            shutdown.run_until_cancelled(renewing).await;
        });
        Ok(Some(Self { values, used }))
    }

    /// Keeps a session.
    pub(crate) async fn put(&self, id: &str, record: &SessionRecord, idle: Duration) {
        let Ok(text) = serde_json::to_vec(record) else {
            return;
        };
        let key = key(id);
        let put = timeout(PATIENCE, self.values.set(&key, &text, kept(idle)));
        match put.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a session is not kept in Redis"),
            Err(_) => tracing::warn!("a session is not kept in Redis: no answer in time"),
        }
    }

    /// Keeps a session that was used for longer, once in a while.
    pub(crate) fn touch(&self, session: &Session, idle: Duration) {
        if session.is_due(Instant::now(), idle / 4) {
            // Where too many wait, the next request tries again.
            self.used.try_send(key(&session.id)).ok();
        }
    }

    /// A session that is kept. What cannot be read is none.
    ///
    /// # Errors
    /// While Redis is away.
    pub(crate) async fn get(&self, id: &str) -> Result<Option<Kept>, jobs::Error> {
        let key = key(id);
        let asked = timeout(PATIENCE, self.values.get(&key)).await;
        let text = asked.unwrap_or_else(|_| Err(silent()))?;
        Ok(text.and_then(|text| {
            let record = serde_json::from_slice(&text).ok()?;
            Some(Kept { record, text })
        }))
    }

    /// Takes a session over that another gateway had. `false` where a third one was faster.
    ///
    /// # Errors
    /// While Redis is away.
    pub(crate) async fn claim(
        &self,
        id: &str,
        before: &Kept,
        record: &SessionRecord,
        idle: Duration,
    ) -> Result<bool, jobs::Error> {
        let Ok(text) = serde_json::to_vec(record) else {
            return Ok(false);
        };
        let key = key(id);
        let replaced = self.values.replace(&key, &before.text, &text, kept(idle));
        let replaced = timeout(PATIENCE, replaced).await;
        replaced.unwrap_or_else(|_| Err(silent()))
    }

    /// Forgets a session.
    pub(crate) async fn remove(&self, id: &str) {
        let key = key(id);
        let removed = timeout(PATIENCE, self.values.remove(&key));
        if !matches!(removed.await, Ok(Ok(()))) {
            tracing::warn!("a session that ended is still kept in Redis");
        }
    }
}

fn silent() -> jobs::Error {
    jobs::Error::Unavailable {
        store: "of sessions".to_owned(),
        reason: format!("no answer within {PATIENCE:?}"),
    }
}

fn key(id: &str) -> String {
    format!("mcp:session:{id}")
}

/// A little longer than a session may be idle, since its time is renewed once in a while.
fn kept(idle: Duration) -> Duration {
    idle + idle / 2 + Duration::from_secs(5)
}
