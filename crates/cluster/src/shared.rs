//! What the clusters of one process share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Clock, ClusterOptions, ServiceConfig};

/// The clock, the service configuration and the tasks.
#[derive(Debug)]
pub struct Shared {
    /// The source of each service's options.
    pub service_config: Arc<dyn ServiceConfig>,
    /// The clock of loads and of silence.
    pub clock: Clock,
    /// Owns the tasks of all clusters.
    pub tracker: TaskTracker,
    /// Ends those tasks.
    pub shutdown: CancellationToken,
    hedging: AtomicBool,
}

impl Shared {
    /// With this source of options.
    #[must_use]
    pub fn new(service_config: Arc<dyn ServiceConfig>) -> Self {
        Self {
            service_config,
            clock: Clock::start(),
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            hedging: AtomicBool::new(false),
        }
    }

    /// Whether any service ever had hedging: known without looking a service up.
    #[must_use]
    pub fn hedging(&self) -> bool {
        self.hedging.load(Ordering::Relaxed)
    }

    pub(crate) fn note_hedging(&self, options: &ClusterOptions) {
        if !options.hedge_delay.is_zero() {
            self.hedging.store(true, Ordering::Relaxed);
        }
    }
}
