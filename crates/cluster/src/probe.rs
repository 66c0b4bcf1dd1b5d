//! Probes silent endpoints. A stopped process still acknowledges TCP, and a long call may send
//! nothing for a while. So its health is checked on a connection of its own.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};

use crate::{Cluster, Connections, Endpoint};

/// How late a missing answer may be noticed.
const LATE: Duration = Duration::from_millis(200);

/// Probes a silent endpoint in the background, unless a probe is running.
pub(crate) fn start<C: Connections>(cluster: &Arc<Cluster<C>>, endpoint: &Arc<Endpoint<C>>) {
    if endpoint.probing.swap(true, Ordering::Relaxed) {
        return;
    }
    let (cluster, endpoint) = (Arc::clone(cluster), Arc::clone(endpoint));
    let tracker = cluster.shared.tracker.clone();
    tracker.spawn(async move {
        let gone = endpoint.gone.clone();
        gone.run_until_cancelled(probe(&cluster, &endpoint)).await;
        endpoint.probing.store(false, Ordering::Relaxed);
    });
}

/// Probes until something comes from the endpoint again, or it has no call.
async fn probe<C: Connections>(cluster: &Cluster<C>, endpoint: &Endpoint<C>) {
    let options = Arc::clone(&cluster.options());
    let mut connection = C::Probe::default();
    let mut dead_since = None;
    // The first probe has the rest of `silence` + `silence_probe`: a stopped instance gets calls no
    // longer than that.
    let late = endpoint.silent_for().saturating_sub(options.silence);
    let mut patience = options
        .silence_probe
        .saturating_sub(late)
        .max(options.silence_probe / 2);
    loop {
        let asked = Instant::now();
        let question = C::check_health(&mut connection, endpoint.connect_args());
        let answered = timeout(patience, question).await.unwrap_or(false);
        if !answered && asked.elapsed() > patience + LATE {
            // This process was too busy to notice an answer.
            continue;
        }
        patience = options.silence_probe;
        // The only instance is not ejected: its calls could go nowhere else.
        let alive = answered || is_only_endpoint(cluster, endpoint);
        let received_at = alive.then(|| endpoint.mark_received());
        if endpoint.set_silent(!alive) {
            let counts = &cluster.counts;
            counts.silent(cluster.service(), &endpoint.id(), !alive);
            cluster.rebuild(&cluster.endpoints.lock());
        }
        if answered {
            dead_since = None;
        } else if asked - *dead_since.get_or_insert(asked) >= options.tcp_user_timeout {
            // As TCP does for a peer that acknowledges nothing: otherwise calls would wait for
            // ever.
            endpoint.abort_connections();
            dead_since = None;
        }
        sleep((asked + options.silence).saturating_duration_since(Instant::now())).await;
        // It is alive, and none of its calls is as silent as before.
        if received_at.is_some_and(|at| endpoint.is_idle() || endpoint.last_received() > at) {
            return;
        }
    }
}

fn is_only_endpoint<C: Connections>(cluster: &Cluster<C>, endpoint: &Endpoint<C>) -> bool {
    let endpoints = cluster.endpoints.lock();
    endpoints
        .serving()
        .all(|other| other.number() == endpoint.number())
}
