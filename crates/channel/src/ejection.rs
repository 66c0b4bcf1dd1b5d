//! What is found out about the instances of a service while they are called: who is silent, fails,
//! or cannot be connected to.

use std::sync::{Arc, Weak, atomic::Ordering};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{backoff, cluster::Cluster, endpoint::Endpoint, probe};

impl Cluster {
    /// Has [`Self::tick`] look at an endpoint until it is at rest. Told with each call's beginning.
    pub(crate) fn track(&self, endpoint: &Arc<Endpoint>) {
        let tracked = &endpoint.tracked;
        if !tracked.load(Ordering::SeqCst) && !tracked.swap(true, Ordering::SeqCst) {
            self.tracked.lock().push(Arc::clone(endpoint));
        }
    }

    /// Looks for instances that fell silent, for ejections that are over, and for connections that
    /// nobody needs, among those that have been called of late.
    pub(crate) fn tick(self: &Arc<Self>, now: Instant) {
        let mut tracked = self.tracked.lock();
        if tracked.is_empty() {
            return;
        }
        let (silence, idle) = {
            let options = self.options.load();
            (options.silence, options.idle_timeout)
        };
        let mut readmitted = false;
        tracked.retain(|endpoint| {
            readmitted |= endpoint.readmit(now);
            endpoint.close_idle(idle);
            if endpoint.silent_for() >= silence {
                self.probe(endpoint);
            }
            !endpoint.gone.is_cancelled() && !leaves(endpoint)
        });
        drop(tracked);
        if readmitted {
            self.rebuild(&self.endpoints.lock());
        }
    }

    fn probe(self: &Arc<Self>, endpoint: &Arc<Endpoint>) {
        if endpoint.probing.swap(true, Ordering::Relaxed) {
            return;
        }
        let (cluster, endpoint) = (Arc::clone(self), Arc::clone(endpoint));
        self.shared().tracker.spawn(async move {
            let gone = endpoint.gone.clone();
            let watch = probe::watch(cluster, Arc::clone(&endpoint));
            gone.run_until_cancelled(watch).await;
            endpoint.probing.store(false, Ordering::Relaxed);
        });
    }

    /// A silent instance was found dead, or alive again.
    pub(crate) fn silence_changed(&self, endpoint: &Endpoint, silent: bool) {
        self.shared()
            .metrics
            .silent(&self.service, &endpoint.id(), silent);
        self.rebuild(&self.endpoints.lock());
    }

    /// Whether the only instance there is would be judged: then there is nothing to choose.
    pub(crate) fn is_only_endpoint(&self, endpoint: &Endpoint) -> bool {
        let endpoints = self.endpoints.lock();
        endpoints.serving().all(|e| e.number == endpoint.number)
    }

    /// What an attempt came to: enough failures in a row eject the instance.
    pub(crate) fn outcome(&self, endpoint: &Endpoint, failed: bool) {
        if !endpoint.outcome(failed) {
            return;
        }
        // Whoever changes the snapshot holds the endpoints.
        let endpoints = self.endpoints.lock();
        let snapshot = self.snapshot.load();
        let allowed = snapshot.serving * self.options.load().ejection_percent / 100;
        if endpoint.is_ejected() || snapshot.ejected >= allowed.max(1) {
            return;
        }
        let time = endpoint.eject();
        self.shared()
            .metrics
            .ejected(&self.service, &endpoint.id(), time);
        self.rebuild(&endpoints);
    }

    /// An instance cannot be connected to: others take its calls while it is tried in the
    /// background, until `attempts` is cancelled.
    pub(crate) fn connection_failed(
        self: &Arc<Self>,
        endpoint: &Arc<Endpoint>,
        reason: &str,
        attempts: CancellationToken,
    ) {
        self.shared()
            .metrics
            .unreachable(&self.service, &endpoint.id(), reason);
        self.rebuild(&self.endpoints.lock());
        let (cluster, weak) = (Arc::downgrade(self), Arc::downgrade(endpoint));
        self.shared().tracker.spawn(async move {
            attempts.run_until_cancelled(reconnect(cluster, weak)).await;
        });
    }
}

/// Whether an endpoint at rest is not to be looked at any more.
fn leaves(endpoint: &Endpoint) -> bool {
    if !endpoint.is_unused() {
        return false;
    }
    endpoint.tracked.store(false, Ordering::SeqCst);
    // A call that began before that has left the endpoint to us, a later one has it tracked anew.
    endpoint.is_idle() || endpoint.tracked.swap(true, Ordering::SeqCst)
}

/// Connects again and again, less and less often, until it works or nobody wants it any more.
async fn reconnect(cluster: Weak<Cluster>, endpoint: Weak<Endpoint>) {
    let mut failures = 1;
    loop {
        let Some(options) = cluster.upgrade().map(|f| f.options.load_full()) else {
            return;
        };
        sleep(backoff::pause(
            failures,
            options.backoff_min,
            options.backoff_max,
        ))
        .await;
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
