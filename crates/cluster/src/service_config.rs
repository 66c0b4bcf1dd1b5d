//! Limits and times that differ from service to service, and change while calls run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tokio::sync::watch;

use crate::ClusterOptions;

/// What the instances of a service announce, by key: the first instance that has a key counts.
pub type Meta<'a> = BTreeMap<&'a str, &'a str>;

/// Where the settings of each service come from. Asked when a service's instances change, and when
/// [`ServiceConfig::changes`] says that an answer may be another; never for a call.
pub trait ServiceConfig: fmt::Debug + Send + Sync + 'static {
    /// The limits and times of calls to a service.
    fn options(&self, service: &str, meta: &Meta<'_>) -> Arc<ClusterOptions>;

    /// IDs of instances that are to get no new calls; one that is asked for by its ID still does.
    fn drained(&self) -> Arc<BTreeSet<String>>;

    /// Moves whenever answers may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The same for every service, for good.
#[derive(Debug)]
pub struct FixedServiceConfig {
    options: Arc<ClusterOptions>,
    drained: Arc<BTreeSet<String>>,
    changes: watch::Sender<u64>,
}

impl FixedServiceConfig {
    /// These options for every service.
    #[must_use]
    pub fn new(options: ClusterOptions) -> Self {
        Self {
            options: Arc::new(options),
            drained: Arc::default(),
            changes: watch::channel(0).0,
        }
    }
}

impl ServiceConfig for FixedServiceConfig {
    fn options(&self, _: &str, _: &Meta<'_>) -> Arc<ClusterOptions> {
        Arc::clone(&self.options)
    }

    fn drained(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.drained)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
