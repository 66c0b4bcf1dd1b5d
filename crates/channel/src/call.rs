//! One call: deadline → pick → send → observe, and again where that is allowed.

use std::{sync::Arc, time::Duration};

use discovery::Instance;
use http::{HeaderValue, Request, Response, header, request::Parts};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tracing::Instrument as _;

use crate::{
    Error, Mesh, ResponseBody, ServedBy, Target,
    acquire::InFlight,
    backoff,
    body::ActiveCall,
    cluster::Cluster,
    deadline,
    endpoint::Endpoint,
    hedge::{self, Collected},
    http_status::{self, list_size},
    replay::{AttemptBody, Replay},
    retry::{self, Pushback, Retry},
};

/// The pause before an attempt that follows a failure an instance may have seen.
const RETRY_PAUSE: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

/// Headers that HTTP/2 does not have.
const PER_CONNECTION: [header::HeaderName; 5] = [
    header::CONNECTION,
    header::HeaderName::from_static("keep-alive"),
    header::HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// When a call has to end, and how much time its caller gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) given: Duration,
}

impl Mesh {
    /// Sends a gRPC request to an instance of the target and gives its answer, with [`ServedBy`] in
    /// the extensions. The request's path, metadata and bytes go as they are; `grpc-timeout` is
    /// shortened by the time that has passed. `picked` is told of the instance before each attempt.
    ///
    /// # Errors
    /// When no instance answered; [`Error::status`] is what the caller should be told. A status
    /// that an instance gives is an answer.
    pub async fn call(
        &self,
        target: &Target,
        request: Request<tonic::body::Body>,
        picked: impl FnMut(&Arc<Instance>) + Send,
    ) -> Result<Response<ResponseBody>, Error> {
        if !telemetry::tracing_enabled() {
            return self.attempts(target, request, picked).await;
        }
        let span = tracing::info_span!(
            "call",
            otel.name = request.uri().path().trim_start_matches('/'),
            otel.kind = "client",
            rpc.system = "grpc",
            mesh.service = &*target.service,
            mesh.instance = tracing::field::Empty,
        );
        let (mut parts, body) = request.into_parts();
        telemetry::propagation::inject(&span, &mut parts.headers);
        let call = self.attempts(target, Request::from_parts(parts, body), picked);
        let response = call.instrument(span.clone()).await?;
        if let Some(ServedBy(instance)) = response.extensions().get() {
            span.record("mesh.instance", &*instance.key.id);
        }
        Ok(response.map(|body| body.with_span(span)))
    }

    async fn attempts(
        &self,
        target: &Target,
        request: Request<tonic::body::Body>,
        picked: impl FnMut(&Arc<Instance>) + Send,
    ) -> Result<Response<ResponseBody>, Error> {
        let cluster = self.cluster(&target.service);
        let options = cluster.options.load_full();
        let given = deadline::read(request.headers())?
            .or((!options.default_timeout.is_zero()).then_some(options.default_timeout));
        let deadline = given.map(|given| Deadline {
            at: deadline::after(Instant::now(), given),
            given,
        });
        let (parts, body) = request.into_parts();
        let hedging = hedge::delay(&cluster, target, &parts);
        let call = |body| Call {
            cluster,
            target,
            parts: complete(parts, &target.service),
            replay: Replay::new(body, options.retry_buffer),
            deadline,
        };
        let Some(delay) = hedging else {
            return call(body).run(picked).await;
        };
        match hedge::collect(body, options.retry_buffer, delay).await {
            Collected::All(bytes) => {
                let call = call(tonic::body::Body::empty());
                hedge::run(&call, &bytes, delay, picked).await
            }
            Collected::Part(body) => call(body).run(picked).await,
        }
    }
}

/// What gRPC over HTTP/2 needs of every request, where the caller left it out.
fn complete(mut parts: Parts, service: &str) -> Parts {
    // There are clients that name no host, or somebody before it; and servers that refuse those.
    let usable = |authority: &http::uri::Authority| {
        !authority.host().is_empty() && !authority.as_str().contains('@')
    };
    if !parts.uri.authority().is_some_and(usable) {
        let path = parts
            .uri
            .path_and_query()
            .map_or("/", |p| p.as_str())
            .to_owned();
        let uri = |authority: &str| {
            let uri = http::Uri::builder().scheme("http").authority(authority);
            uri.path_and_query(path.clone()).build()
        };
        // A service's name need not be an authority.
        parts.uri = uri(service)
            .or_else(|_| uri("localhost"))
            .unwrap_or(parts.uri);
    }
    for name in PER_CONNECTION {
        parts.headers.remove(name);
    }
    parts
        .headers
        .insert(header::TE, HeaderValue::from_static("trailers"));
    parts.version = http::Version::HTTP_2;
    parts
}

pub(crate) struct Call<'a> {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) target: &'a Target,
    parts: Parts,
    replay: Replay,
    deadline: Option<Deadline>,
}

impl Call<'_> {
    async fn run(
        self,
        mut picked: impl FnMut(&Arc<Instance>) + Send,
    ) -> Result<Response<ResponseBody>, Error> {
        // However this future ends, nobody goes on sending the body.
        let mut abort = AbortOnDrop(Some(self.replay.clone()));
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let now = self.cluster.shared().now();
        self.cluster.budget().deposit(now);
        for number in 1.. {
            let in_flight = self.within_deadline(self.cluster.acquire(self.target, &tried));
            let in_flight = in_flight.await??;
            let endpoint = Arc::clone(in_flight.endpoint());
            picked(&in_flight.instance());
            let outcome = self.attempt(number, in_flight, &self.replay).await;
            let (retry, pushback) = retry_decision(&outcome);
            if !self.may_retry(retry, number, &endpoint) {
                if outcome.is_ok() {
                    self.replay.commit();
                    // From here on the answer's body sees to it.
                    abort.0 = None;
                }
                return outcome;
            }
            tried.push(endpoint);
            let pause = match pushback {
                Pushback::Wait(pause) => pause,
                _ if retry == Retry::IfUnsent => continue,
                _ => {
                    let (min, max) = RETRY_PAUSE;
                    let failures = u32::try_from(number).unwrap_or(u32::MAX);
                    backoff::pause(failures, min, max)
                }
            };
            self.within_deadline(sleep(pause)).await?;
        }
        unreachable!("the number of attempts is limited")
    }

    /// Sends the request once and waits for the headers of its answer.
    pub(crate) async fn attempt(
        &self,
        number: usize,
        in_flight: InFlight,
        replay: &Replay,
    ) -> Result<Response<ResponseBody>, Error> {
        let instance = in_flight.instance();
        self.cluster.picks.inc();
        let request = self.request(number, replay)?;
        let active = ActiveCall::new(Arc::clone(&self.cluster), in_flight, replay.clone());
        let mut abandon = AbandonOnDrop(Some(&active));
        let response = self.within_deadline(active.send(request)).await?;
        abandon.0 = None;
        drop(abandon);
        match response {
            Ok(response) if self.wants_grpc() && http_status::is_foreign(&response) => {
                let status = response.status().as_u16();
                active.answered_by_http(status);
                let instance = instance.key.id.to_string();
                Err(Error::Http { instance, status })
            }
            Ok(response) if list_size(response.headers()) > self.max_header_bytes() => {
                active.received();
                Err(active.large_answer())
            }
            Ok(response) => {
                active.answered(response.headers());
                let deadline = self.deadline;
                let mut response = response.map(|body| ResponseBody::new(body, active, deadline));
                response.extensions_mut().insert(ServedBy(instance));
                Ok(response)
            }
            Err(failure) => {
                if let Some(status) = replay.error() {
                    return Err(Error::Request(Box::new(status)));
                }
                // What was not taken says nothing about how well the instance works.
                if !failure.unsent {
                    active.failed();
                }
                let (instance, reason) = (instance.key.id.to_string(), failure.reason);
                Err(if failure.unsent {
                    Error::Unsent { instance, reason }
                } else {
                    Error::ConnectionLost {
                        instance,
                        reason,
                        code: failure.code,
                    }
                })
            }
        }
    }

    /// Whether its caller speaks gRPC; another may make of the answer what it likes.
    fn wants_grpc(&self) -> bool {
        let content_type = self.parts.headers.get(header::CONTENT_TYPE);
        content_type.is_some_and(|value| http_status::is_grpc(value.as_bytes()))
    }

    fn max_header_bytes(&self) -> usize {
        self.cluster.options.load().max_header_bytes
    }

    fn request(&self, number: usize, replay: &Replay) -> Result<Request<AttemptBody>, Error> {
        let mut parts = self.parts.clone();
        if let Some(deadline) = self.deadline {
            let left = deadline.at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::Deadline(deadline.given));
            }
            deadline::write(&mut parts.headers, left);
        }
        if number > 1 {
            let previous = HeaderValue::from(number - 1);
            parts.headers.insert(retry::PREVIOUS_ATTEMPTS, previous);
        }
        Ok(Request::from_parts(parts, replay.attempt(number)))
    }

    fn may_retry(&self, retry: Retry, number: usize, endpoint: &Endpoint) -> bool {
        let method = self.parts.uri.path().trim_start_matches('/');
        let idempotent = self.parts.headers.contains_key(retry::IDEMPOTENT)
            || endpoint.instance.load().is_idempotent(method);
        let repeatable = self.replay.can_repeat();
        self.cluster
            .may_retry(retry, number, repeatable, idempotent, endpoint)
    }

    pub(crate) async fn within_deadline<T>(
        &self,
        future: impl Future<Output = T>,
    ) -> Result<T, Error> {
        match self.deadline {
            Some(deadline) => timeout_at(deadline.at, future)
                .await
                .map_err(|_| Error::Deadline(deadline.given)),
            None => Ok(future.await),
        }
    }
}

/// What the outcome of an attempt says about another one.
pub(crate) fn retry_decision(outcome: &Result<Response<ResponseBody>, Error>) -> (Retry, Pushback) {
    match outcome {
        Ok(response) => match Pushback::of(response.headers()) {
            Pushback::Stop => (Retry::Never, Pushback::Stop),
            pushback => (retry::of_status(trailers_only(response)), pushback),
        },
        Err(error) => (retry::of_error(error), Pushback::None),
    }
}

/// The status of an answer that is nothing but one; `Ok` while it is still open.
fn trailers_only<B>(response: &Response<B>) -> Code {
    crate::body::status_code(response.headers()).map_or(Code::Ok, Code::from)
}

/// Tells the balancer of an attempt that nobody waits for any more, before its answer.
struct AbandonOnDrop<'a>(Option<&'a ActiveCall>);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.0 {
            active.given_up();
        }
    }
}

/// Stops the sending of a request body when its call is given up.
pub(crate) struct AbortOnDrop(pub(crate) Option<Replay>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(replay) = &self.0 {
            replay.abort();
        }
    }
}
