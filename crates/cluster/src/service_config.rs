//! Limits and timeouts of each service, which may change while calls run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tokio::sync::watch;

use crate::ClusterOptions;

/// The Meta of a service's instances by key. The first instance that has a key counts.
pub type Meta<'a> = BTreeMap<&'a str, &'a str>;

/// The source of each service's settings. It is read when a service's instances change and after
/// [`ServiceConfig::changes`], never for a call.
pub trait ServiceConfig: fmt::Debug + Send + Sync + 'static {
    /// The limits and timeouts of calls to a service.
    fn options(&self, service: &str, meta: &Meta<'_>) -> Arc<ClusterOptions>;

    /// IDs of drained instances. They get only calls that ask for them by ID.
    fn drained(&self) -> Arc<BTreeSet<String>>;

    /// Changes whenever settings may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The same settings for every service, which never change.
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
