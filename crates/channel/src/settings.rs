//! Settings that differ from service to service, and change while calls run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use tokio::sync::watch;

use crate::Options;

/// What the instances of a service announce, by key: the first instance that has a key counts.
pub type Meta<'a> = BTreeMap<&'a str, &'a str>;

/// Where the settings of each service come from. Asked when a service's instances change, and when
/// [`Settings::changes`] says that an answer may be another; never for a call.
pub trait Settings: fmt::Debug + Send + Sync + 'static {
    /// The limits and times of calls to a service.
    fn options(&self, service: &str, meta: &Meta<'_>) -> Arc<Options>;

    /// IDs of instances that are to get no new calls; one that is asked for by its ID still does.
    fn drained(&self) -> Arc<BTreeSet<String>>;

    /// Moves whenever answers may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The same for every service, for good.
#[derive(Debug)]
pub(crate) struct Same {
    options: Arc<Options>,
    drained: Arc<BTreeSet<String>>,
    changes: watch::Sender<u64>,
}

impl Same {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            drained: Arc::default(),
            changes: watch::channel(0).0,
        }
    }
}

impl Settings for Same {
    fn options(&self, _: &str, _: &Meta<'_>) -> Arc<Options> {
        Arc::clone(&self.options)
    }

    fn drained(&self) -> Arc<BTreeSet<String>> {
        Arc::clone(&self.drained)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
