//! What the services of one mesh share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use discovery::Discovery;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ClusterOptions, ServiceConfig};

/// A time that was read once for many calls of one mesh: see [`crate::Mesh::timestamp`].
#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    pub(crate) instant: Instant,
    /// On the mesh's clock.
    pub(crate) at: Duration,
}

impl Timestamp {
    /// How much later it is than another, which came before.
    #[must_use]
    pub fn since(self, before: Self) -> Duration {
        self.at.saturating_sub(before.at)
    }
}

/// The clock, the settings, the tasks and the metrics of a mesh.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What belongs to no service.
    pub(crate) options: ClusterOptions,
    pub(crate) service_config: Arc<dyn ServiceConfig>,
    pub(crate) discovery: Arc<dyn Discovery>,
    pub(crate) tracker: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) metrics: crate::ClusterMetrics,
    /// Some service hedges its calls.
    pub(crate) hedging: AtomicBool,
    epoch: Instant,
}

impl Shared {
    pub(crate) fn new(
        options: ClusterOptions,
        service_config: Arc<dyn ServiceConfig>,
        discovery: Arc<dyn Discovery>,
        metrics: crate::ClusterMetrics,
    ) -> Self {
        Self {
            options,
            service_config,
            discovery,
            metrics,
            tracker: TaskTracker::new(),
            shutdown: CancellationToken::new(),
            hedging: AtomicBool::new(false),
            epoch: Instant::now(),
        }
    }

    /// A service has these options: whether any hedges is known without looking it up.
    pub(crate) fn note_hedging(&self, options: &ClusterOptions) {
        if !options.hedge_delay.is_zero() {
            self.hedging.store(true, Ordering::Relaxed);
        }
    }

    /// Time since this mesh was made: the clock of loads and silences.
    pub(crate) fn now(&self) -> Duration {
        self.timestamp(Instant::now()).at
    }

    /// The same, for who has read the time already.
    pub(crate) fn timestamp(&self, now: Instant) -> Timestamp {
        Timestamp {
            instant: now,
            at: now.saturating_duration_since(self.epoch),
        }
    }
}
