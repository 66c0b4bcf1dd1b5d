//! Keeps an eye on the store of jobs: whether it can be read and written, and what may go wrong.

use std::{sync::Arc, time::Duration};

use jobs::{Error, Jobs, StoreHealth, StoreUsage};
use service::{Context, Severity};
use telemetry::{FloatGauge, Gauge};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

/// How often the store is checked without a request.
const INTERVAL: Duration = Duration::from_secs(2);
/// How long the store may take to answer before it counts as unavailable.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The subject of the notes.
const SUBJECT: &str = "queue";

telemetry::metrics! {
    struct StoreMetrics {
        up: Gauge = "mesh_store_up": "Whether the job store can be read and written: 1 or 0";
        memory: FloatGauge = "mesh_store_memory_bytes":
            "Memory that the job store uses, on the disk where it is kept there; of several servers the fullest";
        memory_limit: FloatGauge = "mesh_store_memory_limit_bytes": "Memory that it may use, if there is a limit";
        clients: FloatGauge = "mesh_store_clients": "Clients that are connected to the job store";
        clients_limit: FloatGauge = "mesh_store_clients_limit": "Clients that may be connected to it";
    }
}

impl StoreMetrics {
    /// `None` when it does not work: nothing else is known then.
    fn set(&self, usage: Option<&StoreUsage>) {
        self.up.set(i64::from(usage.is_some()));
        let set = |gauge: &FloatGauge, number: fn(&StoreUsage) -> Option<u64>| {
            let number = usage.and_then(number);
            gauge.set(number.map_or(f64::NAN, |number| number as f64));
        };
        set(&self.memory, |usage| usage.memory);
        set(&self.memory_limit, |usage| usage.memory_limit);
        set(&self.clients, |usage| usage.clients);
        set(&self.clients_limit, |usage| usage.clients_limit);
    }
}

/// Looks at the store, for a program's health.
#[derive(Debug)]
pub struct StoreMonitor {
    jobs: Jobs,
    /// When the latest look began, and what was seen.
    latest: Mutex<Option<(Instant, Result<StoreHealth, Error>)>>,
}

impl StoreMonitor {
    /// Looks at the store now and then for as long as the program runs, and notes what it finds for
    /// `/readyz` and `/health`. The weight is that of a store that does not work.
    #[must_use]
    pub fn start(context: &Context, jobs: &Jobs, weight: Severity) -> Arc<Self> {
        let monitor = Arc::new(Self {
            jobs: jobs.clone(),
            latest: Mutex::default(),
        });
        let (watching, conditions) = (Arc::clone(&monitor), context.conditions.clone());
        let metrics = StoreMetrics::new(&context.registry);
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            let watch = async {
                loop {
                    let seen = timeout(TIMEOUT, watching.check()).await;
                    let usage = seen.as_ref().ok().and_then(|seen| seen.as_ref().ok());
                    metrics.set(usage.map(|health| &health.usage));
                    let note = match seen {
                        Ok(Ok(vitals)) if vitals.warnings.is_empty() => None,
                        Ok(Ok(vitals)) => Some((Severity::Warning, vitals.warnings.join("; "))),
                        Ok(Err(error)) => Some((weight, error.to_string())),
                        Err(_) => Some((weight, format!("no answer within {TIMEOUT:?}"))),
                    };
                    conditions.set(SUBJECT, note);
                    sleep(INTERVAL).await;
                }
            };
            shutdown.run_until_cancelled(watch).await;
        });
        monitor
    }

    /// How the store is now; one look does for all who ask while it is waited for.
    ///
    /// # Errors
    /// What [`Jobs::check`] says.
    pub async fn check(&self) -> Result<StoreHealth, Error> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some((began, seen)) = &*latest
            && *began >= asked
        {
            return seen.clone();
        }
        let began = Instant::now();
        let seen = self.jobs.check().await;
        *latest = Some((began, seen.clone()));
        seen
    }
}
