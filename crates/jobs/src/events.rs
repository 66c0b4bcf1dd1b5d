//! What happened: to one job, or in one queue, from a cursor on.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::select_all;
use tokio::time::Instant;

use crate::{Error, Event, JobId, Jobs, Lane, Status};

/// How far clocks of machines may be apart, in ms.
const SKEW: u64 = 60_000;
/// How many events are read at once, at least.
const READ: usize = 256;

/// Some events, in order.
#[derive(Debug, Clone)]
pub struct EventPage {
    /// The events. The cursor of each leads to what comes after it.
    pub events: Vec<Event>,
    /// Leads to what comes after all of them.
    pub cursor: String,
    /// Nothing more will come: the job has ended.
    pub ended: bool,
}

impl Jobs {
    /// What happened to a job after a cursor (an empty one: from its beginning), at most `max`;
    /// waits for something for up to `wait`. A dead letter that is retried goes on where the
    /// last cursor led.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unavailable`].
    pub async fn job_events(
        &self,
        id: &JobId,
        cursor: &str,
        max: usize,
        wait: Duration,
    ) -> Result<EventPage, Error> {
        let (lane, until) = (id.lane(), Instant::now() + wait);
        let mut status = self.get(id).await?.status;
        let mut cursor = match cursor {
            "" => self.store.cursor_at(id.made_at().saturating_sub(SKEW)),
            known => known.to_owned(),
        };
        loop {
            let read = self.store.events(&lane, &cursor, max.max(READ)).await?;
            let dry = read.is_empty();
            let mut events = Vec::new();
            for event in read {
                if events.len() == max {
                    break;
                }
                cursor.clone_from(&event.cursor);
                if event.id == *id {
                    events.push(event);
                }
            }
            let last = events.last().and_then(|event| Status::parse(&event.name));
            let told = last.is_some_and(Status::is_terminal);
            if !events.is_empty() {
                // Terminal, and not queued again since.
                let ended = told && self.get(id).await?.status.is_terminal();
                return Ok(EventPage {
                    events,
                    cursor,
                    ended,
                });
            }
            if dry {
                let left = until.saturating_duration_since(Instant::now());
                // Looked at before the events: what ended it would have been among them.
                if left.is_zero() || status.is_terminal() {
                    return Ok(EventPage {
                        events,
                        cursor,
                        ended: status.is_terminal(),
                    });
                }
                self.store.eventful(&lane, &cursor, left).await?;
                status = self.get(id).await?.status;
            }
        }
    }

    /// What happened in a queue after a cursor (an empty one: from the oldest known), at most
    /// `max`; waits for something for up to `wait`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that is none; [`Error::Unavailable`].
    pub async fn events(
        &self,
        queue: &str,
        cursor: &str,
        max: usize,
        wait: Duration,
    ) -> Result<EventPage, Error> {
        let until = Instant::now() + wait;
        let lanes = self.lanes_of(queue)?;
        let mut positions = decode(cursor)?;
        loop {
            let mut events = Vec::new();
            for lane in &lanes {
                let after = positions.get(&lane.partition).map_or("", String::as_str);
                // Times are taken before a store puts events in order, and may run backwards. The
                // order in a lane must stay, or its position would leave out or repeat some.
                let mut latest = 0;
                for event in self.store.events(lane, after, max).await? {
                    latest = event.at.max(latest);
                    events.push((latest, event));
                }
            }
            events.sort_by_key(|(at, _)| *at);
            let mut events: Vec<Event> = events.into_iter().map(|(_, event)| event).collect();
            events.truncate(max);
            for event in &mut events {
                let lane = event.id.lane();
                positions.insert(lane.partition, std::mem::take(&mut event.cursor));
                event.cursor = encode(&positions);
            }
            let left = until.saturating_duration_since(Instant::now());
            if !events.is_empty() || left.is_zero() {
                return Ok(EventPage {
                    events,
                    cursor: encode(&positions),
                    ended: false,
                });
            }
            let waits = lanes.iter().map(|lane: &Lane| {
                let after = positions.get(&lane.partition).map_or("", String::as_str);
                self.store.eventful(lane, after, left)
            });
            select_all(waits).await.0?;
        }
    }
}

/// A queue's cursor is the cursors of its lanes: `0=<cursor>,1=<cursor>`.
fn encode(positions: &BTreeMap<u16, String>) -> String {
    let parts = positions
        .iter()
        .map(|(partition, cursor)| format!("{partition}={cursor}"));
    parts.collect::<Vec<_>>().join(",")
}

fn decode(cursor: &str) -> Result<BTreeMap<u16, String>, Error> {
    let parts = cursor
        .split(',')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (partition, cursor) = part.split_once('=')?;
            Some((partition.parse().ok()?, cursor.to_owned()))
        });
    let positions = parts.collect::<Option<_>>();
    positions.ok_or_else(|| Error::invalid("cursor", "is not one of a queue's events"))
}
