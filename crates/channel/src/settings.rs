//! Settings that differ from service to service, and change while calls run.

use std::{collections::BTreeMap, fmt, sync::Arc};

use tokio::sync::watch;

use crate::Options;

/// What the instances of a service announce, by key: the first instance that has a key counts.
pub type Meta<'a> = BTreeMap<&'a str, &'a str>;

/// Where the settings of each service come from. Asked when a service's instances change, and when
/// [`Settings::changes`] says that an answer may be another; never for a call.
pub trait Settings: fmt::Debug + Send + Sync + 'static {
    /// The limits and times of calls to a service.
    fn options(&self, service: &str, meta: &Meta<'_>) -> Arc<Options>;

    /// Whether an instance is to get no new calls; one that is asked for by its ID still does.
    fn is_drained(&self, instance: &str) -> bool;

    /// Moves whenever answers may have changed.
    fn changes(&self) -> watch::Receiver<u64>;
}

/// The same for every service, for good.
#[derive(Debug)]
pub(crate) struct Same {
    options: Arc<Options>,
    changes: watch::Sender<u64>,
}

impl Same {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            options: Arc::new(options),
            changes: watch::channel(0).0,
        }
    }
}

impl Settings for Same {
    fn options(&self, _: &str, _: &Meta<'_>) -> Arc<Options> {
        Arc::clone(&self.options)
    }

    fn is_drained(&self, _: &str) -> bool {
        false
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
