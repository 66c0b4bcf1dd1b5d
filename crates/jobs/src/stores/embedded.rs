//! Jobs on this machine's disk, for one process: all of them in memory, every change in a log.
//!
//! A change is made in memory first, and reported as done when the log has it. Changes that come
//! while one is being written are written together. The log is written anew when it has grown to
//! four times what it must hold, at which changes wait.

mod completions;
mod disk;
mod job_slot;
mod log;
mod memory;
mod record;
mod state;
#[cfg(test)]
mod tests;
mod unwritten;

use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::watch, task::JoinSet};

use crate::{
    Clock, Error, JobId, JobStatus, Lane, StoreOptions, clock,
    store::{
        Claim, ClaimRequest, CompletionSource, EventBatch, JobCounts, JobPage, Lease, Move,
        MoveOutcome, ProgressNote, Renewal, Store, StoreHealth, StoreUsage, StoredCompletion,
        StoredJob, Submission, SubmitOutcome, WaitPosition,
    },
};
use disk::Disk;
use log::Log;
use memory::Memory;
use record::LogRecord;

/// Jobs in a folder.
#[derive(Debug)]
pub struct Embedded {
    name: String,
    folder: PathBuf,
    /// How many frames the log had.
    #[cfg(test)]
    frames: usize,
    /// The latest write failed.
    failing: AtomicBool,
    /// When a worker last noted that it takes jobs of a queue.
    served: Mutex<HashMap<String, Instant>>,
    key_ttl: u64,
    clock: Clock,
    memory: Arc<Mutex<Memory>>,
    disk: Arc<tokio::sync::Mutex<Disk>>,
    /// Syncs what [`SyncPolicy::Every`] left with the operating system; ends with the store.
    syncing: Mutex<JoinSet<()>>,
    /// Counts changes, for those who wait for one.
    changes: watch::Sender<u64>,
}

impl Embedded {
    /// Opens the jobs of a folder, which is made if it is not there. Jobs that ran when the last
    /// process ended are for the next [`Jobs::recover`](crate::Jobs::recover).
    ///
    /// # Errors
    /// [`Error::Broken`] when the folder cannot be used, another process has it open, or its log
    /// is damaged before its end.
    pub fn open(folder: &Path, settings: &StoreOptions) -> Result<Self, Error> {
        let name = format!("file://{}", folder.display());
        let broken = |reason: String| Error::Broken {
            store: name.clone(),
            reason,
        };
        let (log, frames) =
            Log::open(folder, settings.sync).map_err(|error| broken(error.to_string()))?;
        #[cfg(test)]
        let count = frames.len();
        let mut memory = Memory::default();
        memory.state.keep = settings.events;
        for mut frame in frames {
            while !frame.is_empty() {
                let (record, data) = record::read(&mut frame).ok_or_else(|| {
                    broken("jobs.log holds a record of another version".to_owned())
                })?;
                memory.state.apply(record, data);
            }
        }
        // The clock may have been set back since the process before.
        let now = settings.clock.now();
        memory.state.seq = memory.state.seq.max(memory.state.reserved);
        memory.tick(now);
        memory.state.expire_keys(now);
        Ok(Self {
            clock: settings.clock.clone(),
            folder: folder.to_owned(),
            #[cfg(test)]
            frames: count,
            failing: AtomicBool::new(false),
            served: Mutex::default(),
            key_ttl: clock::millis(settings.key_ttl),
            memory: Arc::new(Mutex::new(memory)),
            disk: Arc::new(tokio::sync::Mutex::new(Disk::new(log))),
            syncing: Mutex::default(),
            changes: watch::Sender::new(0),
            name,
        })
    }

    /// The time. Memory learns of it, and so notices when the clock was set back.
    fn time(&self) -> u64 {
        let now = self.clock.now();
        self.memory.lock().tick(now);
        now
    }

    /// Changes memory, and returns when the log has it. While the disk takes no writes nothing is
    /// changed.
    async fn change<T: Send>(
        &self,
        with: impl FnOnce(&mut Memory) -> T + Send,
    ) -> Result<T, Error> {
        if self.failing.load(Ordering::Relaxed) {
            let added = self.memory.lock().added;
            self.written(added).await?;
        }
        let (answer, added) = self.edit(with);
        if let Some(added) = added {
            self.written(added).await?;
        }
        Ok(answer)
    }

    /// Changes memory; with the answer, the number of the addition if there is something to write.
    fn edit<T>(&self, with: impl FnOnce(&mut Memory) -> T) -> (T, Option<u64>) {
        let (answer, added) = {
            let mut memory = self.memory.lock();
            let answer = with(&mut memory);
            if !memory.unwritten.end() {
                return (answer, None);
            }
            memory.added += 1;
            (answer, memory.added)
        };
        self.changes.send_modify(|count| *count += 1);
        (answer, Some(added))
    }

    async fn written(&self, added: u64) -> Result<(), Error> {
        let mut disk = Arc::clone(&self.disk).lock_owned().await;
        if disk.has(added) {
            return Ok(());
        }
        if let Some(every) = disk.every() {
            self.sync_every(every);
        }
        let memory = Arc::clone(&self.memory);
        // The lock goes with the write, which goes on when its caller is gone.
        let written = tokio::task::spawn_blocking(move || disk.write(&memory));
        let failed = written
            .await
            .map_err(|error| self.broken(error.to_string()))?;
        self.failing.store(failed.is_some(), Ordering::Relaxed);
        failed.map_or(Ok(()), |reason| Err(self.unavailable(reason)))
    }

    /// Syncs by the clock from the first write on, though nothing more may be written.
    fn sync_every(&self, every: Duration) {
        let mut syncing = self.syncing.lock();
        if !syncing.is_empty() {
            return;
        }
        // Not to keep the files open longer than the store.
        let disk = Arc::downgrade(&self.disk);
        syncing.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(disk) = disk.upgrade() else { return };
                let mut disk = disk.lock_owned().await;
                if disk.dirty() {
                    drop(tokio::task::spawn_blocking(move || disk.sync()).await);
                }
            }
        });
    }

    fn unavailable(&self, reason: String) -> Error {
        let store = self.name.clone();
        Error::Unavailable { store, reason }
    }

    fn broken(&self, reason: String) -> Error {
        let store = self.name.clone();
        Error::Broken { store, reason }
    }

    async fn changed(&self, since: u64, wait: Duration) {
        let mut changes = self.changes.subscribe();
        let more = changes.wait_for(|count| *count > since);
        // Either way it is worth looking again.
        drop(tokio::time::timeout(wait, more).await);
    }
}

/// Bytes of the files in a folder.
fn size(folder: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

#[async_trait::async_trait]
impl Store for Embedded {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_local(&self) -> bool {
        true
    }

    async fn now(&self, _: &Lane) -> Result<u64, Error> {
        Ok(self.time())
    }

    async fn check(&self) -> Result<StoreHealth, Error> {
        let added = self.memory.lock().added;
        self.written(added).await?;
        // A disk that is full shows it before a job finds out.
        let folder = self.folder.clone();
        let tried = tokio::task::spawn_blocking(move || {
            let path = folder.join("check");
            let written = fs::File::create(&path).and_then(|mut file| file.write_all(&[0; 4096]));
            fs::remove_file(&path).ok();
            (written, size(&folder).ok())
        });
        let (tried, bytes) = tried
            .await
            .map_err(|error| self.broken(error.to_string()))?;
        tried.map_err(|error| self.unavailable(format!("{error}: make room on its disk")))?;
        Ok(StoreHealth {
            epoch: self.name.clone(),
            warnings: Vec::new(),
            usage: StoreUsage {
                memory: bytes,
                ..StoreUsage::default()
            },
        })
    }

    async fn submit(
        &self,
        lane: &Lane,
        entries: &[Submission],
    ) -> Result<Vec<SubmitOutcome>, Error> {
        let now = self.time();
        self.change(|memory| {
            memory.state.expire_keys(now);
            let each = entries.iter();
            each.map(|entry| memory.submit(lane, entry, now, self.key_ttl))
                .collect()
        })
        .await
    }

    async fn claim(&self, lane: &Lane, claim_request: &ClaimRequest) -> Result<Claim, Error> {
        // Before the claim, so that what comes during it is not slept through.
        let version = *self.changes.borrow();
        let (now, mut leases) = (self.time(), Vec::new());
        let claimed = self.change(|memory| {
            let claim = memory.claim(lane, claim_request, now);
            leases.extend(claim.jobs.iter().map(|(lease, _)| lease.clone()));
            claim
        });
        let mut claim = match claimed.await {
            Ok(claim) => claim,
            Err(error) => {
                // No worker learns of these leases, so that none would end them.
                self.edit(|memory| memory.unclaim(&leases, now));
                return Err(error);
            }
        };
        if claim.jobs.is_empty() {
            claim.mark.positions.push(version.to_string());
        }
        Ok(claim)
    }

    async fn wait_for_job(
        &self,
        _: &Lane,
        mark: &WaitPosition,
        wait: Duration,
    ) -> Result<(), Error> {
        let since = mark
            .positions
            .first()
            .and_then(|version| version.parse().ok())
            .unwrap_or(0);
        self.changed(since, mark.due_in.map_or(wait, |due| due.min(wait)))
            .await;
        Ok(())
    }

    async fn transition(&self, _: &Lane, moves: &[Move]) -> Result<Vec<MoveOutcome>, Error> {
        let now = self.time();
        let mut moved = Vec::with_capacity(moves.len());
        let changed = self.change(|memory| {
            moved.extend(moves.iter().map(|step| {
                // It was made before, but was not reported as done.
                let made = memory
                    .unacknowledged
                    .remove(&(step.id.clone(), step.from.clone()));
                if made {
                    MoveOutcome::Done
                } else {
                    memory.transition(step, now)
                }
            }));
        });
        if let Err(error) = changed.await {
            let done = moves.iter().zip(&moved);
            let done = done.filter(|(_, moved)| **moved == MoveOutcome::Done);
            let unacknowledged = done.map(|(step, _)| (step.id.clone(), step.from.clone()));
            self.memory.lock().unacknowledged.extend(unacknowledged);
            return Err(error);
        }
        Ok(moved)
    }

    async fn renew(&self, _: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        let mut memory = self.memory.lock();
        Ok(leases.iter().map(|lease| memory.renew(lease)).collect())
    }

    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error> {
        let now = self.time();
        let (held, added) = self.edit(|memory| memory.progress(lease, progress, now));
        if let Some(added) = added {
            self.written(added).await?;
        }
        self.changes.send_modify(|count| *count += 1);
        Ok(held)
    }

    async fn request_cancels(&self, _: &Lane, leases: &[Lease]) -> Result<Vec<bool>, Error> {
        let mut memory = self.memory.lock();
        let told = leases.iter().map(|lease| memory.request_cancel(lease));
        Ok(told.collect())
    }

    async fn cancel_requests(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        Ok(self.memory.lock().cancel_requests(lane))
    }

    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, Error> {
        let memory = self.memory.lock();
        Ok(memory.state.jobs.get(id).map(|slot| slot.found(id)))
    }

    async fn find_many(&self, _: &Lane, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        let memory = self.memory.lock();
        let jobs = &memory.state.jobs;
        let found = ids.iter().map(|id| jobs.get(id).map(|slot| slot.found(id)));
        Ok(found.collect())
    }

    async fn find_with_notes(
        &self,
        id: &JobId,
    ) -> Result<Option<(StoredJob, Vec<ProgressNote>)>, Error> {
        let memory = self.memory.lock();
        let slot = memory.state.jobs.get(id);
        Ok(slot.map(|slot| (slot.found(id), slot.notes.clone())))
    }

    async fn expired_leases(&self, lane: &Lane, lease: Duration) -> Result<Vec<StoredJob>, Error> {
        Ok(self.memory.lock().expired_leases(lane, lease))
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        let now = self.time();
        let ages = [
            (JobStatus::Succeeded, ended),
            (JobStatus::Cancelled, ended),
            (JobStatus::Dead, dead),
        ];
        self.change(|memory| {
            memory.state.expire_keys(now);
            let until = |age| now.saturating_sub(clock::millis(age));
            ages.into_iter()
                .map(|(status, age)| memory.forget(lane, status, until(age)))
                .sum()
        })
        .await
    }

    async fn list(
        &self,
        lane: &Lane,
        of: Option<JobStatus>,
        after: &str,
        max: usize,
    ) -> Result<JobPage, Error> {
        let invalid = || Error::invalid("cursor", "is not one of a listing");
        let after = Some(after).filter(|after| !after.is_empty());
        let Some(status) = of else {
            let before = after.map(|after| state::read_place(after).ok_or_else(invalid));
            let before = before.transpose()?;
            return Ok(self.memory.lock().state.all(lane, before.as_ref(), max));
        };
        let position = after.map(|after| {
            let (rank, seq) = after.split_once('/')?;
            Some((rank.parse().ok()?, seq.parse().ok()?))
        });
        let position = position.map(|at| at.ok_or_else(invalid)).transpose()?;
        Ok(self.memory.lock().state.page(lane, status, position, max))
    }

    async fn counts(&self, lane: &Lane) -> Result<JobCounts, Error> {
        let now = self.time();
        Ok(self.memory.lock().state.counts(lane, now))
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventBatch, Error> {
        let after = number(after)?;
        Ok(self.memory.lock().state.events(lane, after, max))
    }

    async fn last_event(&self, _: &Lane) -> Result<String, Error> {
        Ok(self.memory.lock().state.seq.to_string())
    }

    async fn wait_for_event(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        let (version, after) = (*self.changes.borrow(), number(after)?);
        let read = self.memory.lock().state.events(lane, after, 1);
        if read.events.is_empty() && read.missed.is_none() {
            self.changed(version, wait).await;
        }
        Ok(())
    }

    async fn completions(
        &self,
        sources: &[CompletionSource],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<StoredCompletion>, Error> {
        let until = Instant::now() + wait;
        let after = sources
            .iter()
            .map(|source| completion_number(&source.after));
        let after = after.collect::<Result<Vec<_>, _>>()?;
        loop {
            let version = *self.changes.borrow();
            let read = self.memory.lock().completions(sources, &after, max);
            let left = until.saturating_duration_since(Instant::now());
            if !read.is_empty() || left.is_zero() {
                return Ok(read);
            }
            self.changed(version, left).await;
        }
    }

    async fn acknowledge(
        &self,
        lane: &Lane,
        entries: &[(String, Vec<String>)],
    ) -> Result<(), Error> {
        let mut all = Vec::with_capacity(entries.len());
        for (tag, cursors) in entries {
            let numbers = cursors.iter().map(|cursor| completion_number(cursor));
            all.push((tag, numbers.collect::<Result<Vec<_>, _>>()?));
        }
        self.change(|memory| {
            for (tag, numbers) in all {
                memory.acknowledge(lane, tag, numbers);
            }
        })
        .await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        let memory = self.memory.lock();
        let used = memory
            .state
            .lanes
            .iter()
            .filter(|(_, lane_state)| !lane_state.sums.is_empty());
        Ok(used.map(|(lane, _)| lane.clone()).collect())
    }

    async fn heartbeat(&self, queue: &str) -> Result<(), Error> {
        let mut served = self.served.lock();
        served.insert(queue.to_owned(), Instant::now());
        Ok(())
    }

    async fn heartbeats(&self) -> Result<Vec<(String, Duration)>, Error> {
        let served = self.served.lock();
        let ages = served.iter();
        Ok(ages
            .map(|(queue, at)| (queue.clone(), at.elapsed()))
            .collect())
    }

    async fn timers(&self) -> Result<Vec<(String, Bytes)>, Error> {
        let memory = self.memory.lock();
        Ok(memory
            .state
            .timers
            .iter()
            .map(|(name, text)| (name.clone(), text.clone()))
            .collect())
    }

    async fn swap_timer(
        &self,
        name: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Result<bool, Error> {
        self.change(|memory| {
            if memory.state.timers.get(name) != old {
                return false;
            }
            memory.change(
                LogRecord::Timer {
                    name: name.to_owned(),
                },
                new.cloned(),
            );
            true
        })
        .await
    }
}

/// The number of a completion that a cursor is; 0 for an empty one, which is before all.
fn completion_number(cursor: &str) -> Result<u64, Error> {
    if cursor.is_empty() {
        return Ok(0);
    }
    let number = cursor.parse();
    number.map_err(|_| Error::invalid("cursor", "is not one of a completion"))
}

/// The number of a lane's event that a cursor is; none for an empty one.
fn number(cursor: &str) -> Result<Option<u64>, Error> {
    let number = Some(cursor).filter(|cursor| !cursor.is_empty());
    let number = number.map(str::parse).transpose();
    number.map_err(|_| Error::invalid("cursor", "is not one of these events"))
}
