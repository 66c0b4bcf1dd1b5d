//! Says in `/health` and `/readyz` that the store of workflows is away, from the first request that
//! meets it until the store works again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use runs::RunStore;
use service::{Context, Severity};
use tokio::time::{sleep, timeout};

/// How often the store is looked at meanwhile, and how long that may take.
const LOOK: Duration = Duration::from_secs(1);
/// What the condition is about.
const SUBJECT: &str = "runs";

/// Watches the store while it is away.
#[derive(Debug)]
pub(crate) struct Outage {
    context: Context,
    store: Arc<dyn RunStore>,
    /// `false` where no store is configured: there is nothing to wait for.
    has_store: bool,
    is_away: Arc<AtomicBool>,
}

impl Outage {
    pub(crate) fn new(context: &Context, store: Arc<dyn RunStore>) -> Self {
        let address = work::RunKeys::from_config(&context.config).address();
        Self {
            context: context.clone(),
            store,
            has_store: address.is_some(),
            is_away: Arc::default(),
        }
    }

    /// A request has met it.
    pub(crate) fn met(&self, reason: &str) {
        if !self.has_store || self.is_away.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(reason, "the store of workflows is away");
        let conditions = self.context.conditions.clone();
        // Jobs and calls work without it.
        conditions.set(SUBJECT, Some((Severity::Degraded, reason.to_owned())));
        let (store, is_away) = (self.store.clone(), self.is_away.clone());
        let shutdown = self.context.shutdown.clone();
        self.context.tracker.spawn(async move {
            let looking = async {
                loop {
                    sleep(LOOK).await;
                    if matches!(timeout(LOOK, store.check()).await, Ok(Ok(()))) {
                        break;
                    }
                }
            };
            if shutdown.run_until_cancelled(looking).await.is_some() {
                tracing::info!("the store of workflows works again");
            }
            conditions.set(SUBJECT, None);
            is_away.store(false, Ordering::Release);
        });
    }
}
