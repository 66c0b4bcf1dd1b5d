//! Writing what memory has and the log has not.

use parking_lot::Mutex;

use super::{log::Log, memory::Memory};

/// A log smaller than this is not worth writing anew.
const SMALL: u64 = 16 << 20;

/// The log, and how far it has come.
#[derive(Debug)]
pub(super) struct Disk {
    log: Log,
    /// Up to which addition the log has all records.
    pub(super) written: u64,
    /// How long the log was when it was last written anew.
    least: u64,
    /// Why nothing can be written any more.
    pub(super) broken: Option<String>,
}

impl Disk {
    pub(super) const fn new(log: Log) -> Self {
        Self {
            log,
            written: 0,
            least: 0,
            broken: None,
        }
    }

    /// How often it is to be synced by the clock, when that is so.
    pub(super) const fn every(&self) -> Option<std::time::Duration> {
        self.log.every()
    }

    /// Whether something was written that may not be on the disk.
    pub(super) const fn dirty(&self) -> bool {
        self.log.dirty()
    }

    /// Puts what was written on the disk. Runs where blocking is allowed.
    pub(super) fn sync(&mut self) {
        if self.broken.is_none()
            && self.log.dirty()
            && let Err(error) = self.log.sync()
        {
            self.broken = Some(format!("{error}, open it again when that is repaired"));
        }
    }

    /// Writes what memory has and the log has not. Runs where blocking is allowed.
    pub(super) fn write(&mut self, memory: &Mutex<Memory>) -> std::io::Result<()> {
        if self.log.size > SMALL.max(4 * self.least) {
            let (snapshot, added) = {
                let mut memory = memory.lock();
                memory.unwritten.clear();
                (memory.state.snapshot(), memory.added)
            };
            self.log.replace(&snapshot)?;
            (self.least, self.written) = (self.log.size, added);
            return Ok(());
        }
        let (records, added) = {
            let mut memory = memory.lock();
            (std::mem::take(&mut memory.unwritten), memory.added)
        };
        if !records.is_empty() {
            self.log.append(&records)?;
        }
        self.written = added;
        Ok(())
    }
}
