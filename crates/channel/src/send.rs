//! Sends one attempt of a call.

use std::{pin::pin, sync::Arc};

use discovery::Instance;
use http::{
    HeaderValue, Request, Response, Uri, header,
    request::Parts,
    uri::{Authority, PathAndQuery, Scheme},
};
use tokio::time::{Instant, timeout_at};
use tonic::Code;

use crate::{
    Error, ResponseBody, ServedBy, Target,
    acquire::InFlight,
    attempt_span::{AttemptSpan, CallTrace},
    body::{ActiveCall, grpc_status},
    cluster_client::ClusterClient,
    connections::Endpoint,
    deadline::{self, Deadline},
    http_status::{self, list_size},
    replay::{AttemptBody, Replay},
    retry::{self, Pushback, Retry},
};

/// Headers that HTTP/2 does not allow.
const PER_CONNECTION: [header::HeaderName; 5] = [
    header::CONNECTION,
    header::HeaderName::from_static("keep-alive"),
    header::HeaderName::from_static("proxy-connection"),
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A call with its request.
pub(crate) struct Call<'a> {
    pub(crate) client: Arc<ClusterClient>,
    pub(crate) target: &'a Target,
    pub(crate) trace: CallTrace,
    pub(crate) parts: Parts,
    pub(crate) replay: Replay,
    pub(crate) deadline: Option<Deadline>,
}

impl Call<'_> {
    /// Sends the request once and waits for the headers of its answer.
    pub(crate) async fn attempt(
        &self,
        number: usize,
        in_flight: InFlight,
        replay: &Replay,
    ) -> Result<Response<ResponseBody>, Error> {
        let instance = in_flight.attempt.peer().instance();
        let (request, span) = self.request(number, replay, &instance)?;
        let active = ActiveCall::new(in_flight, replay.clone(), span);
        let failed = |error: Error| {
            active.failed(&error);
            error
        };
        let mut abandon = AbandonOnDrop(Some(&active));
        let response = {
            let sending = pin!(active.send(request));
            self.within_deadline(sending).await
        };
        let response = response.map_err(failed)?;
        abandon.0 = None;
        drop(abandon);
        match response {
            Ok(response) if self.wants_grpc() && http_status::is_foreign(&response) => {
                let status = response.status().as_u16();
                let (attempt, now) = active.attempt();
                attempt.answered_by_http(status, now);
                let instance = instance.key.id.to_string();
                Err(failed(Error::Http { instance, status }))
            }
            Ok(response) if list_size(response.headers()) > self.max_header_bytes() => {
                let (attempt, now) = active.attempt();
                attempt.received(now);
                Err(failed(active.large_answer()))
            }
            Ok(response) => {
                let (attempt, now) = active.attempt();
                let status = grpc_status(response.headers()).map(Code::from);
                attempt.answered(status, now);
                if let Some(status) = status {
                    active.ended(status, None);
                }
                let deadline = self.deadline;
                let mut response = response.map(|body| ResponseBody::new(body, active, deadline));
                response.extensions_mut().insert(ServedBy(instance));
                Ok(response)
            }
            Err(failure) => {
                if let Some(status) = replay.error() {
                    return Err(failed(Error::Request(Box::new(status))));
                }
                // An unsent call says nothing about the instance.
                if !failure.unsent {
                    let (attempt, now) = active.attempt();
                    attempt.failed(now);
                }
                let (instance, reason) = (instance.key.id.to_string(), failure.reason);
                Err(failed(if failure.unsent {
                    Error::Unsent { instance, reason }
                } else {
                    Error::ConnectionLost {
                        instance,
                        reason,
                        code: failure.code,
                    }
                }))
            }
        }
    }

    /// Whether its caller speaks gRPC. Another gets the answer as it is.
    fn wants_grpc(&self) -> bool {
        let content_type = self.parts.headers.get(header::CONTENT_TYPE);
        content_type.is_some_and(|value| http_status::is_grpc(value.as_bytes()))
    }

    fn max_header_bytes(&self) -> usize {
        self.client.options().max_header_bytes
    }

    fn request(
        &self,
        number: usize,
        replay: &Replay,
        instance: &Arc<Instance>,
    ) -> Result<(Request<AttemptBody>, Option<AttemptSpan>), Error> {
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
        let trace = &self.trace;
        let span = trace.begin(&parts.uri, instance, number, &mut parts.headers);
        let request = Request::from_parts(parts, replay.attempt(number));
        Ok((request, span))
    }

    pub(crate) fn may_retry(&self, retry: Retry, number: usize, endpoint: &Endpoint) -> bool {
        let (idempotent, repeatable) = (self.is_idempotent(endpoint), self.replay.can_repeat());
        self.client
            .may_retry(retry, number, repeatable, idempotent, endpoint)
    }

    /// The error of the last attempt, after [`Self::may_retry`] has refused another.
    pub(crate) fn last_error(&self, error: Error, endpoint: &Endpoint) -> Error {
        let (idempotent, repeatable) = (self.is_idempotent(endpoint), self.replay.can_repeat());
        let retry = retry::of_error(&error);
        if self.client.retries_exhausted(retry, repeatable, idempotent) {
            Error::Exhausted(Box::new(error))
        } else {
            error
        }
    }

    fn is_idempotent(&self, endpoint: &Endpoint) -> bool {
        let method = self.parts.uri.path().trim_start_matches('/');
        self.parts.headers.contains_key(retry::IDEMPOTENT)
            || endpoint.instance().is_idempotent(method)
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

/// Adds what gRPC over HTTP/2 requires, where the caller left it out.
pub(crate) fn complete(mut parts: Parts, authority: &Authority) -> Parts {
    // Some clients send no host or one with user information, which some servers refuse.
    let usable =
        |authority: &Authority| !authority.host().is_empty() && !authority.as_str().contains('@');
    if !parts.uri.authority().is_some_and(usable) {
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(authority.clone());
        uri.path_and_query
            .get_or_insert_with(|| PathAndQuery::from_static("/"));
        // Never an error: all three are there.
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
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

/// What the outcome of an attempt allows.
pub(crate) fn retry_decision(outcome: &Result<Response<ResponseBody>, Error>) -> (Retry, Pushback) {
    match outcome {
        Ok(response) => match Pushback::of(response.headers()) {
            Pushback::Stop => (Retry::Never, Pushback::Stop),
            pushback => (retry::of_status(trailers_only(response)), pushback),
        },
        Err(error) => (retry::of_error(error), Pushback::None),
    }
}

/// The status of an answer that is only a status; `Ok` while the answer is open.
fn trailers_only<B>(response: &Response<B>) -> Code {
    grpc_status(response.headers()).map_or(Code::Ok, Code::from)
}

/// Tells the balancer when an attempt is dropped before its answer.
struct AbandonOnDrop<'a>(Option<&'a ActiveCall>);

impl Drop for AbandonOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(active) = self.0 {
            let (attempt, now) = active.attempt();
            attempt.overdue(now);
        }
    }
}

/// Ends the sending of a request body when its call is dropped.
pub(crate) struct AbortOnDrop(pub(crate) Option<Replay>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(replay) = &self.0 {
            replay.abort();
        }
    }
}
