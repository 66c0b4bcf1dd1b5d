//! The thread that writes.

use std::{fs::File, sync::Arc, thread::JoinHandle};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::database::closed;
use crate::{Changes, Error, hub::Hub};

/// How many may wait to write.
const WAITING: usize = 4096;
/// How many share a transaction.
const BATCH: usize = 256;

/// Something to write.
trait Job: Send {
    /// Does it; `false` when nothing of it is to be kept.
    fn run(&mut self, db: &Connection, changes: &mut Changes) -> bool;
    /// Whether it has to be on the disk before it is answered.
    fn urgency(&self) -> Urgency;
    /// Answers, once the transaction has ended.
    fn answer(self: Box<Self>, committed: Result<(), Error>);
}

/// When something that was written is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Before it is answered.
    Synced,
    /// With what is written later: a killed process loses nothing, a power cut may.
    Lazy,
}

struct Work<T, F> {
    urgency: Urgency,
    work: Option<F>,
    outcome: Result<T, Error>,
    asker: oneshot::Sender<Result<T, Error>>,
}

impl<T, F> Job for Work<T, F>
where
    T: Send,
    F: FnOnce(&Connection, &mut Changes) -> Result<T, Error> + Send,
{
    fn run(&mut self, db: &Connection, changes: &mut Changes) -> bool {
        if let Some(work) = self.work.take() {
            self.outcome = work(db, changes);
        }
        self.outcome.is_ok()
    }

    fn urgency(&self) -> Urgency {
        self.urgency
    }

    fn answer(self: Box<Self>, committed: Result<(), Error>) {
        let outcome = self.outcome.and_then(|done| committed.map(|()| done));
        // Nobody may be waiting any more.
        self.asker.send(outcome).ok();
    }
}

/// The thread, for those who write.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts it. It has the folder locked until it ends.
    pub(super) fn start(db: Connection, lock: File, hub: Arc<Hub>) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("workflows-writer".to_owned())
            .spawn(move || {
                write(&db, receiver, &hub);
                drop(db);
                drop(lock);
            });
        let thread = thread.map_err(|error| Error::Unavailable(error.to_string()))?;
        Ok(Self {
            jobs: Some(sender),
            thread: Some(thread),
        })
    }

    /// Has something written, and waits until that is so.
    pub(super) async fn write<T, F>(&self, urgency: Urgency, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection, &mut Changes) -> Result<T, Error> + Send + 'static,
    {
        let (asker, answer) = oneshot::channel();
        let job = Work {
            urgency,
            work: Some(work),
            outcome: Err(closed()),
            asker,
        };
        let jobs = self.jobs.as_ref().ok_or_else(closed)?;
        jobs.send(Box::new(job)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of it has been told of.
            thread.join().ok();
        }
    }
}

fn write(db: &Connection, mut receiver: mpsc::Receiver<Box<dyn Job>>, hub: &Hub) {
    while let Some(job) = receiver.blocking_recv() {
        let mut jobs = vec![job];
        while jobs.len() < BATCH
            && let Ok(job) = receiver.try_recv()
        {
            jobs.push(job);
        }
        let mut changes = Changes::default();
        let committed = transaction(db, &mut jobs, &mut changes);
        if committed.is_ok() {
            hub.publish(changes);
        } else if !db.is_autocommit() {
            // It said why already.
            db.execute_batch("ROLLBACK").ok();
        }
        for job in jobs {
            job.answer(committed.clone());
        }
    }
}

fn transaction(
    db: &Connection,
    jobs: &mut [Box<dyn Job>],
    changes: &mut Changes,
) -> Result<(), Error> {
    let run = |sql| db.prepare_cached(sql)?.execute(()).map(|_| ());
    let lazy = jobs.iter().all(|job| job.urgency() == Urgency::Lazy);
    let synchronous = if lazy { "NORMAL" } else { "FULL" };
    db.pragma_update(None, "synchronous", synchronous)?;
    run("BEGIN IMMEDIATE")?;
    for job in jobs {
        run("SAVEPOINT job")?;
        let mut own = Changes::default();
        if job.run(db, &mut own) {
            changes.add(own);
        } else {
            run("ROLLBACK TO job")?;
        }
        run("RELEASE job")?;
    }
    run("COMMIT")?;
    Ok(())
}
