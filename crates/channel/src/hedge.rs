//! Hedging (gRPC A6): a call that may run twice is also sent to a second instance when the first
//! takes long. The first answer wins, and the other attempt is cancelled.

use std::{collections::VecDeque, pin::Pin, sync::Arc, task, time::Duration};

use bytes::Bytes;
use discovery::Instance;
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use http::{Response, request::Parts};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Status, body::Body};

use crate::{
    Error, ResponseBody, Target,
    cluster_client::ClusterClient,
    connections::Endpoint,
    replay::Replay,
    retry::{self, Pushback, Retry},
    send::{AbortOnDrop, Call, retry_decision},
};

/// How long the first attempt has before a hedge is sent; `None` without hedging.
pub(crate) fn delay(client: &ClusterClient, target: &Target, parts: &Parts) -> Option<Duration> {
    if target.instance.is_some() {
        return None;
    }
    let declared = parts.headers.contains_key(retry::IDEMPOTENT);
    client.hedge_delay(parts.uri.path().trim_start_matches('/'), declared)
}

/// A request's body, as far as it was read.
pub(crate) enum Collected {
    /// All of it: it can be sent several times.
    All(Bytes),
    /// It is large or slow: what has come, and then the rest.
    Part(Body),
}

/// Reads a body of at most `limit` bytes within a time.
pub(crate) async fn collect(mut body: Body, limit: usize, time: Duration) -> Collected {
    let until = Instant::now() + time;
    let mut come = VecDeque::new();
    let mut bytes = 0;
    while !body.is_end_stream() {
        let frame = match timeout_at(until, body.frame()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => break,
            Err(_) => {
                return Collected::Part(Body::new(PartlyRead {
                    come,
                    remaining: body,
                }));
            }
        };
        bytes += frame
            .as_ref()
            .ok()
            .and_then(Frame::data_ref)
            .map_or(limit + 1, Bytes::len);
        come.push_back(frame);
        if bytes > limit {
            return Collected::Part(Body::new(PartlyRead {
                come,
                remaining: body,
            }));
        }
    }
    let mut all = Vec::with_capacity(bytes);
    for data in come.into_iter().filter_map(|f| f.ok()?.into_data().ok()) {
        all.extend_from_slice(&data);
    }
    Collected::All(all.into())
}

/// A body whose beginning was already read.
struct PartlyRead {
    come: VecDeque<Result<Frame<Bytes>, Status>>,
    remaining: Body,
}

impl http_body::Body for PartlyRead {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut task::Context<'_>,
    ) -> task::Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.come.pop_front() {
            Some(frame) => task::Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.remaining).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.come.is_empty() && self.remaining.is_end_stream()
    }
}

/// Sends a call to one instance after another until one answers. Each attempt starts `delay` after
/// the one before, or when that has failed.
pub(crate) async fn run(
    call: &Call<'_>,
    body: &Bytes,
    delay: Duration,
    picked: impl FnMut(&Arc<Instance>) + Send,
) -> Result<Response<ResponseBody>, Error> {
    let tried = Mutex::new(Vec::new());
    let picked = Mutex::new(picked);
    let attempt = |number| attempt(call, body, number, &tried, &picked);
    let client = &call.client;
    client.deposit(client.now());
    let options = Arc::clone(&client.options());
    let mut attempts = FuturesUnordered::from_iter([attempt(1)]);
    let mut number = 1;
    let mut next = Some(Instant::now() + delay);
    loop {
        tokio::select! {
            Some(outcome) = attempts.next() => {
                // No instance has room for a hedge: the attempts before it continue.
                if !attempts.is_empty() && outcome.as_ref().is_err_and(Error::is_transient) {
                    continue;
                }
                let (retry, pushback) = retry_decision(&outcome);
                let pause = match pushback {
                    Pushback::Stop => None,
                    _ if retry == Retry::Never => return outcome,
                    Pushback::Wait(pause) => Some(pause),
                    Pushback::None => Some(Duration::ZERO),
                };
                next = pause.map(|pause| Instant::now() + pause);
                let last = number >= options.max_attempts.max(options.hedge_max);
                let follows = || next.is_some() && !last && may_follow(client, &tried, retry);
                if attempts.is_empty() && !follows() {
                    return match retry {
                        Retry::Never => outcome,
                        _ => outcome.map_err(|error| Error::Exhausted(Box::new(error))),
                    };
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let may = || may_follow(client, &tried, Retry::IfIdempotent);
                let hedge = || number < options.hedge_max && may();
                // After the last one failed it was asked already.
                if !attempts.is_empty() && !hedge() {
                    next = None;
                    continue;
                }
                if !attempts.is_empty() {
                    client.counts.hedged();
                }
                number += 1;
                attempts.push(attempt(number));
                next = Some(Instant::now() + delay);
            }
        }
    }
}

/// Whether another attempt may follow: when no instance has processed the call, else when there is
/// another instance and the budget allows it. Counts the attempt if so.
fn may_follow(client: &ClusterClient, tried: &Mutex<Vec<Arc<Endpoint>>>, retry: Retry) -> bool {
    let tried = tried.lock();
    let Some(last) = tried.last() else {
        return false;
    };
    let others = client.cluster.snapshot().members.len() > tried.len();
    let reason = match retry {
        Retry::IfUnsent => "unsent",
        _ if others && client.withdraw() => "hedge",
        _ => return false,
    };
    client.retried(reason, last);
    true
}

async fn attempt(
    call: &Call<'_>,
    body: &Bytes,
    number: usize,
    tried: &Mutex<Vec<Arc<Endpoint>>>,
    picked: &Mutex<impl FnMut(&Arc<Instance>) + Send>,
) -> Result<Response<ResponseBody>, Error> {
    let replay = Replay::new(Body::new(Full::new(body.clone())), 0);
    // When another answers first, this is dropped, which cancels the call on its instance.
    let mut abort = AbortOnDrop(Some(replay.clone()));
    let avoid = tried.lock().clone();
    let in_flight = call
        .within_deadline(call.client.acquire(call.target, &avoid))
        .await??;
    tried.lock().push(Arc::clone(in_flight.attempt.endpoint()));
    picked.lock()(&in_flight.attempt.peer().instance());
    let response = call.attempt(number, in_flight, &replay).await?;
    // From here on the answer's body aborts it.
    abort.0 = None;
    Ok(response)
}
