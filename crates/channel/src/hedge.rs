//! Hedging: a call that may run twice is sent to a second instance when the first takes long. The
//! first answer wins, and the other attempt is cancelled.

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
    call::{AbortOnDrop, Call, retry_decision},
    cluster::Cluster,
    endpoint::Endpoint,
    replay::Replay,
    retry::{self, Pushback, Retry},
};

/// How long the first attempt of a call has before another joins it; `None` when none may.
pub(crate) fn delay(cluster: &Cluster, target: &Target, parts: &Parts) -> Option<Duration> {
    if target.instance.is_some() {
        return None;
    }
    let declared = parts.headers.contains_key(retry::IDEMPOTENT);
    cluster.hedge_delay(parts.uri.path().trim_start_matches('/'), declared)
}

/// A request's body, as far as it could be had.
pub(crate) enum Collected {
    /// All of it: it can be sent as often as wanted.
    All(Bytes),
    /// It is large, or its sender takes its time: what has come, and then the rest.
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

/// A body whose beginning was read already.
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

/// Sends a call to one instance after another, each `delay` after the one before or when that has
/// failed, until one answers.
pub(crate) async fn run(
    call: &Call<'_>,
    body: &Bytes,
    delay: Duration,
    picked: impl FnMut(&Arc<Instance>) + Send,
) -> Result<Response<ResponseBody>, Error> {
    let tried = Mutex::new(Vec::new());
    let picked = Mutex::new(picked);
    let attempt = |number| attempt(call, body, number, &tried, &picked);
    let cluster = &call.cluster;
    cluster.budget().deposit(cluster.shared().now());
    let options = cluster.options.load_full();
    let mut attempts = FuturesUnordered::from_iter([attempt(1)]);
    let mut number = 1;
    let mut next = Some(Instant::now() + delay);
    loop {
        tokio::select! {
            Some(outcome) = attempts.next() => {
                // Nobody had room for a hedge: the attempts before it go on.
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
                let follows = || next.is_some() && !last && may_follow(cluster, &tried, retry);
                if attempts.is_empty() && !follows() {
                    return outcome;
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                let may = || may_follow(cluster, &tried, Retry::IfIdempotent);
                let hedge = || number < options.hedge_max && may();
                // After the last one failed it was asked already.
                if !attempts.is_empty() && !hedge() {
                    next = None;
                    continue;
                }
                number += 1;
                attempts.push(attempt(number));
                next = Some(Instant::now() + delay);
            }
        }
    }
}

/// Whether another attempt may follow: when no instance has the call, else when there is another one
/// and the budget allows it; counted if so.
fn may_follow(cluster: &Cluster, tried: &Mutex<Vec<Arc<Endpoint>>>, retry: Retry) -> bool {
    let tried = tried.lock();
    let Some(last) = tried.last() else {
        return false;
    };
    let others = cluster.snapshot.load().members.len() > tried.len();
    let reason = match retry {
        Retry::IfUnsent => "unsent",
        _ if others && cluster.budget().withdraw(cluster.shared().now()) => "hedge",
        _ => return false,
    };
    cluster.retried(reason, last);
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
    // When another answers first, this is dropped, and the instance told.
    let mut abort = AbortOnDrop(Some(replay.clone()));
    let avoid = tried.lock().clone();
    let in_flight = call
        .within_deadline(call.cluster.acquire(call.target, &avoid))
        .await??;
    tried.lock().push(Arc::clone(in_flight.endpoint()));
    picked.lock()(&in_flight.instance());
    let response = call.attempt(number, in_flight, &replay).await?;
    // From here on the answer's body sees to it.
    abort.0 = None;
    Ok(response)
}
