//! Completions in memory: kept until they are acknowledged, whatever becomes of their jobs.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{memory::Memory, record::LogRecord, state::StoreState};
use crate::{
    JobId, JobStatus, Lane,
    store::{CompletionSource, StoredCompletion},
};

/// The end of a job. Its record shares its bytes with the job's, unless that has changed.
#[derive(Debug, Clone)]
pub(super) struct CompletionSlot {
    pub(super) id: JobId,
    pub(super) status: JobStatus,
    pub(super) packed: Bytes,
}

impl StoreState {
    pub(super) fn complete(
        &mut self,
        id: JobId,
        tag: String,
        number: u64,
        status: JobStatus,
        data: Option<Bytes>,
    ) {
        let packed = data.or_else(|| self.jobs.get(&id).map(|slot| slot.packed.clone()));
        let Some(packed) = packed else { return };
        let lane_state = self.lanes.entry(id.lane()).or_default();
        let completions = lane_state.completions.entry(tag).or_default();
        let slot = CompletionSlot { id, status, packed };
        completions.insert(number, slot);
    }

    pub(super) fn acknowledge(&mut self, lane: &Lane, tag: &str, numbers: &[u64]) {
        let Some(lane_state) = self.lanes.get_mut(lane) else {
            return;
        };
        if let Some(completions) = lane_state.completions.get_mut(tag) {
            for number in numbers {
                completions.remove(number);
            }
            if completions.is_empty() {
                lane_state.completions.remove(tag);
            }
        }
    }

    /// What of a tag is not acknowledged yet.
    pub(super) fn completions(
        &self,
        lane: &Lane,
        tag: &str,
    ) -> Option<&BTreeMap<u64, CompletionSlot>> {
        self.lanes.get(lane)?.completions.get(tag)
    }

    /// The record of a completion, behind that of its job, which may have the same bytes.
    pub(super) fn completed(
        &self,
        tag: &str,
        number: u64,
        slot: &CompletionSlot,
    ) -> (LogRecord, Option<Bytes>) {
        let job = self.jobs.get(&slot.id).map(|job| &job.packed);
        let place = |bytes: &Bytes| (bytes.as_ptr(), bytes.len());
        let same = job.is_some_and(|job| place(job) == place(&slot.packed));
        let completed = LogRecord::Completed {
            id: slot.id.clone(),
            tag: tag.to_owned(),
            number,
            status: slot.status,
        };
        (completed, (!same).then(|| slot.packed.clone()))
    }
}

impl Memory {
    /// Completions after the numbers, in the order of each source. A number that was never given is
    /// one of a log that came back shorter: it counts as none.
    pub(super) fn completions(
        &self,
        sources: &[CompletionSource],
        after: &[u64],
        max: usize,
    ) -> Vec<StoredCompletion> {
        let mut read = Vec::new();
        for (source, (CompletionSource { lane, tag, .. }, after)) in
            sources.iter().zip(after).enumerate()
        {
            let Some(all) = self.state.completions(lane, tag) else {
                continue;
            };
            let after = if *after > self.state.seq { 0 } else { *after };
            let entries = all.range(after + 1..).take(max - read.len());
            read.extend(entries.map(|(number, slot)| StoredCompletion {
                source,
                cursor: number.to_string(),
                status: slot.status,
                packed: slot.packed.clone(),
            }));
        }
        read
    }

    /// Forgets completions of a lane.
    pub(super) fn acknowledge(&mut self, lane: &Lane, tag: &str, numbers: Vec<u64>) {
        let completions = self.state.completions(lane, tag);
        let known = numbers
            .into_iter()
            .filter(|number| completions.is_some_and(|all| all.contains_key(number)));
        let numbers: Vec<u64> = known.collect();
        if !numbers.is_empty() {
            let (lane, tag) = (lane.to_string(), tag.to_owned());
            self.change(LogRecord::Acknowledged { lane, tag, numbers }, None);
        }
    }
}
