//! Waiting for a lane's events: however many wait, one of them does it for all, on one connection
//! that may block. When it has what it waited for, or is dropped, the next one takes its turn.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::Value;
use tokio::sync::watch;

use super::{
    Redis,
    events::{block, position},
    reply,
};
use crate::{Error, Lane};

/// The place of an entry in a stream: its id, `<ms>-<number>`.
type EntryId = (u64, u64);

/// The lanes whose events somebody waits for.
#[derive(Debug, Default)]
pub(super) struct TailWatchers(Mutex<HashMap<Lane, Arc<TailWatcher>>>);

#[derive(Debug, Default)]
struct TailWatcher {
    /// Held by the one that asks Redis.
    turn: tokio::sync::Mutex<()>,
    /// The latest entry, as that one saw it. It is what Redis says, not the greatest ever seen: a
    /// Redis that came back older has an earlier one.
    latest: watch::Sender<EntryId>,
}

/// A place among those that wait; the last one to leave takes the lane along.
struct TailSubscription<'a> {
    watchers: &'a TailWatchers,
    lane: &'a Lane,
    tail: Arc<TailWatcher>,
}

impl TailWatchers {
    fn subscribe<'a>(&'a self, lane: &'a Lane) -> TailSubscription<'a> {
        let mut lanes = self.0.lock();
        let tail = lanes.entry(lane.clone()).or_default().clone();
        TailSubscription {
            watchers: self,
            lane,
            tail,
        }
    }
}

impl Drop for TailSubscription<'_> {
    fn drop(&mut self) {
        let mut lanes = self.watchers.0.lock();
        // The map's and this one: subscriptions are only taken under the lock.
        if Arc::strong_count(&self.tail) == 2 {
            lanes.remove(self.lane);
        }
    }
}

/// Waits until the lane's events grow past the cursor.
pub(super) async fn wait(
    redis: &Redis,
    lane: &Lane,
    cursor: &str,
    wait: Duration,
) -> Result<(), Error> {
    let until = Instant::now() + wait;
    let bad_cursor = || Error::invalid("cursor", "is not one of these events");
    let after = place(&position(cursor).ok_or_else(bad_cursor)?.0);
    let subscription = redis.tail_watchers.subscribe(lane);
    let TailWatcher { turn, latest } = &*subscription.tail;
    let mut told = latest.subscribe();
    // The guard of what is watched must not be held while this waits for anything else.
    let told = async { told.wait_for(|latest| *latest > after).await.map(drop) };
    tokio::select! {
        // What was told last may be of a time when nobody asked: that is asked for first.
        biased;
        _turn = turn.lock() => ask(redis, lane, after, latest, until).await,
        _ = told => Ok(()),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// Asks Redis, and tells what it says to all who wait.
async fn ask(
    redis: &Redis,
    lane: &Lane,
    after: EntryId,
    latest: &watch::Sender<EntryId>,
    until: Instant,
) -> Result<(), Error> {
    let events = format!("{}:ev", redis.key(lane));
    loop {
        let tail = tail(redis, &events).await?;
        latest.send_replace(place(&tail));
        let left = until.saturating_duration_since(Instant::now());
        if place(&tail) > after || left.is_zero() {
            return Ok(());
        }
        // From the latest entry on, and not from its own cursor, which may lie far ahead of the
        // others' when a client made it up.
        block(redis, std::slice::from_ref(&events), &[tail], left).await?;
    }
}

/// The id of the stream's latest entry; `0-0` of none.
pub(super) async fn tail(redis: &Redis, events: &str) -> Result<String, Error> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(events).arg("+").arg("-").arg("COUNT").arg(1);
    let answer = redis.connections.send(&command).await;
    let answer = answer.map_err(|failure| redis.error(failure))?;
    let read = |answer: Value| {
        let Some(entry) = reply::array(answer)?.into_iter().next() else {
            return Ok("0-0".to_owned());
        };
        let [id, _] = reply::row(entry)?;
        reply::text(id)
    };
    read(answer).map_err(|bad_reply| redis.bad_reply(bad_reply))
}

pub(super) fn place(id: &str) -> EntryId {
    let (ms, number) = id.split_once('-').unwrap_or((id, "0"));
    (ms.parse().unwrap_or(0), number.parse().unwrap_or(0))
}
