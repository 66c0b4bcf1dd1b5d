//! The file: frames of `<length><CRC-32><records>`, little-endian. A frame is what was written at
//! once; one that a crash cut short is the last, and is cut off.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};

use super::{
    record::{self, LogRecord},
    unwritten::FRAME,
};
use crate::SyncPolicy;

/// What every frame begins with: its length and its sum.
const HEAD: usize = 8;

#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    file: File,
    /// Keeps other processes out for as long as this one lives.
    _lock: File,
    sync: SyncPolicy,
    synced: Instant,
    /// Something was written since.
    dirty: bool,
    /// Bytes in the file, all of them whole frames.
    pub(super) size: u64,
    /// A write failed in its middle, and what it left is still there.
    torn: bool,
    /// A sync failed: what it was about may be lost, and a later one would not say so.
    unsynced: bool,
    /// How many more bytes the disk takes, in tests.
    #[cfg(test)]
    pub(super) room: Option<u64>,
}

impl Log {
    /// Opens the log of a folder, and gives the frames it holds.
    pub(super) fn open(folder: &Path, sync: SyncPolicy) -> io::Result<(Self, Vec<Bytes>)> {
        fs::create_dir_all(folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process has it open"),
            TryLockError::Error(error) => error,
        })?;
        let path = folder.join("jobs.log");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let content = Bytes::from(content);
        let (frames, good) = frames(&content)?;
        if good < content.len() {
            let lost = content.len() - good;
            tracing::warn!(path = %path.display(), bytes = lost, "cut off an unfinished write");
            file.set_len(good as u64)?;
            file.sync_all()?;
        }
        file.seek(SeekFrom::Start(good as u64))?;
        sync_folder(folder)?;
        let (folder, size) = (folder.to_owned(), good as u64);
        Ok((
            Self {
                folder,
                file,
                _lock: lock,
                sync,
                synced: Instant::now(),
                dirty: false,
                size,
                torn: false,
                unsynced: false,
                #[cfg(test)]
                room: None,
            },
            frames,
        ))
    }

    /// Writes a frame, and syncs it if that is due or `sync` is set. After an error the frame is
    /// not in the log, unless what failed was to sync it.
    pub(super) fn append(&mut self, records: &[u8], sync: bool) -> io::Result<()> {
        self.mend()?;
        self.torn = true;
        let frame = frame(records)?;
        if let Err(error) = self.put(&frame) {
            // What part of it is there is of no use, and takes room. If this fails, the next does
            // it.
            self.mend().ok();
            return Err(error);
        }
        self.torn = false;
        self.size += (records.len() + HEAD) as u64;
        let due = match self.sync {
            SyncPolicy::Always => true,
            SyncPolicy::Every(often) => self.synced.elapsed() >= often,
            SyncPolicy::Never => false,
        };
        self.dirty = true;
        if due || sync { self.sync() } else { Ok(()) }
    }

    /// Cuts off what a failed write has left.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.size)?;
            self.file.seek(SeekFrom::Start(self.size))?;
            self.torn = false;
        }
        Ok(())
    }

    #[cfg(not(test))]
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Writes as far as there is room.
    #[cfg(test)]
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = self
            .room
            .map_or(usize::MAX, |room| usize::try_from(room).unwrap());
        if room < bytes.len() {
            self.file.write_all(&bytes[..room])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all(bytes)
    }

    /// Whether a sync has failed since the log was last written anew.
    pub(super) const fn suspect(&self) -> bool {
        self.unsynced
    }

    /// How often it is to be synced by the clock, when that is so.
    pub(super) const fn every(&self) -> Option<Duration> {
        match self.sync {
            SyncPolicy::Every(often) => Some(often),
            SyncPolicy::Always | SyncPolicy::Never => None,
        }
    }

    /// Whether something was written that may not be on the disk.
    pub(super) const fn dirty(&self) -> bool {
        self.dirty
    }

    /// Puts everything that was written on the disk.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if let Err(error) = self.file.sync_data() {
            self.unsynced = true;
            return Err(error);
        }
        (self.synced, self.dirty) = (Instant::now(), false);
        Ok(())
    }

    /// Puts records in the place of all that there are. A crash leaves the ones or the others.
    pub(super) fn replace(&mut self, records: Vec<(LogRecord, Option<Bytes>)>) -> io::Result<()> {
        let (new, path) = (
            self.folder.join("jobs.log.new"),
            self.folder.join("jobs.log"),
        );
        let (file, size) = self.write_new(&new, records).inspect_err(|_| {
            // It takes room that the log may need.
            fs::remove_file(&new).ok();
        })?;
        fs::rename(&new, &path)?;
        (self.file, self.size) = (file, size);
        (self.torn, self.dirty) = (false, false);
        self.synced = Instant::now();
        sync_folder(&self.folder)?;
        self.unsynced = false;
        Ok(())
    }

    /// In frames, since the length of one has to fit into its head.
    fn write_new(
        &self,
        path: &Path,
        records: Vec<(LogRecord, Option<Bytes>)>,
    ) -> io::Result<(File, u64)> {
        #[cfg(test)]
        if self.room.is_some() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let (mut size, mut buffer) = (0, Vec::new());
        let mut flush = |buffer: &mut Vec<u8>| -> io::Result<()> {
            if !buffer.is_empty() {
                file.write_all(&frame(buffer)?)?;
                size += (buffer.len() + HEAD) as u64;
                buffer.clear();
            }
            Ok(())
        };
        for (record, data) in records {
            let next = data.as_ref().map_or(0, Bytes::len);
            if buffer.len() + next > FRAME {
                flush(&mut buffer)?;
            }
            record::write(&mut buffer, &record, data.as_ref());
        }
        flush(&mut buffer)?;
        file.sync_all()?;
        Ok((file, size))
    }
}

/// A new name in a folder lasts once the folder is written.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn frame(records: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(records.len())
        .map_err(|_| io::Error::other("a step of more than 4 GiB: hand in smaller batches"))?;
    let mut frame = Vec::with_capacity(records.len() + HEAD);
    frame.extend(length.to_le_bytes());
    frame.extend(crc32fast::hash(records).to_le_bytes());
    frame.extend(records);
    Ok(frame)
}

/// The frame at the beginning, if it is whole and right, and how long it says it is.
fn first(content: &Bytes) -> (Option<Bytes>, usize) {
    let mut head = content.clone();
    let (Ok(length), Ok(sum)) = (head.try_get_u32_le(), head.try_get_u32_le()) else {
        return (None, content.len());
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 || length > head.len() {
        return (None, content.len());
    }
    let records = head.split_to(length);
    let right = crc32fast::hash(&records) == sum;
    (right.then_some(records), length + HEAD)
}

/// All frames, and where the good ones end.
fn frames(content: &Bytes) -> io::Result<(Vec<Bytes>, usize)> {
    let (mut frames, mut at) = (Vec::new(), 0);
    while at < content.len() {
        match first(&content.slice(at..)) {
            (Some(records), length) => {
                frames.push(records);
                at += length;
            }
            // A crash spoils the end. What is followed by a good frame was spoilt otherwise, and
            // cutting it off would throw away what was said to be done.
            (None, length) if first(&content.slice(at + length..)).0.is_some() => {
                return Err(io::Error::other(format!(
                    "jobs.log is damaged at byte {at}, with more after it: restore the file from a backup"
                )));
            }
            (None, _) => break,
        }
    }
    Ok((frames, at))
}
