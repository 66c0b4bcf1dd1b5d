//! One call: deadline → pick → send → observe, and again where a retry is allowed.

use std::{pin::pin, sync::Arc, time::Duration};

use backoff::Backoff;
use discovery::Instance;
use http::{Request, Response};
use tokio::time::{Instant, sleep};

use crate::{
    Error, Mesh, ResponseBody, Target,
    attempt_span::CallTrace,
    body::grpc_status,
    call_timer::CallTimer,
    cluster_client::ClusterClient,
    connections::Endpoint,
    deadline::{self, Deadline},
    hedge::{self, Collected},
    replay::Replay,
    retry::{Pushback, Retry},
    send::{AbortOnDrop, Call, complete, retry_decision},
};

/// The pauses before retries of a call that an instance may have processed.
pub const RETRY_PAUSE: Backoff =
    Backoff::new(Duration::from_millis(25), Duration::from_millis(250), 0.2);

impl Mesh {
    /// Sends a gRPC request to an instance of the target and returns its answer, with [`ServedBy`]
    /// in the extensions. Path, metadata and bytes are sent unchanged, except that `grpc-timeout`
    /// is shortened by the time that has passed. `picked` is called with the instance of each
    /// attempt.
    ///
    /// # Errors
    /// When no instance answered. [`Error::status`] is the status for the caller. A status from an
    /// instance is an answer.
    pub async fn call(
        &self,
        target: &Target,
        request: Request<tonic::body::Body>,
        picked: impl FnMut(&Arc<Instance>) + Send,
    ) -> Result<Response<ResponseBody>, Error> {
        let client = self.client(&target.service);
        let mut timer = CallTimer::start(&client, request.uri().path());
        match self
            .observed_attempts(client, target, request, picked)
            .await
        {
            Ok(response) => {
                let status = grpc_status(response.headers());
                Ok(response.map(|body| body.with_timer(timer, status)))
            }
            Err(error) => {
                timer.end(error.status().code().into());
                Err(error)
            }
        }
    }

    async fn observed_attempts(
        &self,
        client: Arc<ClusterClient>,
        target: &Target,
        request: Request<tonic::body::Body>,
        picked: impl FnMut(&Arc<Instance>) + Send,
    ) -> Result<Response<ResponseBody>, Error> {
        let options = Arc::clone(&client.options());
        let given = deadline::read(request.headers())?
            .or((!options.default_timeout.is_zero()).then_some(options.default_timeout));
        let deadline = given.map(|given| Deadline {
            at: deadline::after(Instant::now(), given),
            given,
        });
        let (parts, body) = request.into_parts();
        let hedging = hedge::delay(&client, target, &parts);
        let trace = CallTrace::of(&parts.headers);
        let call = |body| Call {
            target,
            trace,
            parts: complete(parts, &client.authority),
            client,
            replay: Replay::new(body, options.retry_buffer),
            deadline,
        };
        let Some(delay) = hedging else {
            return run(call(body), picked).await;
        };
        // Few calls are hedged, and hedging is large.
        let hedged = async {
            match hedge::collect(body, options.retry_buffer, delay).await {
                Collected::All(bytes) => {
                    let call = call(tonic::body::Body::empty());
                    hedge::run(&call, &bytes, delay, picked).await
                }
                Collected::Part(body) => run(call(body), picked).await,
            }
        };
        Box::pin(hedged).await
    }
}

/// Sends a call to one instance after another, while the last failure allows it.
async fn run(
    call: Call<'_>,
    mut picked: impl FnMut(&Arc<Instance>) + Send,
) -> Result<Response<ResponseBody>, Error> {
    // However this future ends, the body is sent no further.
    let mut abort = AbortOnDrop(Some(call.replay.clone()));
    let mut tried: Vec<Arc<Endpoint>> = Vec::new();
    let now = call.client.now();
    call.client.deposit(now);
    for number in 1.. {
        let in_flight = {
            // Pinned where it is: a future that is passed on by value is there twice.
            let acquiring = pin!(call.client.acquire(call.target, &tried));
            call.within_deadline(acquiring).await??
        };
        let endpoint = Arc::clone(in_flight.attempt.endpoint());
        picked(&in_flight.attempt.peer().instance());
        let outcome = call.attempt(number, in_flight, &call.replay).await;
        let (retry, pushback) = retry_decision(&outcome);
        if !call.may_retry(retry, number, &endpoint) {
            if outcome.is_ok() {
                call.replay.commit();
                // From here on the answer's body aborts it.
                abort.0 = None;
            }
            return outcome.map_err(|error| call.last_error(error, &endpoint));
        }
        tried.push(endpoint);
        let pause = match pushback {
            Pushback::Wait(pause) => pause,
            _ if retry == Retry::IfUnsent => continue,
            _ => {
                let failures = u32::try_from(number).unwrap_or(u32::MAX);
                RETRY_PAUSE.after(failures, &mut rand::rng())
            }
        };
        call.within_deadline(sleep(pause)).await?;
    }
    unreachable!("the number of attempts is limited")
}
