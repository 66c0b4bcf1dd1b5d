//! What happened: to one job, or in one queue, from a cursor on.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::select_all;
use tokio::time::{Instant, sleep};

use crate::{
    Error, JobEvent, JobId, JobRecord, Jobs, Lane,
    job_events::{self, EventPosition},
};

/// How long a job's follower waits at least, and at most, before it looks at the job again, when
/// what happened in the queue happened to others.
const POLL_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(200));

/// How long a follower waits before it checks again though nothing came: a job or a stream that is
/// deleted sends no event.
const RECHECK: Duration = Duration::from_secs(2);

/// Some events, in order.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The cursor before the oldest kept event, if some events after the given cursor are gone.
    /// These events come after it.
    pub missed: Option<String>,
    /// The events. The cursor of each leads to what comes after it.
    pub events: Vec<JobEvent>,
    /// Leads to what comes after all of them.
    pub cursor: String,
    /// Nothing more will come: the job has ended.
    pub ended: bool,
}

impl Jobs {
    /// What happened to a job after a cursor (an empty one: from its beginning), at most `max`;
    /// waits for something for up to `wait`. It is read from the job's own record. A dead letter
    /// that is retried goes on where the last cursor led.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Invalid`] for a cursor of something else;
    /// [`Error::Unavailable`].
    pub async fn job_events(
        &self,
        id: &JobId,
        cursor: &str,
        max: usize,
        wait: Duration,
    ) -> Result<EventPage, Error> {
        let (lane, until) = (id.lane(), Instant::now() + wait);
        let from = EventPosition::read(cursor, id).ok_or_else(bad_cursor)?;
        let mut pause = POLL_PAUSE.0;
        loop {
            // Before the look, so that nothing is slept through.
            let latest = match wait.is_zero() {
                true => String::new(),
                false => self.store.last_event(&lane).await?,
            };
            let trail = self.store.find_with_notes(id).await?;
            let (found, notes) = trail.ok_or_else(|| Error::NotFound { id: id.to_string() })?;
            let record = JobRecord::of(&found, &self.store.name())?;
            let after = job_events::after(id, &record.header.history, &notes, from, max.max(1));
            let ended = after.all && record.status.is_terminal();
            let left = until.saturating_duration_since(Instant::now());
            if !after.events.is_empty() || after.missed.is_some() || ended || left.is_zero() {
                return Ok(EventPage {
                    missed: after.missed.map(|place| place.text(id)),
                    events: after.events,
                    cursor: after.place.text(id),
                    ended,
                });
            }
            self.store
                .wait_for_event(&lane, &latest, left.min(RECHECK))
                .await?;
            sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
            pause = (pause * 2).min(POLL_PAUSE.1);
        }
    }

    /// What happened in a queue after a cursor (an empty one: from the oldest known), at most
    /// `max`; waits for something for up to `wait`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an invalid cursor; [`Error::Unavailable`].
    pub async fn events(
        &self,
        queue: &str,
        cursor: &str,
        max: usize,
        wait: Duration,
    ) -> Result<EventPage, Error> {
        let until = Instant::now() + wait;
        let lanes = self.lanes_ever(queue).await?;
        let mut positions = decode(queue, cursor)?;
        loop {
            let (mut events, mut missed) = (Vec::new(), false);
            for lane in &lanes {
                let after = positions.get(&lane.partition).map_or("", String::as_str);
                let read = self.store.events(lane, after, max).await?;
                if let Some(oldest) = read.missed {
                    positions.insert(lane.partition, oldest);
                    missed = true;
                }
                // Times are taken before a store puts events in order, and may run backwards. The
                // order in a lane must stay, or its position would leave out or repeat some.
                let mut latest = 0;
                for event in read.events {
                    latest = event.at.max(latest);
                    events.push((latest, event));
                }
            }
            let missed = missed.then(|| encode(queue, &positions));
            events.sort_by_key(|(at, _)| *at);
            let mut events: Vec<JobEvent> = events.into_iter().map(|(_, event)| event).collect();
            events.truncate(max);
            for event in &mut events {
                let lane = event.id.lane();
                positions.insert(lane.partition, std::mem::take(&mut event.cursor));
                event.cursor = encode(queue, &positions);
            }
            let left = until.saturating_duration_since(Instant::now());
            if !events.is_empty() || missed.is_some() || left.is_zero() {
                return Ok(EventPage {
                    missed,
                    events,
                    cursor: encode(queue, &positions),
                    ended: false,
                });
            }
            let waits = lanes.iter().map(|lane: &Lane| {
                let after = positions.get(&lane.partition).map_or("", String::as_str);
                self.store.wait_for_event(lane, after, left.min(RECHECK))
            });
            select_all(waits).await.0?;
        }
    }
}

/// A queue's cursor is the cursors of its lanes: `<queue>:0=<cursor>,1=<cursor>`.
fn encode(queue: &str, positions: &BTreeMap<u16, String>) -> String {
    if positions.is_empty() {
        return String::new();
    }
    let parts = positions
        .iter()
        .map(|(partition, cursor)| format!("{partition}={cursor}"));
    format!("{queue}:{}", parts.collect::<Vec<_>>().join(","))
}

fn decode(queue: &str, cursor: &str) -> Result<BTreeMap<u16, String>, Error> {
    if cursor.is_empty() {
        return Ok(BTreeMap::new());
    }
    let parts = match cursor.split_once(':') {
        Some((of, _)) if of != queue => return Err(bad_cursor()),
        Some((_, parts)) => parts,
        // As cursors were before they named their queue.
        None => cursor,
    };
    let parts = parts.split(',').map(|part| {
        let (partition, cursor) = part.split_once('=')?;
        // An empty one is not written: it would stand for the beginning.
        let cursor = Some(cursor).filter(|cursor| !cursor.is_empty());
        Some((partition.parse().ok()?, cursor?.to_owned()))
    });
    parts.collect::<Option<_>>().ok_or_else(bad_cursor)
}

fn bad_cursor() -> Error {
    Error::invalid("cursor", "is not one of these events")
}
