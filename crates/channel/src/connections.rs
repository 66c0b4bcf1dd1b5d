//! The HTTP/2 connections to one endpoint.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use cluster::{ConnectArgs, Connections};
use http_body_util::Full;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::{
    connection::{Connection, StreamPermit},
    dial::dial,
    replay::Replay,
};

/// One service whose endpoints are called over HTTP/2.
pub(crate) type Cluster = cluster::Cluster<Http2Connections>;
/// One of its endpoints.
pub(crate) type Endpoint = cluster::Endpoint<Http2Connections>;

/// Those that carry calls.
#[derive(Default)]
pub(crate) struct Http2Connections(Mutex<Vec<Arc<Connection>>>);

impl Http2Connections {
    /// A permit on the first open connection that has one. Filling one connection before the next
    /// costs fewer system calls than spreading over many.
    pub(crate) fn reserve(&self) -> Option<StreamPermit> {
        let mut connections = self.0.lock();
        let permit = connections.iter().find_map(Connection::reserve);
        if permit.is_none() {
            connections.retain(|connection| !connection.is_closed());
        }
        permit
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// A permit on a new one.
    pub(crate) async fn connect(&self, args: ConnectArgs) -> Result<StreamPermit, String> {
        let connection = connect(args).await?;
        let permit = connection.reserve().ok_or("it was closed at once")?;
        self.0.lock().push(connection);
        Ok(permit)
    }
}

impl Connections for Http2Connections {
    type Probe = Option<Arc<Connection>>;

    fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn clear(&self) {
        self.0.lock().clear();
    }

    async fn open(&self, args: ConnectArgs) -> Result<(), String> {
        self.connect(args).await.map(drop)
    }

    /// Any answer shows life, even `UNIMPLEMENTED`.
    async fn check_health(probe: &mut Self::Probe, args: ConnectArgs) -> bool {
        let open = match probe.take().filter(|c| !c.is_closed()) {
            Some(open) => open,
            None => match connect(args).await {
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
        *probe = Some(open);
        alive
    }
}

/// Opens a connection, within `connect_timeout`.
async fn connect(args: ConnectArgs) -> Result<Arc<Connection>, String> {
    let ConnectArgs {
        authority,
        options,
        tracker,
        aborted,
    } = args;
    let limit = options.connect_timeout;
    let connected = AtomicBool::new(false);
    let connecting = async {
        let stream = dial(&authority, &options).await?;
        connected.store(true, Ordering::Relaxed);
        Connection::handshake(stream, &tracker, aborted).await
    };
    match timeout(limit, connecting).await {
        Ok(outcome) => outcome.map_err(|error| format!("{authority}: {error}")),
        Err(_) => {
            let what = match connected.load(Ordering::Relaxed) {
                true => "it took the connection, and sent no SETTINGS",
                false => "no connection",
            };
            Err(format!("{authority}: {what} within {limit:?}"))
        }
    }
}
