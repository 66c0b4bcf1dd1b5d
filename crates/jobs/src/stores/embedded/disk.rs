//! Writing what memory has and the log has not.
//!
//! A disk that refuses, as a full one does, ends nothing: what could not be written is kept and
//! written first when it takes writes again.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{log::Log, memory::Memory};

/// A log smaller than this is not worth writing anew.
const MIN_REWRITE_SIZE: u64 = 16 << 20;
/// How long after a failed attempt to write the log anew the next one is made.
const REWRITE_RETRY: Duration = Duration::from_secs(60);
/// How long after a failed attempt to write the next one is made.
const WRITE_RETRY: Duration = Duration::from_millis(100);

/// The log, and how far it has come.
#[derive(Debug)]
pub(super) struct Disk {
    log: Log,
    /// Up to which addition the log has all records.
    pub(super) written: u64,
    /// How long the log was when it was last written anew.
    least: u64,
    /// What was written may not be on the disk though it was synced: nothing short of writing all
    /// of it anew makes that sure.
    suspect: bool,
    /// When writing the log anew is tried again.
    retry_rewrite_at: Option<Instant>,
    /// The latest failure, until a write succeeds.
    failed: Option<(Instant, String)>,
}

impl Disk {
    pub(super) const fn new(log: Log) -> Self {
        Self {
            log,
            written: 0,
            least: 0,
            suspect: false,
            retry_rewrite_at: None,
            failed: None,
        }
    }

    /// How often it is to be synced by the clock, when that is so.
    pub(super) const fn every(&self) -> Option<Duration> {
        self.log.every()
    }

    /// Whether something was written that may not be on the disk.
    pub(super) const fn dirty(&self) -> bool {
        self.log.dirty()
    }

    /// Whether nothing is left to do for the additions up to one.
    pub(super) const fn has(&self, added: u64) -> bool {
        self.written >= added && !self.suspect && self.failed.is_none()
    }

    #[cfg(test)]
    pub(super) const fn log(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Lets the log be written anew, however lately that failed.
    #[cfg(test)]
    pub(super) fn retry_rewrite_now(&mut self) {
        self.retry_rewrite_at = None;
    }

    /// Puts what was written on the disk. Runs where blocking is allowed.
    pub(super) fn sync(&mut self) {
        if let Err(error) = self.log.sync() {
            self.suspect = true;
            tracing::error!(%error, "the job store's log cannot be synced, it is written anew");
        }
    }

    /// Writes what memory has and the log has not; answers why that failed, if it did. Runs where
    /// blocking is allowed.
    pub(super) fn write(&mut self, memory: &Mutex<Memory>) -> Option<String> {
        if let Some((at, reason)) = &self.failed
            && at.elapsed() < WRITE_RETRY
        {
            return Some(reason.clone());
        }
        let written = self.try_write(memory);
        self.failed = written.err().map(|error| {
            let reason = format!("{error}: make room on its disk, then it goes on by itself");
            (Instant::now(), reason)
        });
        self.failed.as_ref().map(|(_, reason)| reason.clone())
    }

    fn try_write(&mut self, memory: &Mutex<Memory>) -> std::io::Result<()> {
        let grown = self.log.size > MIN_REWRITE_SIZE.max(4 * self.least);
        let due = self
            .retry_rewrite_at
            .is_none_or(|retry_rewrite_at| Instant::now() >= retry_rewrite_at);
        if self.suspect || (grown && due) {
            match self.rewrite(memory) {
                Ok(()) => return Ok(()),
                Err(error) if self.suspect => return Err(error),
                // It needs room for both: the log grows on, and later there may be some.
                Err(error) => {
                    tracing::warn!(%error, "the job store's log cannot be written anew, it grows on");
                    self.retry_rewrite_at = Some(Instant::now() + REWRITE_RETRY);
                }
            }
        }
        loop {
            let (records, upto) = {
                let mut memory = memory.lock();
                let Some(frame) = memory.unwritten.take() else {
                    self.written = memory.added;
                    return Ok(());
                };
                (frame, memory.unwritten.pressing())
            };
            if let Err(error) = self.log.append(&records, upto) {
                memory.lock().unwritten.put_back(records);
                self.suspect |= self.log.suspect();
                return Err(error);
            }
        }
    }

    fn rewrite(&mut self, memory: &Mutex<Memory>) -> std::io::Result<()> {
        let (records, count, added) = {
            let memory = memory.lock();
            let snapshot = memory.state.snapshot();
            (snapshot, memory.unwritten.len(), memory.added)
        };
        self.log.replace(records)?;
        // What came meanwhile stands behind what the snapshot has.
        memory.lock().unwritten.forget(count);
        (self.least, self.written) = (self.log.size, added);
        (self.suspect, self.retry_rewrite_at) = (false, None);
        Ok(())
    }
}
