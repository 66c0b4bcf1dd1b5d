//! Outlier ejection: an endpoint that fails, is silent or cannot be connected to gets no calls for
//! a while.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use backoff::Backoff;
use tokio::time::{Instant, sleep};

use crate::{Cluster, Connections, Endpoint, probe};

/// The jitter of the pause between two connects.
const JITTER: f64 = 0.2;

impl<C: Connections> Cluster<C> {
    /// Begins a call on an endpoint at a time on the clock. It lasts until [`Endpoint::end`]. False
    /// when the endpoint already has `max_in_flight`.
    pub fn begin(&self, endpoint: &Arc<Endpoint<C>>, now: Duration) -> bool {
        let begun = endpoint.begin(now);
        if begun {
            self.track(endpoint);
        }
        begun
    }

    /// Lets [`Self::tick`] check an endpoint until it is unused. Every call does this as it begins.
    pub fn track(&self, endpoint: &Arc<Endpoint<C>>) {
        let tracked = &endpoint.tracked;
        if !tracked.load(Ordering::SeqCst) && !tracked.swap(true, Ordering::SeqCst) {
            self.tracked.lock().push(Arc::clone(endpoint));
        }
    }

    /// Checks the endpoints that were called recently: probes silent ones, ends ejections that are
    /// over, and closes idle connections.
    pub fn tick(self: &Arc<Self>, now: Instant) {
        let mut tracked = self.tracked.lock();
        if tracked.is_empty() {
            return;
        }
        let (silence, idle) = {
            let options = self.options();
            (options.silence, options.idle_timeout)
        };
        let mut readmitted = false;
        tracked.retain(|endpoint| {
            readmitted |= endpoint.readmit(now);
            endpoint.close_idle(idle);
            if endpoint.silent_for() >= silence {
                probe::start(self, endpoint);
            }
            !endpoint.gone.is_cancelled() && !leaves(endpoint)
        });
        drop(tracked);
        if readmitted {
            self.rebuild(&self.endpoints.lock());
        }
    }

    /// Records the outcome of an attempt. Enough failures in a row eject the endpoint.
    pub fn record_outcome(&self, endpoint: &Endpoint<C>, failed: bool) {
        if !endpoint.record_outcome(failed) {
            return;
        }
        // The snapshot changes only while the endpoints are locked.
        let endpoints = self.endpoints.lock();
        let snapshot = self.snapshot();
        let allowed = snapshot.serving * self.options().ejection_percent / 100;
        if endpoint.is_ejected() || snapshot.ejected >= allowed.max(1) {
            return;
        }
        let time = endpoint.eject();
        let counts = &self.counts;
        counts.ejected(self.service(), &endpoint.id(), time);
        self.rebuild(&endpoints);
    }

    /// Marks an endpoint that cannot be connected to. Others take its calls while the connect is
    /// retried in the background.
    pub fn mark_unreachable(self: &Arc<Self>, endpoint: &Arc<Endpoint<C>>, reason: &str) {
        let Some(attempts) = endpoint.mark_unreachable(reason) else {
            return;
        };
        let counts = &self.counts;
        counts.unreachable(self.service(), &endpoint.id(), reason);
        self.rebuild(&self.endpoints.lock());
        let reconnect = reconnect(Arc::downgrade(self), Arc::downgrade(endpoint));
        self.shared.tracker.spawn(async move {
            attempts.run_until_cancelled(reconnect).await;
        });
    }
}

/// Whether an unused endpoint needs no further checks.
fn leaves<C: Connections>(endpoint: &Endpoint<C>) -> bool {
    if !endpoint.is_unused() {
        return false;
    }
    endpoint.tracked.store(false, Ordering::SeqCst);
    // A call that began before this relies on us to track it; a later one tracks it itself.
    endpoint.is_idle() || endpoint.tracked.swap(true, Ordering::SeqCst)
}

/// Retries the connect with backoff, until it works or the endpoint is gone.
async fn reconnect<C: Connections>(cluster: Weak<Cluster<C>>, endpoint: Weak<Endpoint<C>>) {
    let mut failures = 1;
    loop {
        let pause = {
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            let options = cluster.options();
            Backoff::new(options.backoff_min, options.backoff_max, JITTER)
                .after(failures, &mut rand::rng())
        };
        sleep(pause).await;
        let (Some(cluster), Some(endpoint)) = (cluster.upgrade(), endpoint.upgrade()) else {
            return;
        };
        if endpoint.reconnect().await.is_ok() {
            cluster.track(&endpoint);
            cluster.rebuild(&cluster.endpoints.lock());
            return;
        }
        failures += 1;
    }
}
