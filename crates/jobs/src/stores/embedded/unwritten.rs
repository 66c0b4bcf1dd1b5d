//! Records that the log does not have yet, by the step that made them: a frame holds whole steps,
//! so that a crash leaves none in half.

use std::collections::VecDeque;

use bytes::Bytes;

use super::record::{self, LogRecord};

/// How large frames are at most, about; one step may be larger.
pub(super) const FRAME: usize = if cfg!(test) { 64 << 10 } else { 64 << 20 };

#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// A step each, oldest first.
    steps: VecDeque<Vec<u8>>,
    /// The step that is being made.
    open: Vec<u8>,
    /// What has to be on the disk before anything goes on, whatever the store's rule of syncing.
    pressing: bool,
}

impl Unwritten {
    /// Adds a record to the step that is being made.
    pub(super) fn add(&mut self, record: &LogRecord, data: Option<&Bytes>) {
        self.pressing |= matches!(record, LogRecord::Reserve { .. });
        record::write(&mut self.open, record, data);
    }

    /// Ends the step; whether it has made any record.
    pub(super) fn end(&mut self) -> bool {
        if self.open.is_empty() {
            return false;
        }
        self.steps.push_back(std::mem::take(&mut self.open));
        true
    }

    /// How many steps there are.
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Takes what makes up the next frame.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        let mut frame = self.steps.pop_front()?;
        while let Some(next) = self.steps.front()
            && frame.len() + next.len() <= FRAME
        {
            frame.extend_from_slice(next);
            self.steps.pop_front();
        }
        Some(frame)
    }

    /// Whether the taken frame must be synced in any case. Reading it resets it.
    pub(super) fn pressing(&mut self) -> bool {
        std::mem::take(&mut self.pressing)
    }

    /// Puts back what could not be written.
    pub(super) fn put_back(&mut self, frame: Vec<u8>) {
        self.steps.push_front(frame);
    }

    /// Forgets the oldest steps.
    pub(super) fn forget(&mut self, count: usize) {
        self.steps.drain(..count.min(self.steps.len()));
    }
}
