//! Lists one kind of object and watches it from there, as Kubernetes' own programs do.

use std::{sync::Arc, time::Duration};

use backoff::{Backoff, Pauses};
use serde::Deserialize as _;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::{
    api_types::{Object, Status, WatchEvent},
    client::{Failure, KubernetesApi, Right, failed, unreadable},
    store::{Kind, Store},
};
use crate::backends::outage::{Outages, WatchOutage};

/// How long a watch goes on before the next, which shows whether the connection still lives.
/// Between two nothing is lost: the second goes on from the version that the first reached.
const WATCH: Duration = Duration::from_secs(60);
/// How much longer than that its connection may be silent.
const WATCH_SLACK: Duration = Duration::from_secs(10);
/// A watch or a list that ends sooner is followed by a pause, as after an error.
const SHORT: Duration = Duration::from_secs(1);
/// The longest line of a watch. Kubernetes' objects have at most 3 MiB.
const MAX_LINE: usize = 8 << 20;

/// Keeps the objects of one kind in the store up to date.
pub(super) struct Reflector {
    kind: Kind,
    api: Arc<KubernetesApi>,
    store: Arc<Store>,
    outage: WatchOutage,
    pauses: Pauses,
}

impl Reflector {
    pub(super) fn new(
        kind: Kind,
        api: Arc<KubernetesApi>,
        store: Arc<Store>,
        outages: Outages,
    ) -> Self {
        let (base, max) = (Duration::from_millis(100), Duration::from_secs(5));
        Self {
            kind,
            api,
            store,
            outage: WatchOutage::new(outages),
            pauses: Pauses::new(Backoff::equal_jitter(base, max)),
        }
    }

    /// Runs for ever.
    pub(super) async fn run(mut self) {
        loop {
            let began = Instant::now();
            match self.list_and_watch().await {
                Failure::Gone => {
                    debug!(
                        what = self.kind.what(),
                        "the version is too old: listing again"
                    );
                    self.pause_if_short(began).await;
                }
                Failure::Error(error) => {
                    self.outage.begin(self.kind.what(), &error);
                    self.store.mark_outage(self.kind);
                    self.pause().await;
                }
            }
        }
    }

    /// Lists, then watches until that fails.
    async fn list_and_watch(&mut self) -> Failure {
        let (objects, mut version) = match self.api.list(self.kind).await {
            Ok(listed) => listed,
            Err(failure) => return failure,
        };
        self.store.replace(self.kind, objects);
        self.store.publish(self.kind);
        loop {
            let began = Instant::now();
            if let Err(failure) = self.watch(&mut version).await {
                return failure;
            }
            self.pause_if_short(began).await;
        }
    }

    /// One watch. It moves the version on.
    async fn watch(&mut self, version: &mut String) -> Result<(), Failure> {
        let wait = WATCH.mul_f64(rand::random_range(0.9..1.1));
        let asked = self.api.watch(self.kind, version, wait, wait + WATCH_SLACK);
        let mut answer = asked.await?;
        self.outage.end(self.kind.what());
        let (mut lines, mut scanned) = (Vec::new(), 0);
        loop {
            let chunk = match answer.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(()),
                // Whether the API server is away is shown by the next watch.
                Err(error) => {
                    debug!(what = self.kind.what(), %error, "a watch was cut");
                    return Ok(());
                }
            };
            lines.extend_from_slice(&chunk);
            let mut taken = 0;
            while let Some(end) = lines[scanned..].iter().position(|byte| *byte == b'\n') {
                let line = &lines[taken..scanned + end];
                if !line.trim_ascii().is_empty() {
                    self.take(line, version)?;
                }
                scanned += end + 1;
                taken = scanned;
            }
            scanned = lines.len() - taken;
            if taken > 0 {
                lines.drain(..taken);
                // All that came at once is published at once.
                self.store.publish(self.kind);
            }
            if lines.len() > MAX_LINE {
                let reason = format!("a line of a watch has more than {MAX_LINE} bytes");
                return Err(failed(reason).into());
            }
        }
    }

    fn take(&self, line: &[u8], version: &mut String) -> Result<(), Failure> {
        let event: WatchEvent = serde_json::from_slice(line).map_err(|error| unreadable(&error))?;
        let deleted = match event.kind.as_str() {
            "ADDED" | "MODIFIED" => Some(false),
            "DELETED" => Some(true),
            "ERROR" => {
                let status =
                    Status::deserialize(event.object).map_err(|error| unreadable(&error))?;
                let right = Right::Read(self.kind);
                return Err(self.api.failure(status.code, &status.message, right));
            }
            // A bookmark says only how far the watch has come.
            _ => None,
        };
        if let Ok(Object { metadata }) = Object::deserialize(&event.object)
            && !metadata.resource_version.is_empty()
        {
            *version = metadata.resource_version;
        }
        if let Some(deleted) = deleted {
            self.store.change(self.kind, deleted, event.object);
        }
        Ok(())
    }

    async fn pause_if_short(&mut self, began: Instant) {
        if began.elapsed() < SHORT {
            self.pause().await;
        } else {
            self.pauses.reset();
        }
    }

    async fn pause(&mut self) {
        let pause = self.pauses.after_failure(&mut rand::rng());
        sleep(pause).await;
    }
}
