//! Everything in memory, and how each record changes it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ops::Bound,
};

use bytes::Bytes;

use super::{
    completions::CompletionSlot,
    job_slot::JobSlot,
    record::{LogRecord, Place},
};
use crate::{
    JobId, JobStatus, Lane,
    store::{EventBatch, JobCounts, JobEvent, JobPage, ListedJob},
};

/// One lane: its jobs in order by status, its totals and its events.
#[derive(Debug, Default)]
pub(super) struct LaneState {
    pub(super) order: HashMap<JobStatus, BTreeMap<(u64, u64), JobId>>,
    pub(super) sums: BTreeMap<JobStatus, u64>,
    pub(super) events: VecDeque<(u64, JobEvent)>,
    /// The number of the latest event that was dropped.
    dropped: u64,
    /// All its jobs, in the order in which they were submitted.
    ids: BTreeSet<(u64, JobId)>,
    /// What is not acknowledged yet, by tag and number.
    pub(super) completions: HashMap<String, BTreeMap<u64, CompletionSlot>>,
}

impl LaneState {
    pub(super) fn of(&self, status: JobStatus) -> impl Iterator<Item = (&(u64, u64), &JobId)> {
        self.order.get(&status).into_iter().flatten()
    }

    pub(super) fn count(&self, status: JobStatus) -> u64 {
        self.order.get(&status).map_or(0, |jobs| jobs.len() as u64)
    }

    fn push_event(&mut self, number: u64, event: JobEvent, keep: usize) {
        self.events.push_back((number, event));
        while self.events.len() > keep
            && let Some((number, _)) = self.events.pop_front()
        {
            self.dropped = number;
        }
    }
}

/// The whole store.
#[derive(Debug, Default)]
pub(super) struct StoreState {
    pub(super) jobs: HashMap<JobId, JobSlot>,
    pub(super) lanes: BTreeMap<Lane, LaneState>,
    /// Idempotency keys by queue and key: fingerprint, job, and until when.
    pub(super) keys: HashMap<(String, String), (String, JobId, u64)>,
    key_ends: BTreeSet<(u64, String, String)>,
    pub(super) timers: BTreeMap<String, Bytes>,
    pub(super) seq: u64,
    /// The time when something last happened.
    pub(super) last: u64,
    /// Numbers of events up to this one may have been given, by this process or one before.
    pub(super) reserved: u64,
    /// How many events a lane keeps.
    pub(super) keep: usize,
}

impl StoreState {
    /// Makes a record true. `data` is what belongs to it; a job that only moves keeps its own.
    pub(super) fn apply(&mut self, record: LogRecord, data: Option<Bytes>) {
        match record {
            LogRecord::Put {
                id,
                place,
                seq,
                at,
                made,
            } => self.put(id, place, seq, at, made, data),
            LogRecord::Completed {
                id,
                tag,
                number,
                status,
            } => self.complete(id, tag, number, status, data),
            LogRecord::Acknowledged { lane, tag, numbers } => {
                if let Ok(lane) = lane.parse() {
                    self.acknowledge(&lane, &tag, &numbers);
                }
            }
            LogRecord::Forget { ids } => ids.iter().for_each(|id| self.forget(id)),
            LogRecord::Key {
                queue,
                key,
                print,
                id,
                until,
            } => {
                self.key_ends.insert((until, queue.clone(), key.clone()));
                self.keys.insert((queue, key), (print, id, until));
            }
            LogRecord::Reserve { until } => self.reserved = self.reserved.max(until),
            LogRecord::Timer { name } => match data {
                Some(text) => drop(self.timers.insert(name, text)),
                None => drop(self.timers.remove(&name)),
            },
            LogRecord::Sums {
                lane,
                sums,
                dropped,
            } => {
                if let Ok(lane) = lane.parse() {
                    let lane_state = self.lanes.entry(lane).or_default();
                    (lane_state.sums, lane_state.dropped) = (sums, dropped);
                }
            }
            LogRecord::Event {
                lane,
                number,
                at,
                id,
                name,
                data,
            } => {
                self.seq = self.seq.max(number);
                self.last = self.last.max(at);
                if let Ok(lane) = lane.parse() {
                    let event = JobEvent {
                        cursor: number.to_string(),
                        at,
                        id,
                        name,
                        data,
                    };
                    self.lanes
                        .entry(lane)
                        .or_default()
                        .push_event(number, event, self.keep);
                }
            }
        }
    }

    fn put(
        &mut self,
        id: JobId,
        place: Place,
        seq: u64,
        at: Option<u64>,
        made: Option<u64>,
        data: Option<Bytes>,
    ) {
        let old = self.take(&id);
        let before = old.as_ref().map(|old| old.made);
        let (known, notes) = old.map_or((None, Vec::new()), |old| (Some(old.packed), old.notes));
        let made = match id.is_chosen() {
            // Its first record has the time.
            true => before.or(made).or(at).unwrap_or(0),
            false => id.made_at(),
        };
        // A job that moves without data has it already.
        let Some(packed) = data.or(known) else {
            return;
        };
        self.seq = self.seq.max(seq);
        let status = place.status();
        let slot = JobSlot {
            place,
            seq,
            packed,
            made,
            renewed: 0,
            progress: None,
            notes,
            cancelling: false,
        };
        let lane_state = self.lanes.entry(id.lane()).or_default();
        lane_state.ids.insert((made, id.clone()));
        lane_state
            .order
            .entry(status)
            .or_default()
            .insert(slot.rank(), id.clone());
        if let Some(at) = at {
            self.last = at;
            *lane_state.sums.entry(status).or_default() += 1;
            let (cursor, name) = (seq.to_string(), status.as_str().to_owned());
            let event = JobEvent {
                cursor,
                at,
                id: id.clone(),
                name,
                data: None,
            };
            lane_state.push_event(seq, event, self.keep);
        }
        self.jobs.insert(id, slot);
    }

    fn take(&mut self, id: &JobId) -> Option<JobSlot> {
        let slot = self.jobs.remove(id)?;
        if let Some(lane_state) = self.lanes.get_mut(&id.lane())
            && let Some(order) = lane_state.order.get_mut(&slot.place.status())
        {
            order.remove(&slot.rank());
        }
        Some(slot)
    }

    fn forget(&mut self, id: &JobId) {
        if let Some(slot) = self.take(id)
            && let Some(lane_state) = self.lanes.get_mut(&id.lane())
        {
            lane_state.ids.remove(&(slot.made, id.clone()));
        }
    }

    /// Adds an event of progress, which is not logged.
    pub(super) fn push_event(&mut self, event: JobEvent) {
        self.seq += 1;
        let (number, keep) = (self.seq, self.keep);
        let lane_state = self.lanes.entry(event.id.lane()).or_default();
        lane_state.push_event(
            number,
            JobEvent {
                cursor: number.to_string(),
                ..event
            },
            keep,
        );
    }

    /// Forgets idempotency keys past their time; the log does so by itself when it is read.
    pub(super) fn expire_keys(&mut self, now: u64) {
        while let Some(first) = self
            .key_ends
            .first()
            .filter(|(until, ..)| *until <= now)
            .cloned()
        {
            self.key_ends.remove(&first);
            let (until, queue, key) = first;
            let name = (queue, key);
            if self
                .keys
                .get(&name)
                .is_some_and(|(.., current)| *current == until)
            {
                self.keys.remove(&name);
            }
        }
    }

    /// Jobs of one status after a position, in order, or in reverse for those that ended.
    pub(super) fn page(
        &self,
        lane: &Lane,
        of: JobStatus,
        after: Option<(u64, u64)>,
        max: usize,
    ) -> JobPage {
        let Some(order) = self
            .lanes
            .get(lane)
            .and_then(|lane_state| lane_state.order.get(&of))
        else {
            return JobPage::default();
        };
        let bound = after.map_or(Bound::Unbounded, Bound::Excluded);
        let place = |(rank, seq): &(u64, u64)| format!("{rank}/{seq}");
        if matches!(of, JobStatus::Succeeded | JobStatus::Cancelled) {
            let order = order.range((Bound::Unbounded, bound)).rev();
            return self.listed(order.map(|(at, id)| (place(at), id)), max);
        }
        let order = order.range((bound, Bound::Unbounded));
        self.listed(order.map(|(at, id)| (place(at), id)), max)
    }

    /// All jobs, latest submitted first, from before one of them on.
    pub(super) fn all(&self, lane: &Lane, before: Option<&(u64, JobId)>, max: usize) -> JobPage {
        let Some(lane_state) = self.lanes.get(lane) else {
            return JobPage::default();
        };
        let before = before.map_or(Bound::Unbounded, Bound::Excluded);
        let order = lane_state.ids.range((Bound::Unbounded, before)).rev();
        self.listed(order.map(|place| (place_text(place), &place.1)), max)
    }

    fn listed<'a>(&self, order: impl Iterator<Item = (String, &'a JobId)>, max: usize) -> JobPage {
        let found = order.filter_map(|(position, id)| {
            let found = self.jobs.get(id)?.found(id);
            Some(ListedJob { found, position })
        });
        let jobs: Vec<ListedJob> = found.take(max).collect();
        let next = jobs.last().filter(|_| jobs.len() == max);
        let next = next.map(|last| last.position.clone());
        JobPage { jobs, next }
    }

    /// Records that lead to this state from nothing, with the bytes that belong to them.
    pub(super) fn snapshot(&self) -> Vec<(LogRecord, Option<Bytes>)> {
        let until = self.reserved;
        let mut records = vec![(LogRecord::Reserve { until }, None)];
        for (id, slot) in &self.jobs {
            let made = id.is_chosen().then_some(slot.made);
            let put = LogRecord::Put {
                id: id.clone(),
                place: slot.place.clone(),
                seq: slot.seq,
                at: None,
                made,
            };
            records.push((put, Some(slot.packed.clone())));
        }
        for ((queue, key), (print, id, until)) in &self.keys {
            let (queue, key, print, id) = (queue.clone(), key.clone(), print.clone(), id.clone());
            let taken = LogRecord::Key {
                queue,
                key,
                print,
                id,
                until: *until,
            };
            records.push((taken, None));
        }
        for (name, text) in &self.timers {
            let name = name.clone();
            records.push((LogRecord::Timer { name }, Some(text.clone())));
        }
        for (lane, lane_state) in &self.lanes {
            let (name, sums) = (lane.to_string(), lane_state.sums.clone());
            let dropped = lane_state.dropped;
            let sums = LogRecord::Sums {
                lane: name,
                sums,
                dropped,
            };
            records.push((sums, None));
            for (number, event) in &lane_state.events {
                records.push((LogRecord::event(lane.to_string(), *number, event), None));
            }
            for (tag, completions) in &lane_state.completions {
                for (number, slot) in completions {
                    records.push(self.completed(tag, *number, slot));
                }
            }
        }
        records
    }

    pub(super) fn counts(&self, lane: &Lane, now: u64) -> JobCounts {
        let Some(lane_state) = self.lanes.get(lane) else {
            return JobCounts {
                now,
                ..JobCounts::default()
            };
        };
        let total = |status| lane_state.sums.get(&status).copied().unwrap_or(0);
        // Within a priority the first one waits longest.
        let firsts = (0..5).filter_map(|rank| {
            let order = lane_state.order.get(&JobStatus::Queued)?;
            let (_, id) = order.range((rank, 0)..=(rank, u64::MAX)).next()?;
            match self.jobs.get(id)?.place {
                Place::Queued { since, .. } => Some(since),
                _ => None,
            }
        });
        JobCounts {
            queued: lane_state.count(JobStatus::Queued),
            scheduled: lane_state.count(JobStatus::Scheduled),
            running: lane_state.count(JobStatus::Running),
            failed: lane_state.count(JobStatus::Failed),
            dead: lane_state.count(JobStatus::Dead),
            succeeded: total(JobStatus::Succeeded),
            cancelled: total(JobStatus::Cancelled),
            oldest_queued_at: firsts.min(),
            now,
        }
    }

    /// Events of a lane after one of them; from the oldest that is kept without one.
    pub(super) fn events(&self, lane: &Lane, after: Option<u64>, max: usize) -> EventBatch {
        let Some(lane_state) = self.lanes.get(lane) else {
            return EventBatch::default();
        };
        let after = after.unwrap_or(lane_state.dropped);
        // Older than what is kept, or of a log that came back shorter.
        let missed = if after < lane_state.dropped {
            Some(lane_state.dropped)
        } else {
            (after > self.seq).then_some(self.seq)
        };
        let after = missed.unwrap_or(after);
        let first = lane_state
            .events
            .partition_point(|(number, _)| *number <= after);
        let events = lane_state.events.range(first..).take(max);
        EventBatch {
            events: events.map(|(_, event)| event.clone()).collect(),
            missed: missed.map(|number| number.to_string()),
        }
    }
}

/// A place in the order of submission as a text: the id, which has the time unless it was chosen.
fn place_text((made, id): &(u64, JobId)) -> String {
    match id.is_chosen() {
        true => format!("{made}/{id}"),
        false => id.to_string(),
    }
}

/// The inverse.
pub(super) fn read_place(text: &str) -> Option<(u64, JobId)> {
    match text.split_once('/') {
        Some((made, id)) => Some((made.parse().ok()?, id.parse().ok()?)),
        None => {
            let id: JobId = text.parse().ok()?;
            Some((id.made_at(), id))
        }
    }
}
