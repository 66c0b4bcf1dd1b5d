//! The steps of the store, made in memory.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    job_slot::JobSlot,
    record::{LogRecord, Place},
    state::StoreState,
    unwritten::Unwritten,
};
use crate::{
    JobId, JobStatus, Lane, MAX_BATCH, clock,
    store::{
        Claim, ClaimRequest, Destination, JobEvent, Lease, Move, MoveOutcome, Renewal, StoredJob,
        Submission, SubmitOutcome, WaitPosition,
    },
};

/// A clock that is set back by less has only been corrected, in ms.
const MAX_CORRECTION: u64 = 1_000;

/// When this process opened the store, for what does not outlive it.
#[derive(Debug)]
struct Opened(Instant);

impl Default for Opened {
    fn default() -> Self {
        Self(Instant::now())
    }
}
/// How many numbers of events are taken at once.
const RESERVED_BLOCK: u64 = 1 << 16;

/// The state, and what of it is still to be written.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) state: StoreState,
    /// Records that the log does not have yet.
    pub(super) unwritten: Unwritten,
    /// Moves that were made but not reported, because the disk refused them: their callers repeat
    /// them.
    pub(super) unacknowledged: HashSet<(JobId, Bytes)>,
    /// How many steps added records.
    pub(super) added: u64,
    opened: Opened,
}

impl Memory {
    pub(super) fn change(&mut self, record: LogRecord, data: Option<Bytes>) {
        self.unwritten.add(&record, data.as_ref());
        self.state.apply(record, data);
    }

    /// Notes the time. When the clock was set back, jobs that wait for theirs wait no longer for
    /// it: their times move along.
    pub(super) fn tick(&mut self, now: u64) {
        let last = std::mem::replace(&mut self.state.last, now);
        let back = last.saturating_sub(now);
        if back <= MAX_CORRECTION {
            return;
        }
        let lane_states = self.state.lanes.values();
        let waiting = lane_states.flat_map(|lane_state| {
            let of = |status| lane_state.of(status).map(|(_, id)| id.clone());
            of(JobStatus::Scheduled).chain(of(JobStatus::Failed))
        });
        let waiting: Vec<JobId> = waiting.collect();
        tracing::warn!(
            back_ms = back,
            jobs = waiting.len(),
            "the clock was set back"
        );
        for id in waiting {
            let Some(mut place) = self.place(&id) else {
                continue;
            };
            if let Place::Waiting { due, .. } = &mut place {
                *due = due.saturating_sub(back);
            }
            let seq = self.state.seq + 1;
            // Without a time it is no event.
            let at = None;
            let made = None;
            let put = LogRecord::Put {
                id,
                place,
                seq,
                at,
                made,
            };
            self.change(put, None);
        }
    }

    /// What leases are measured by, in ms: it does not jump, and is more than the 0 of jobs whose
    /// process is gone.
    fn lease_clock(&self) -> u64 {
        1 + clock::millis(self.opened.0.elapsed())
    }

    /// Makes sure that numbers of events which are given now are not given again after a crash:
    /// some are of events that are in no log. A block of them is taken long before it is needed.
    fn reserve(&mut self) {
        if self.state.seq + RESERVED_BLOCK / 2 >= self.state.reserved {
            let until = self.state.seq + RESERVED_BLOCK;
            self.change(LogRecord::Reserve { until }, None);
        }
    }

    /// Puts a job somewhere, now.
    fn put(&mut self, id: &JobId, place: Place, now: u64, packed: Option<Bytes>) {
        self.reserve();
        let (id, seq) = (id.clone(), self.state.seq + 1);
        self.change(
            LogRecord::Put {
                id,
                place,
                seq,
                at: Some(now),
                made: None,
            },
            packed,
        );
    }

    /// Puts jobs into the queue whose time has come.
    fn promote(&mut self, lane: &Lane, now: u64) {
        for status in [JobStatus::Scheduled, JobStatus::Failed] {
            let lane_state = self.state.lanes.entry(lane.clone()).or_default();
            let due = lane_state
                .of(status)
                .take_while(|((due, _), _)| *due <= now);
            let due: Vec<JobId> = due.map(|(_, id)| id.clone()).collect();
            for id in due {
                if let Some(Place::Waiting { priority, .. }) = self.place(&id) {
                    self.put(&id, Place::queued(priority, now), now, None);
                }
            }
        }
    }

    fn place(&self, id: &JobId) -> Option<Place> {
        self.state.jobs.get(id).map(|slot| slot.place.clone())
    }

    pub(super) fn submit(
        &mut self,
        lane: &Lane,
        entry: &Submission,
        now: u64,
        ttl: u64,
    ) -> SubmitOutcome {
        if self.state.jobs.contains_key(&entry.id) {
            return match entry.id.is_chosen() {
                true => SubmitOutcome::Duplicate(entry.id.clone()),
                // Its client did not hear the answer.
                false => SubmitOutcome::New,
            };
        }
        if let Some((key, print)) = &entry.key {
            let named = (lane.queue.clone(), key.clone());
            if let Some((other, id, _)) = self.state.keys.get(&named) {
                let id = id.clone();
                return if other == print {
                    SubmitOutcome::Duplicate(id)
                } else {
                    SubmitOutcome::Conflict(id)
                };
            }
            let ((queue, key), print, id) = (named, print.clone(), entry.id.clone());
            self.change(
                LogRecord::Key {
                    queue,
                    key,
                    print,
                    id,
                    until: now + ttl,
                },
                None,
            );
        }
        let priority = entry.priority;
        let place = if entry.delay.is_zero() {
            Place::queued(priority, now)
        } else {
            let due = now + clock::millis(entry.delay);
            Place::waiting(JobStatus::Scheduled, priority, due)
        };
        self.put(&entry.id, place, now, Some(entry.packed.clone()));
        SubmitOutcome::New
    }

    pub(super) fn claim(&mut self, lane: &Lane, claim_request: &ClaimRequest, now: u64) -> Claim {
        self.promote(lane, now);
        let nonce: u128 = rand::random();
        let mut ids: Vec<JobId> = Vec::new();
        let lane_state = self.state.lanes.entry(lane.clone()).or_default();
        if let Some(order) = lane_state.order.get(&JobStatus::Queued) {
            for turn in 0..5 {
                // Rank 0 is priority 5.
                let rank = if claim_request.reverse {
                    4 - turn
                } else {
                    turn
                };
                let of = order.range((rank, 0)..=(rank, u64::MAX));
                ids.extend(
                    of.take(claim_request.max - ids.len())
                        .map(|(_, id)| id.clone()),
                );
            }
        }
        let mut jobs = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(Place::Queued { priority, .. }) = self.place(&id) else {
                continue;
            };
            let running = Place::Running {
                priority,
                nonce,
                since: now,
                worker: claim_request.worker.clone(),
            };
            self.put(&id, running, now, None);
            let renewed = self.lease_clock();
            if let Some(slot) = self.state.jobs.get_mut(&id) {
                slot.renewed = renewed;
                let token = slot.token();
                jobs.push((Lease { id, token }, slot.packed.clone()));
            }
        }
        let lane_state = self.state.lanes.entry(lane.clone()).or_default();
        let due =
            [JobStatus::Scheduled, JobStatus::Failed].map(|status| lane_state.of(status).next());
        let due = due.into_iter().flatten().map(|((due, _), _)| *due).min();
        let due_in = due.map(|due| Duration::from_millis(due.saturating_sub(now)));
        Claim {
            jobs,
            now,
            mark: WaitPosition {
                positions: Vec::new(),
                due_in,
            },
        }
    }

    /// Takes claims back that were not reported: their jobs are queued, their attempts not counted.
    pub(super) fn unclaim(&mut self, leases: &[Lease], now: u64) {
        for lease in leases {
            let held = self.held(lease).map(|slot| slot.place.clone());
            if let Some(Place::Running { priority, .. }) = held {
                self.put(&lease.id, Place::queued(priority, now), now, None);
            }
        }
    }

    pub(super) fn transition(&mut self, step: &Move, now: u64) -> MoveOutcome {
        let Some(slot) = self
            .state
            .jobs
            .get(&step.id)
            .filter(|slot| slot.token() == step.from)
        else {
            return MoveOutcome::Stale;
        };
        if slot.cancelling && !matches!(step.to, Destination::End { .. }) {
            return MoveOutcome::Cancelling;
        }
        let ended = |status| Place::Ended { status, at: now };
        let (place, packed) = match &step.to {
            Destination::Queue { priority, packed } => (Place::queued(*priority, now), packed),
            Destination::Later {
                status,
                priority,
                packed,
                delay,
            } => {
                let due = now + clock::millis(*delay);
                (Place::waiting(*status, *priority, due), packed)
            }
            Destination::End { status, record, .. } => (ended(*status), record),
            Destination::DeadLetter { packed, .. } => (ended(JobStatus::Dead), packed),
        };
        let status = place.status();
        self.put(&step.id, place, now, Some(packed.clone()));
        if let Some(note) = step.to.completion() {
            let completed = LogRecord::Completed {
                id: step.id.clone(),
                tag: note.tag.clone(),
                number: self.state.seq,
                status,
            };
            self.change(completed, note.packed.clone());
        }
        MoveOutcome::Done
    }

    /// Notes that running jobs are cancelled, if the leases are still those that they run under.
    pub(super) fn request_cancel(&mut self, lease: &Lease) -> bool {
        let held = self.held(lease);
        held.map(|slot| slot.cancelling = true).is_some()
    }

    pub(super) fn renew(&mut self, lease: &Lease) -> Renewal {
        let renewed = self.lease_clock();
        match self.held(lease) {
            None => Renewal::Stale,
            Some(slot) => {
                slot.renewed = renewed;
                if slot.cancelling {
                    Renewal::Cancelling
                } else {
                    Renewal::Held
                }
            }
        }
    }

    pub(super) fn progress(&mut self, lease: &Lease, progress: &str, now: u64) -> bool {
        let Some(slot) = self.held(lease) else {
            return false;
        };
        slot.note(progress, now);
        self.reserve();
        self.state.push_event(JobEvent {
            cursor: String::new(),
            at: now,
            id: lease.id.clone(),
            name: "progress".to_owned(),
            data: Some(progress.to_owned()),
        });
        true
    }

    fn held(&mut self, lease: &Lease) -> Option<&mut JobSlot> {
        self.state
            .jobs
            .get_mut(&lease.id)
            .filter(|slot| slot.token() == lease.token)
    }

    /// Running jobs that were not renewed for `lease`.
    pub(super) fn expired_leases(&self, lane: &Lane, lease: Duration) -> Vec<StoredJob> {
        let until = self.lease_clock().saturating_sub(clock::millis(lease));
        let Some(lane_state) = self.state.lanes.get(lane) else {
            return Vec::new();
        };
        let running = lane_state
            .of(JobStatus::Running)
            .filter_map(|(_, id)| Some((id, self.state.jobs.get(id)?)));
        let expired = running.filter(|(_, slot)| slot.renewed <= until);
        let expired = expired.map(|(id, slot)| slot.found(id)).take(MAX_BATCH);
        expired.collect()
    }

    /// Running jobs that were cancelled.
    pub(super) fn cancel_requests(&self, lane: &Lane) -> Vec<JobId> {
        let lane_state = self.state.lanes.get(lane);
        let running = lane_state
            .into_iter()
            .flat_map(|it| it.of(JobStatus::Running));
        let off = |id: &JobId| self.state.jobs.get(id).is_some_and(|slot| slot.cancelling);
        running
            .map(|(_, id)| id)
            .filter(|id| off(id))
            .cloned()
            .collect()
    }

    /// Forgets jobs of a status that ended up to a time; returns how many.
    pub(super) fn forget(&mut self, lane: &Lane, status: JobStatus, until: u64) -> usize {
        let Some(lane_state) = self.state.lanes.get(lane) else {
            return 0;
        };
        let old = lane_state.of(status).map(|(_, id)| id).take_while(|id| {
            let place = self.state.jobs.get(*id).map(|slot| &slot.place);
            matches!(place, Some(Place::Ended { at, .. }) if *at <= until)
        });
        let ids: Vec<JobId> = old.take(MAX_BATCH).cloned().collect();
        let count = ids.len();
        if count > 0 {
            self.change(LogRecord::Forget { ids }, None);
        }
        count
    }
}
