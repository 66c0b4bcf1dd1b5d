//! Connections, which end with the registry.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Most connections at one time. A program of the mesh needs up to a hundred.
const MAX_CONNECTIONS: usize = 4096;
/// Longest wait for the next request of a connection: longer than clients keep idle connections.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time for requests to end when the registry stops.
const GRACE: Duration = Duration::from_secs(1);
/// Pause after a failed accept: the process may have no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is stopped. Dropping it cuts every connection.
pub(crate) async fn run(listener: TcpListener, app: Router, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                // A connection over the limit is closed at once, as Consul does.
                Ok((stream, _)) if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(stream, app.clone(), stop.clone()));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "the registry cannot accept a connection");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, ended).await.is_err() {
        tracing::debug!("the registry cuts requests that have not ended");
    }
}

async fn serve(stream: TcpStream, app: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the registry ended");
    }
}
