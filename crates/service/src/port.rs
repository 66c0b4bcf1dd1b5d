//! A port: accepts connections within the limits of its clients, and runs each to its end.
//!
//! Every port of every program is one of these, except the router's gRPC port: the relay serves
//! that with the same limits. A connection passes [`Port::accept`], the guard of `connection.rs`,
//! HTTP/1.1 or HTTP/2 in [`Port::run`], and then the port's service.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clients::{ClientConnection, Clients},
    connection::{
        ConnectionMonitor, ConnectionService, HttpConnection, Lifetime, Protocols, drive, reject,
        stalled_streams::StreamExecutor,
    },
    limits::ConnectionLimits,
    socket,
};

/// The smallest buffer that hyper takes for a head of HTTP/1, bytes.
const MIN_HEAD_BYTES: usize = 8192;

/// A port and all its connections. Clones are the same port.
#[derive(Clone, Debug)]
pub(crate) struct Port {
    pub(crate) limits: ConnectionLimits,
    clients: Arc<Clients>,
    tasks: TaskTracker,
    drain: CancellationToken,
    abort: CancellationToken,
}

/// The HTTP options of a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpOptions {
    /// Bytes of a head that are read.
    pub(crate) header_bytes: u32,
    /// How long an answer may wait for its client to read it; zero is no limit.
    pub(crate) unread: Duration,
}

/// An accepted connection.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) client: ClientConnection,
}

impl Port {
    /// A port that drains when `drain` is cancelled, and closes at once when `abort` is.
    pub(crate) fn new(
        limits: ConnectionLimits,
        clients: Arc<Clients>,
        tasks: TaskTracker,
        drain: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        Self {
            limits,
            clients,
            tasks,
            drain,
            abort,
        }
    }

    /// Another port of the same listener: its clients are counted apart.
    pub(crate) fn another(&self) -> Self {
        Self {
            clients: self.clients.for_other_port(),
            ..self.clone()
        }
    }

    /// A port with the same limits that another listener owns and drains.
    pub(crate) fn with_owner(
        &self,
        tasks: TaskTracker,
        drain: CancellationToken,
        abort: CancellationToken,
    ) -> Self {
        Self::new(
            self.limits,
            self.clients.for_other_port(),
            tasks,
            drain,
            abort,
        )
    }

    pub(crate) const fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Accepts connections until the drain, and runs `serve` for each.
    pub(crate) fn accept<F>(
        &self,
        listener: TcpListener,
        serve: impl Fn(Accepted) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let port = self.clone();
        self.tasks.spawn(async move {
            let accepted = || port.drain.run_until_cancelled(socket::accept(&listener));
            while let Some((stream, peer)) = accepted().await {
                match port.clients.connect(peer) {
                    Ok(client) => {
                        let accepted = Accepted {
                            stream,
                            peer,
                            client,
                        };
                        port.tasks.spawn(serve(accepted));
                    }
                    Err(exceeded) => {
                        tracing::debug!(%peer, key = exceeded.0, "rejected");
                        port.tasks.spawn(reject(stream, exceeded));
                    }
                }
            }
        });
    }

    /// Runs one connection to its end. One without a monitor is in-process, and has no maximum age.
    ///
    /// What it is made of is no part of the future: a program may have many idle connections.
    pub(crate) fn run<I, S>(
        self,
        stream: I,
        monitor: Option<ConnectionMonitor>,
        options: HttpOptions,
        service: S,
    ) -> impl Future<Output = ()> + Send
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: ConnectionService,
    {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .max_buf_size((options.header_bytes as usize).max(MIN_HEAD_BYTES))
            // The monitor tells a slow head from an idle connection.
            .header_read_timeout(None);
        let mut http2 = http2::Builder::new(StreamExecutor {
            tasks: self.tasks.clone(),
            timeout: options.unread,
        });
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(options.header_bytes)
            // The guard counts the calls that are reset.
            .max_local_error_reset_streams(None)
            .max_pending_accept_reset_streams(usize::try_from(self.limits.streams).ok());
        let ages = monitor.is_some();
        let age = |time: Duration| if ages { time } else { Duration::ZERO };
        let lifetime = Lifetime {
            age: age(self.limits.max_age),
            grace: age(self.limits.max_age_grace),
            drain: self.drain,
            abort: self.abort,
        };
        let connection = HttpConnection::new(stream, Protocols { http1, http2 }, service);
        drive(connection, HttpConnection::finish, monitor, lifetime)
    }

    /// Runs a task that the drain waits for.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits for something unless the drain comes first.
    pub(crate) async fn until_drain<F: Future>(&self, future: F) -> Option<F::Output> {
        self.drain.run_until_cancelled(future).await
    }

    /// Stops accepting, and tells every client to use another connection.
    pub(crate) fn begin_drain(&self) {
        self.drain.cancel();
        self.tasks.close();
    }

    /// Whether all connections are closed within a time.
    pub(crate) async fn closed_within(&self, limit: Duration) -> bool {
        timeout(limit, self.tasks.wait()).await.is_ok()
    }

    /// Closes the remaining connections, and returns how many tasks they had.
    pub(crate) async fn abort(&self) -> usize {
        let running = self.tasks.len();
        self.abort.cancel();
        self.tasks.wait().await;
        running
    }

    /// Stops at once, without waiting.
    pub(crate) fn stop(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }
}
