//! A job in memory.

use bytes::Bytes;

use super::record::Place;
use crate::{
    JobId,
    store::{JobState, MAX_NOTE_BYTES, MAX_NOTES, ProgressNote, StoredJob},
};

/// A job.
#[derive(Debug, Clone)]
pub(super) struct JobSlot {
    pub(super) place: Place,
    /// The number of its latest move.
    pub(super) seq: u64,
    pub(super) packed: Bytes,
    /// When it was submitted, Unix milliseconds.
    pub(super) made: u64,
    /// When its lease was last renewed, by a clock of this process that does not jump; 0 if the
    /// process that had it is gone.
    pub(super) renewed: u64,
    pub(super) progress: Option<String>,
    /// Progress messages of its attempts. They are not logged, and end with the process.
    pub(super) notes: Vec<ProgressNote>,
    pub(super) cancelling: bool,
}

impl JobSlot {
    pub(super) fn token(&self) -> Bytes {
        let nonce = match self.place {
            Place::Running { nonce, .. } => nonce,
            _ => 0,
        };
        format!("{:x}.{nonce:x}", self.seq).into()
    }

    /// Keeps a progress message of its attempt.
    pub(super) fn note(&mut self, text: &str, at: u64) {
        let Place::Running { since, .. } = self.place else {
            return;
        };
        self.progress = Some(text.to_owned());
        let number = self.notes.last().map_or(1, |last| last.number + 1);
        let text = text.to_owned();
        self.notes.push(ProgressNote {
            number,
            since,
            at,
            text,
        });
        let bytes =
            |notes: &[ProgressNote]| notes.iter().map(|note| note.text.len()).sum::<usize>();
        while self.notes.len() > MAX_NOTES
            || (self.notes.len() > 1 && bytes(&self.notes) > MAX_NOTE_BYTES)
        {
            self.notes.remove(0);
        }
    }

    pub(super) fn found(&self, id: &JobId) -> StoredJob {
        let state = match &self.place {
            Place::Queued { since, .. } => JobState::Queued { since: *since },
            Place::Running { since, worker, .. } => JobState::Running {
                started_at: *since,
                worker: worker.clone(),
            },
            Place::Waiting { status, due, .. } => JobState::Waiting {
                status: *status,
                due: *due,
            },
            Place::Ended { status, .. } => JobState::Ended(*status),
        };
        StoredJob {
            id: id.clone(),
            state,
            token: self.token(),
            packed: self.packed.clone(),
            progress: self.progress.clone(),
            cancelling: self.cancelling,
        }
    }

    /// Where it stands among the jobs of its status: 5 first, then by move, or by due time.
    pub(super) fn rank(&self) -> (u64, u64) {
        match self.place {
            Place::Queued { priority, .. } => (u64::from(5 - priority.min(5)), self.seq),
            Place::Waiting { due, .. } => (due, self.seq),
            Place::Running { .. } | Place::Ended { .. } => (0, self.seq),
        }
    }
}
