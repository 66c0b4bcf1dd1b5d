//! A call's place on an instance, for a carrier with connections of its own: the router's relay
//! engine. The carrier moves the bytes; who takes the call, and what its end says of the instance,
//! is decided here as for [`Mesh::call`].
//!
//! The carrier says what time it is: it reads the clock once for many calls.

use std::{
    future::ready,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use discovery::Instance;
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout_at},
};
use tonic::Code;

use crate::{
    CallAffinity, Error, Mesh, Target, Timestamp,
    candidates::Candidates,
    cluster::Cluster,
    dial::dial,
    endpoint::Endpoint,
    http_status::is_failure,
    retry::{self, Retry},
};

/// An instance that a carrier connects to. Clones are the same.
#[derive(Clone)]
pub struct Peer {
    cluster: Arc<Cluster>,
    endpoint: Arc<Endpoint>,
}

/// A call in flight on an instance: counted until dropped.
#[derive(Debug)]
pub struct CallAttempt {
    peer: Peer,
    /// On the mesh's clock.
    sent: Duration,
}

/// What a carrier knows of a call when it asks for another attempt.
#[derive(Clone, Copy, Debug)]
pub struct RetryRequest<'a> {
    /// How many attempts there were, from 1.
    pub number: usize,
    /// Whether all of the request is still there.
    pub repeatable: bool,
    /// `pkg.Service/Method`.
    pub method: &'a str,
    /// Whether the caller declared it safe to run twice.
    pub declared: bool,
}

/// Gives every endpoint that a carrier connects to a number of its own.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// The next number, never 0.
pub(crate) fn number() -> u64 {
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

impl Mesh {
    /// Someone who can take a call at once. Instances in `tried` are avoided while another can; the
    /// policy may let the call follow others of its `affinity`.
    ///
    /// # Errors
    /// As [`Mesh::call`]; when [`Error::is_transient`], [`Mesh::pick_or_wait`] may find someone.
    pub fn pick(
        &self,
        target: &Target,
        tried: &[Peer],
        affinity: &mut CallAffinity,
        now: Timestamp,
    ) -> Result<CallAttempt, Error> {
        let cluster = self.cluster(&target.service);
        if tried.is_empty() {
            cluster.budget().deposit(now.at);
        }
        let mut candidates = candidates(&cluster, target, tried, now.instant, now.at)?;
        candidates.apply_affinity(affinity);
        let attempt = pick_now(&cluster, &mut candidates, now.instant, now.at)?;
        candidates.record_affinity(affinity);
        Ok(attempt)
    }

    /// The same, waiting for `queue_timeout` while nobody can.
    ///
    /// # Errors
    /// As [`Mesh::call`].
    pub async fn pick_or_wait(
        &self,
        target: &Target,
        tried: &[Peer],
    ) -> Result<CallAttempt, Error> {
        let began = Instant::now();
        let cluster = self.cluster(&target.service);
        let attempt = || {
            let now = cluster.shared().now();
            let mut candidates = candidates(&cluster, target, tried, began, now)?;
            pick_now(&cluster, &mut candidates, began, now)
        };
        cluster.queue(target, began, || ready(attempt())).await
    }
}

fn candidates(
    cluster: &Cluster,
    target: &Target,
    tried: &[Peer],
    began: Instant,
    now: Duration,
) -> Result<Candidates, Error> {
    let tried: Vec<Arc<Endpoint>> = tried
        .iter()
        .map(|peer| Arc::clone(&peer.endpoint))
        .collect();
    cluster.candidates(target, &tried, began, now)
}

fn pick_now(
    cluster: &Arc<Cluster>,
    candidates: &mut Candidates,
    began: Instant,
    now: Duration,
) -> Result<CallAttempt, Error> {
    let mut last = None;
    while let Some(endpoint) = candidates.next() {
        if let Some(reason) = endpoint.connect_error() {
            last = Some(cluster.unreachable(began, reason));
        } else if cluster.begin(&endpoint, now) {
            let peer = Peer {
                cluster: Arc::clone(cluster),
                endpoint,
            };
            return Ok(CallAttempt { peer, sent: now });
        } else {
            let limit = cluster.options.load().max_in_flight;
            last = Some(cluster.saturated("max_in_flight", limit, began));
        }
    }
    Err(last.unwrap_or_else(|| cluster.unreachable(began, String::new())))
}

impl CallAttempt {
    /// Where the call is.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The time that calls of the service have whose callers give none.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let timeout = self.peer.cluster.options.load().default_timeout;
        (!timeout.is_zero()).then_some(timeout)
    }

    /// The request goes out.
    pub fn sent(&mut self, now: Timestamp) {
        self.sent = now.at;
        self.peer.cluster.picks.inc();
    }

    /// Something came from the instance.
    pub fn received(&self, now: Timestamp) {
        self.peer.endpoint.mark_received_at(now.at);
    }

    /// The answer begins; `status` when it is nothing but one. For the balancer this is its latency.
    pub fn answered(&self, status: Option<Code>, now: Timestamp) {
        self.received(now);
        let failed = status == Some(Code::Unavailable);
        self.observe(failed, now);
        if status.is_some() {
            self.peer.cluster.outcome(&self.peer.endpoint, failed);
        }
    }

    /// The answer is HTTP's alone, with this status.
    pub fn answered_by_http(&self, status: u16, now: Timestamp) {
        self.received(now);
        if is_failure(status) {
            self.failed(now);
        }
    }

    /// The answer ended with trailers, which `field` looks up. Costs nothing unless the service's
    /// policy goes by what instances report.
    pub fn trailers<'a>(&self, field: impl Fn(&str) -> Option<&'a [u8]>) {
        self.peer.cluster.report(&self.peer.endpoint, field);
    }

    /// The answer ended with this status.
    pub fn ended(&self, status: Code, now: Timestamp) {
        if status == Code::Unavailable {
            self.failed(now);
        } else {
            self.peer.cluster.outcome(&self.peer.endpoint, false);
        }
    }

    /// The attempt ended without an answer that it should have given, or in the middle of one.
    pub fn failed(&self, now: Timestamp) {
        self.observe(true, now);
        self.peer.cluster.outcome(&self.peer.endpoint, true);
    }

    /// The caller would wait no longer: no failure, but latency.
    pub fn overdue(&self, now: Timestamp) {
        let waited = now.at.saturating_sub(self.sent);
        self.peer.endpoint.give_up(waited, now.at);
    }

    fn observe(&self, failed: bool, now: Timestamp) {
        let latency = now.at.saturating_sub(self.sent);
        let endpoint = &self.peer.endpoint;
        endpoint.observe_at(latency, failed, now.at);
    }

    /// Whether a call that ended so may be sent again; it is counted if so.
    #[must_use]
    pub fn may_retry(&self, error: &Error, retry_request: RetryRequest<'_>) -> bool {
        self.retry(retry::of_error(error), retry_request)
    }

    /// Whether a call whose answer is this status may be sent again; it is counted if so.
    #[must_use]
    pub fn may_retry_status(&self, status: Code, retry_request: RetryRequest<'_>) -> bool {
        self.retry(retry::of_status(status), retry_request)
    }

    fn retry(&self, retry: Retry, retry_request: RetryRequest<'_>) -> bool {
        let cluster = &self.peer.cluster;
        let idempotent =
            retry_request.declared || self.peer.instance().is_idempotent(retry_request.method);
        cluster.may_retry(
            retry,
            retry_request.number,
            retry_request.repeatable,
            idempotent,
            &self.peer.endpoint,
        )
    }
}

impl Drop for CallAttempt {
    fn drop(&mut self) {
        self.peer.endpoint.end();
        self.peer.cluster.queue.notify_room();
    }
}

impl Peer {
    /// Its number, the same for as long as it keeps its address; never 0.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.endpoint.number
    }

    /// The instance, as the registry tells it now.
    #[must_use]
    pub fn instance(&self) -> Arc<Instance> {
        self.endpoint.instance.load_full()
    }

    /// Opens a TCP connection to it, and greets it: until it has answered in HTTP/2 nobody knows who
    /// is there. When that fails, others take its calls until the mesh, trying again in the
    /// background, can connect.
    ///
    /// # Errors
    /// What the attempt said, or that it took longer than `connect_timeout`. `ResourceBusy`, which
    /// `greet` may say, is not held against it: it takes no more connections, and serves those it has.
    pub async fn connect<T, F>(&self, greet: impl FnOnce(TcpStream) -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let options = self.cluster.options.load_full();
        let authority = self.endpoint.instance.load().authority();
        let limit = options.connect_timeout;
        let end = Instant::now() + limit;
        let late = |what: &str| {
            let message = format!("{what} within {limit:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, message))
        };
        let outcome = match timeout_at(end, dial(&authority, &options)).await {
            Ok(Ok(stream)) => timeout_at(end, greet(stream))
                .await
                .unwrap_or_else(|_| late("it took the connection, and sent no SETTINGS")),
            Ok(Err(error)) => Err(error),
            Err(_) => late("no connection"),
        };
        outcome.inspect_err(|error| {
            if error.kind() == io::ErrorKind::ResourceBusy {
                return;
            }
            let reason = format!("{authority}: {error}");
            if let Some(attempts) = self.endpoint.mark_unreachable(&reason) {
                self.cluster
                    .connection_failed(&self.endpoint, &reason, attempts);
            }
        })
    }

    /// How long a call should wait for [`Self::connect`] before it looks for another instance.
    #[must_use]
    pub fn connect_patience(&self) -> Duration {
        self.cluster.options.load().connect_patience
    }

    /// Why it cannot be connected to, while it cannot.
    #[must_use]
    pub fn connect_error(&self) -> Option<String> {
        self.endpoint.connect_error()
    }

    /// Changes when connections to the instance are to be given up: its calls and its health were
    /// silent for `tcp_user_timeout`. Ends with the instance.
    #[must_use]
    pub fn aborted(&self) -> watch::Receiver<()> {
        self.endpoint.aborted()
    }

    /// Ends when the instance has left the registry, or its address.
    pub async fn gone(self) {
        let gone = self.endpoint.gone.clone();
        // Not to be kept by who waits for its end.
        drop(self);
        gone.cancelled().await;
    }
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("id", &self.endpoint.id())
            .finish_non_exhaustive()
    }
}
