//! Call attempts for a carrier with connections of its own: the router's relay engine. The carrier
//! moves the bytes. Picking the instance, and what the call's end says of it, are the same as for
//! [`Mesh::call`].
//!
//! The carrier passes the time, because it reads the clock once for many calls.

use std::{future::ready, io, sync::Arc, time::Duration};

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
    cluster_client::ClusterClient,
    connections::Endpoint,
    dial::dial,
    http_status::is_failure,
    retry::{self, Retry},
};

/// An instance that a carrier connects to. Clones are the same instance.
#[derive(Clone)]
pub struct Peer {
    client: Arc<ClusterClient>,
    endpoint: Arc<Endpoint>,
}

/// A call in flight on an instance. It is counted until this is dropped.
#[derive(Debug)]
pub struct CallAttempt {
    peer: Peer,
    /// On the mesh's clock.
    sent: Duration,
    /// Whether its end makes room for a waiting call. Without a connection it does not, unless it
    /// had the last permit of `max_in_flight`.
    pub(crate) makes_room: bool,
}

/// What a carrier knows of a call when it asks for another attempt.
#[derive(Clone, Copy, Debug)]
pub struct RetryRequest<'a> {
    /// How many attempts there were, at least 1.
    pub number: usize,
    /// Whether the whole request is still buffered.
    pub repeatable: bool,
    /// `pkg.Service/Method`.
    pub method: &'a str,
    /// Whether the caller declared it safe to run twice.
    pub declared: bool,
}

impl Mesh {
    /// Picks an instance that can take a call at once. Those in `tried` are avoided while another
    /// can. The policy may send the call after others of its `affinity`.
    ///
    /// # Errors
    /// As [`Mesh::call`]. When [`Error::is_transient`], [`Mesh::pick_or_wait`] may find one.
    pub fn pick(
        &self,
        target: &Target,
        tried: &[Peer],
        affinity: &mut CallAffinity,
        now: Timestamp,
    ) -> Result<CallAttempt, Error> {
        let client = self.client(&target.service);
        if tried.is_empty() {
            client.deposit(now.at);
        }
        let mut pick = || {
            let mut candidates = candidates(&client, target, tried, now.instant, now.at)?;
            candidates.apply_affinity(affinity);
            let attempt = pick_now(&client, &mut candidates, now.instant, now.at)?;
            candidates.record_affinity(affinity);
            Ok(attempt)
        };
        // One that may find an instance later is counted there.
        pick().inspect_err(|error: &Error| {
            if !error.is_transient() {
                client.refused();
            }
        })
    }

    /// The same, but waits up to `queue_timeout` while no instance can.
    ///
    /// # Errors
    /// As [`Mesh::call`].
    pub async fn pick_or_wait(
        &self,
        target: &Target,
        tried: &[Peer],
    ) -> Result<CallAttempt, Error> {
        let began = Instant::now();
        let client = self.client(&target.service);
        let attempt = || {
            let now = client.now();
            let mut candidates = candidates(&client, target, tried, began, now)?;
            pick_now(&client, &mut candidates, began, now)
        };
        client.queue(target, began, || ready(attempt())).await
    }
}

fn candidates(
    client: &ClusterClient,
    target: &Target,
    tried: &[Peer],
    began: Instant,
    now: Duration,
) -> Result<Candidates, Error> {
    let tried: Vec<Arc<Endpoint>> = tried
        .iter()
        .map(|peer| Arc::clone(&peer.endpoint))
        .collect();
    client.candidates(target, &tried, began, now)
}

fn pick_now(
    client: &Arc<ClusterClient>,
    candidates: &mut Candidates,
    began: Instant,
    now: Duration,
) -> Result<CallAttempt, Error> {
    let mut last = None;
    while let Some(endpoint) = candidates.next() {
        if let Some(reason) = endpoint.connect_error() {
            last = Some(client.unreachable(began, reason));
        } else {
            match CallAttempt::begin(client, &endpoint, began, now) {
                Ok(attempt) => return Ok(attempt),
                Err(error) => last = Some(error),
            }
        }
    }
    Err(last.unwrap_or_else(|| client.unreachable(began, String::new())))
}

impl CallAttempt {
    /// Begins a call on an endpoint at a time on the mesh's clock.
    pub(crate) fn begin(
        client: &Arc<ClusterClient>,
        endpoint: &Arc<Endpoint>,
        began: Instant,
        now: Duration,
    ) -> Result<Self, Error> {
        if !client.cluster.begin(endpoint, now) {
            let limit = client.options().max_in_flight;
            return Err(client.saturated("max_in_flight", limit, began));
        }
        let peer = Peer {
            client: Arc::clone(client),
            endpoint: Arc::clone(endpoint),
        };
        Ok(Self {
            peer,
            sent: now,
            makes_room: true,
        })
    }

    /// A reading of the mesh's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.peer.client.shared.clock.timestamp(Instant::now())
    }

    pub(crate) fn client(&self) -> &Arc<ClusterClient> {
        &self.peer.client
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.peer.endpoint
    }

    /// The instance of the call.
    #[must_use]
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// The deadline of the service's calls that bring none.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        let timeout = self.peer.client.options().default_timeout;
        (!timeout.is_zero()).then_some(timeout)
    }

    /// Notes that the request is being sent.
    pub fn sent(&mut self, now: Timestamp) {
        self.sent = now.at;
        self.peer.client.counts.picked();
        self.peer.endpoint.mark_sent();
    }

    /// Notes that something came from the instance.
    pub fn received(&self, now: Timestamp) {
        self.peer.endpoint.mark_received_at(now.at);
    }

    /// Notes the begin of the answer, which ends its latency. `status` when it is only a status.
    pub fn answered(&self, status: Option<Code>, now: Timestamp) {
        self.received(now);
        let failed = status == Some(Code::Unavailable);
        self.observe(failed, now);
        if status.is_some() {
            self.record_outcome(failed);
        }
    }

    /// Notes an answer that is not gRPC's, with this HTTP status.
    pub fn answered_by_http(&self, status: u16, now: Timestamp) {
        self.received(now);
        if is_failure(status) {
            self.failed(now);
        }
    }

    /// Notes the trailers of the answer, which `field` looks up. Free unless the service's policy
    /// uses load reports.
    pub fn trailers<'a>(&self, field: impl Fn(&str) -> Option<&'a [u8]>) {
        self.peer.client.report(&self.peer.endpoint, field);
    }

    /// Notes the status that ended the answer.
    pub fn ended(&self, status: Code, now: Timestamp) {
        if status == Code::Unavailable {
            self.failed(now);
        } else {
            self.record_outcome(false);
        }
    }

    /// Notes that the attempt failed: without an answer, or in the middle of one.
    pub fn failed(&self, now: Timestamp) {
        self.observe(true, now);
        self.record_outcome(true);
    }

    fn record_outcome(&self, failed: bool) {
        let cluster = &self.peer.client.cluster;
        cluster.record_outcome(&self.peer.endpoint, failed);
    }

    /// Notes that the caller stopped waiting. That is latency, not a failure.
    pub fn overdue(&self, now: Timestamp) {
        let waited = now.at.saturating_sub(self.sent);
        self.peer.endpoint.give_up(waited, now.at);
    }

    fn observe(&self, failed: bool, now: Timestamp) {
        let latency = now.at.saturating_sub(self.sent);
        let endpoint = &self.peer.endpoint;
        endpoint.observe(latency, failed, now.at);
    }

    /// Whether a call that failed with this error may be sent again. Counts the retry if so.
    #[must_use]
    pub fn may_retry(&self, error: &Error, retry_request: RetryRequest<'_>) -> bool {
        self.retry(retry::of_error(error), retry_request)
    }

    /// Whether a call with this status may be sent again. Counts the retry if so.
    #[must_use]
    pub fn may_retry_status(&self, status: Code, retry_request: RetryRequest<'_>) -> bool {
        self.retry(retry::of_status(status), retry_request)
    }

    /// Whether a call that [`Self::may_retry`] has refused could have been sent again, but for
    /// `max_attempts` or the retry budget.
    #[must_use]
    pub fn retries_exhausted(&self, error: &Error, retry_request: RetryRequest<'_>) -> bool {
        let idempotent = self.is_idempotent(retry_request);
        let client = &self.peer.client;
        client.retries_exhausted(retry::of_error(error), retry_request.repeatable, idempotent)
    }

    fn is_idempotent(&self, retry_request: RetryRequest<'_>) -> bool {
        retry_request.declared || self.peer.instance().is_idempotent(retry_request.method)
    }

    fn retry(&self, retry: Retry, retry_request: RetryRequest<'_>) -> bool {
        self.peer.client.may_retry(
            retry,
            retry_request.number,
            retry_request.repeatable,
            self.is_idempotent(retry_request),
            &self.peer.endpoint,
        )
    }
}

impl Drop for CallAttempt {
    fn drop(&mut self) {
        let had_last = self.peer.endpoint.end();
        if self.makes_room || had_last {
            self.peer.client.cluster.waiters().notify_room();
        }
    }
}

impl Peer {
    /// Its number, never 0. It stays the same while the instance keeps its address.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.endpoint.number()
    }

    /// The instance, as it is registered now.
    #[must_use]
    pub fn instance(&self) -> Arc<Instance> {
        Arc::clone(&self.endpoint.instance())
    }

    /// Opens a TCP connection to it and runs `greet`, which waits for its HTTP/2. When that fails,
    /// other instances take its calls until the mesh can connect, which it tries in the background.
    ///
    /// # Errors
    /// Why connecting failed, or that it took longer than `connect_timeout`. `ResourceBusy` of
    /// `greet` does not count as a failure: the instance serves its connections and accepts no
    /// more.
    pub async fn connect<T, F>(&self, greet: impl FnOnce(TcpStream) -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let options = Arc::clone(&self.client.options());
        let authority = self.endpoint.instance().authority();
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
            self.client
                .cluster
                .mark_unreachable(&self.endpoint, &reason);
        })
    }

    /// How long a call should wait for [`Self::connect`] before it tries another instance.
    #[must_use]
    pub fn connect_patience(&self) -> Duration {
        self.client.options().connect_patience
    }

    /// Why connecting to it fails now; `None` while it does not.
    #[must_use]
    pub fn connect_error(&self) -> Option<String> {
        self.endpoint.connect_error()
    }

    /// Changes when connections to the instance should be closed, because its calls and its health
    /// checks had no answer for `tcp_user_timeout`. Ends with the instance.
    #[must_use]
    pub fn aborted(&self) -> watch::Receiver<()> {
        self.endpoint.aborted()
    }

    /// Ends when the instance has left the registry or has another address.
    pub async fn gone(self) {
        let gone = self.endpoint.gone().clone();
        // Waiting for its end must not keep it alive.
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
