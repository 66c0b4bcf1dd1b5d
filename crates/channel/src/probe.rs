//! Whether a silent instance lives. A stopped process still acknowledges TCP, and a long call may
//! rightly say nothing: so its health is asked, on a connection of its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout};

use crate::{cluster::Cluster, connection::Connection, endpoint::Endpoint, replay::Replay};

/// Watches one silent instance until it is heard again, idle, or gone from the registry.
pub(crate) async fn watch(cluster: Arc<Cluster>, endpoint: Arc<Endpoint>) {
    let options = cluster.options.load_full();
    let mut connection = None;
    let mut dead_since = None;
    // The first question has what is left of `silence` + `silence_probe`: nobody is sent to a
    // stopped instance for longer than the two together.
    let late = endpoint.silent_for().saturating_sub(options.silence);
    let mut patience = options
        .silence_probe
        .saturating_sub(late)
        .max(options.silence_probe / 2);
    loop {
        let asked = Instant::now();
        let answered = timeout(patience, ask(&endpoint, &mut connection))
            .await
            .unwrap_or(false);
        if !answered && asked.elapsed() > patience + LATE {
            // It was this process that had no time.
            continue;
        }
        patience = options.silence_probe;
        // A verdict on the only instance could only keep calls from where they have to go.
        let alive = answered || cluster.is_only_endpoint(&endpoint);
        let received_at = alive.then(|| endpoint.mark_received());
        if endpoint.set_silent(!alive) {
            cluster.silence_changed(&endpoint, !alive);
        }
        if answered {
            dead_since = None;
        } else if asked - *dead_since.get_or_insert(asked) >= options.tcp_user_timeout {
            // As TCP gives up a peer that acknowledges nothing: calls would wait for ever.
            endpoint.abort_connections();
            dead_since = None;
        }
        sleep((asked + options.silence).saturating_duration_since(Instant::now())).await;
        // Alive, and no call of it is as silent as before.
        if received_at.is_some_and(|at| endpoint.is_idle() || endpoint.last_received() > at) {
            return;
        }
    }
}

/// Any answer at all is life, `UNIMPLEMENTED` too.
async fn ask(endpoint: &Endpoint, connection: &mut Option<Arc<Connection>>) -> bool {
    let open = match connection.take().filter(|c| !c.is_closed()) {
        Some(open) => open,
        None => match endpoint.dial().await {
            Ok(open) => open,
            Err(_) => return false,
        },
    };
    let Some(permit) = open.reserve() else {
        return false;
    };
    // An empty HealthCheckRequest: the health of the whole server.
    let body = Replay::new(
        tonic::body::Body::new(Full::new(Bytes::from_static(&[0; 5]))),
        0,
    );
    let request = http::Request::post("http://health/grpc.health.v1.Health/Check")
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(body.attempt(1))
        .expect("the request is well formed");
    let alive = match permit.send(request).await {
        Ok(_) => true,
        Err(failure) => failure.reset,
    };
    *connection = Some(open);
    alive
}

/// How much later than it was due a question may be found unanswered.
const LATE: Duration = Duration::from_millis(200);

/// How often busy instances are looked at.
pub(crate) const TICK: Duration = Duration::from_millis(50);
