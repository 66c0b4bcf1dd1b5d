//! What is found out about the instances of a service while they are called: who is silent, fails,
//! or cannot be connected to.

use std::sync::{Arc, Weak, atomic::Ordering};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{backoff, endpoint::Endpoint, fleet::Fleet, probe};

impl Fleet {
    /// Has [`Self::tick`] look at an endpoint until it is at rest. Told with each call's beginning.
    pub(crate) fn watch(&self, endpoint: &Arc<Endpoint>) {
        let watched = &endpoint.watched;
        if !watched.load(Ordering::SeqCst) && !watched.swap(true, Ordering::SeqCst) {
            self.watched.lock().push(Arc::clone(endpoint));
        }
    }

    /// Looks for instances that fell silent, for ejections that are over, and for connections that
    /// nobody needs, among those that have been called of late.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) {
        let mut watched = self.watched.lock();
        if watched.is_empty() {
            return;
        }
        let (silence, idle) = {
            let options = self.options.load();
            (options.silence, options.idle_timeout)
        };
        let mut readmitted = false;
        watched.retain(|endpoint| {
            readmitted |= endpoint.readmit(now);
            endpoint.close_idle(idle);
            if endpoint.silence() >= silence {
                self.probe(endpoint);
            }
            !endpoint.gone.is_cancelled() && !leaves(endpoint)
        });
        drop(watched);
        if readmitted {
            self.rebuild(&self.roster.lock());
        }
    }

    fn probe(self: &Arc<Self>, endpoint: &Arc<Endpoint>) {
        if endpoint.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (fleet, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
        self.shared().tracker.spawn(async move {
            let gone = endpoint.gone.clone();
            let watch = probe::watch(fleet, Arc::clone(&endpoint));
            gone.run_until_cancelled(watch).await;
            endpoint.probing.store(false, Ordering::Relaxed);
        });
    }

    /// A silent instance was found dead, or alive again.
    pub(crate) fn silence_changed(&self, endpoint: &Endpoint, silent: bool) {
        self.shared()
            .metrics
            .silent(&self.service, &endpoint.id(), silent);
        self.rebuild(&self.roster.lock());
    }

    /// Whether the only instance there is would be judged: then there is nothing to choose.
    pub(crate) fn is_alone(&self, endpoint: &Endpoint) -> bool {
        let roster = self.roster.lock();
        roster.serving().all(|e| e.number == endpoint.number)
    }

    /// What an attempt came to: enough failures in a row eject the instance.
    pub(crate) fn outcome(&self, endpoint: &Endpoint, failed: bool) {
        if !endpoint.outcome(failed) {
            return;
        }
        // Whoever changes the view holds the roster.
        let roster = self.roster.lock();
        let view = self.view.load();
        let allowed = view.serving * self.options.load().ejection_percent / 100;
        if endpoint.is_ejected() || view.ejected >= allowed.max(1) {
            return;
        }
        let time = endpoint.eject();
        self.shared()
            .metrics
            .ejected(&self.service, &endpoint.id(), time);
        self.rebuild(&roster);
    }

    /// An instance cannot be connected to: others take its calls while it is tried in the
    /// background, until `attempts` is cancelled.
    pub(crate) fn broke(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        reason: &str,
        attempts: CancellationToken,
    ) {
        self.shared()
            .metrics
            .unreachable(&self.service, &endpoint.id(), reason);
        self.rebuild(&self.roster.lock());
        let (fleet, weak) = (Arc::downgrade(self), Arc::downgrade(endpoint));
        self.shared().tracker.spawn(async move {
            attempts.run_until_cancelled(reconnect(fleet, weak)).await;
        });
    }
}

/// Whether an endpoint at rest is not to be looked at any more.
fn leaves(endpoint: &Endpoint) -> bool {
    if !endpoint.is_at_rest() {
        return false;
    }
    endpoint.watched.store(false, Ordering::SeqCst);
    // A call that began before that has left the endpoint to us, a later one has it watched anew.
    endpoint.is_idle() || endpoint.watched.swap(true, Ordering::SeqCst)
}

/// Connects again and again, less and less often, until it works or nobody wants it any more.
async fn reconnect(fleet: Weak<Fleet>, endpoint: Weak<Endpoint>) {
    let mut failures = 1;
    loop {
        let Some(options) = fleet.upgrade().map(|f| f.options.load_full()) else {
            return;
        };
        sleep(backoff::pause(
            failures,
            options.backoff_min,
            options.backoff_max,
        ))
        .await;
        let (Some(fleet), Some(endpoint)) = (fleet.upgrade(), endpoint.upgrade()) else {
            return;
        };
        if endpoint.reconnect().await.is_ok() {
            fleet.watch(&endpoint);
            fleet.rebuild(&fleet.roster.lock());
            return;
        }
        failures += 1;
    }
}
