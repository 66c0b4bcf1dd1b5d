//! The access log: a line of JSON for each call. It is off unless `access_log` names its file.
//!
//! A call that ends adds its line to one buffer, which a thread writes as a whole. Lines that the disk
//! does not take in time are dropped and counted.

use std::{mem, sync::Arc, thread, time::Duration};

use anyhow::Context as _;
use parking_lot::{Condvar, Mutex, MutexGuard};
use telemetry::{Counter, MetricsRegistry};
use tokio::sync::watch;

use super::{
    CallHead, FinishedCall, LogFilter,
    line::{self, LineCache},
    target::Target,
};

/// Bytes of lines that may wait to be written.
const MOST_WAITING: usize = 4 << 20;
/// So many are written at once.
const BATCH: usize = 256 << 10;
/// How long fewer may wait for company.
const GATHER: Duration = Duration::from_millis(20);
/// How long after a failed write another is tried.
const RETRY: Duration = Duration::from_secs(1);
/// How long the program's end waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A running access log.
#[derive(Debug)]
pub(crate) struct AccessLog {
    shared: Arc<Shared>,
    filter: LogFilter,
    dropped: Counter,
}

telemetry::metrics! {
    struct AccessMetrics {
        dropped: Counter = "mesh_access_log_dropped": "Lines of the access log that could not be written in time";
    }
}

/// What calls and the writer's thread share.
#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The writer has something to do.
    work: Condvar,
    /// The writer has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: Vec<u8>,
    cache: LineCache,
    /// The writer sleeps until it is woken.
    asleep: bool,
    reopen: bool,
    closing: bool,
    closed: bool,
}

impl AccessLog {
    /// Opens what the key `access_log` names: `stdout`, `stderr` or a file, which is appended to.
    pub(crate) fn open(
        to: Option<&str>,
        filter: LogFilter,
        registry: &MetricsRegistry,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(to) = to else { return Ok(None) };
        let target = Target::open(to).with_context(|| format!("access_log: open {to}"))?;
        let shared = Arc::new(Shared::default());
        let dropped = AccessMetrics::new(registry).dropped;
        let mut writer = Writer {
            shared: Arc::clone(&shared),
            name: to.to_owned(),
            target,
            dropped: dropped.clone(),
            failing: None,
        };
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Some(Arc::new(Self {
            shared,
            filter,
            dropped,
        })))
    }

    pub(super) fn filter(&self) -> LogFilter {
        self.filter
    }

    /// Opens the file anew at each reload (SIGHUP), since it may have been rotated.
    pub(crate) async fn follow(self: Arc<Self>, mut reload: watch::Receiver<u64>) {
        while reload.changed().await.is_ok() {
            self.reopen();
        }
    }

    fn reopen(&self) {
        self.shared.waiting.lock().reopen = true;
        self.shared.work.notify_one();
    }

    /// Adds the line of a call that [`CallHead::logged`] chose.
    pub(super) fn write(&self, head: &CallHead, call: &FinishedCall<'_>) {
        if !self.filter.passes(call.status, call.duration) {
            return;
        }
        let mut waiting = self.shared.waiting.lock();
        let Waiting { lines, cache, .. } = &mut *waiting;
        let before = lines.len();
        if before >= MOST_WAITING {
            drop(waiting);
            self.dropped.inc();
            telemetry::dropped("access_log", "queue_full").inc();
            return;
        }
        line::begin(lines, cache, Some(head), call);
        line::end(lines);
        let full = before < BATCH && lines.len() >= BATCH;
        // A writer that gathers lines wakes by itself.
        if mem::take(&mut waiting.asleep) || full {
            drop(waiting);
            self.shared.work.notify_one();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting.lock();
        waiting.closing = true;
        self.shared.work.notify_one();
        if !waiting.closed {
            let ended = &self.shared.ended;
            ended.wait_while_for(&mut waiting, |waiting| !waiting.closed, FLUSH_TIMEOUT);
        }
    }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    name: String,
    target: Target,
    dropped: Counter,
    /// How many lines were lost since the last write that worked.
    failing: Option<u64>,
}

impl Writer {
    fn run(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut batch = Vec::new();
        loop {
            let mut waiting = shared.waiting.lock();
            self.wait(&mut waiting);
            mem::swap(&mut waiting.lines, &mut batch);
            let (reopen, closing) = (mem::take(&mut waiting.reopen), waiting.closing);
            drop(waiting);
            if reopen {
                self.reopen();
            }
            if !batch.is_empty() {
                self.write(&batch);
                batch.clear();
            }
            if closing {
                shared.waiting.lock().closed = true;
                shared.ended.notify_all();
                return;
            }
        }
    }

    /// Waits until there is something to do, and then until it is worth it.
    fn wait(&self, waiting: &mut MutexGuard<'_, Waiting>) {
        let work = &self.shared.work;
        let urgent = |waiting: &mut Waiting| waiting.reopen || waiting.closing;
        if self.failing.is_some() {
            work.wait_while_for(waiting, |waiting| !urgent(waiting), RETRY);
            return;
        }
        while waiting.lines.is_empty() && !urgent(waiting) {
            waiting.asleep = true;
            work.wait(waiting);
        }
        waiting.asleep = false;
        let few = |waiting: &mut Waiting| waiting.lines.len() < BATCH && !urgent(waiting);
        work.wait_while_for(waiting, few, GATHER);
    }

    fn reopen(&mut self) {
        match Target::open(&self.name) {
            Ok(target) => self.target = target,
            Err(error) => {
                let path = &self.name;
                tracing::error!(%error, path, "cannot reopen the access log: lines still go to the old file");
            }
        }
    }

    fn write(&mut self, batch: &[u8]) {
        let path = &self.name;
        match (self.target.write(batch), self.failing) {
            (Ok(()), None) => {}
            (Ok(()), Some(dropped)) => {
                tracing::warn!(path, dropped, "the access log can be written again");
                self.failing = None;
            }
            (Err(lost), before) => {
                self.dropped.inc_by(lost.lines);
                telemetry::dropped("access_log", "write_failed").inc_by(lost.lines);
                if before.is_none() {
                    let error = lost.error;
                    tracing::error!(%error, path, "cannot write the access log: lines are dropped until it can be, tried each second");
                }
                self.failing = Some(before.unwrap_or(0) + lost.lines);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Instant};

    use serde_json::Value;

    use super::*;

    fn open(path: &Path, filter: &str) -> (Arc<AccessLog>, Counter) {
        let registry = MetricsRegistry::new();
        let filter = LogFilter::parse(filter).unwrap();
        let log = AccessLog::open(path.to_str(), filter, &registry)
            .unwrap()
            .unwrap();
        let dropped = log.dropped.clone();
        (log, dropped)
    }

    fn head() -> CallHead {
        CallHead::new(Some([127, 0, 0, 1].into()))
    }

    fn call(method: &str) -> FinishedCall<'_> {
        FinishedCall {
            method,
            ..FinishedCall::default()
        }
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let began = Instant::now();
        while !done() {
            assert!(began.elapsed() < Duration::from_secs(10), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[test]
    fn what_is_written_is_there_soon_and_at_the_latest_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, dropped) = open(&path, "all");
        log.write(&head(), &call("t.S/First"));
        until("the line is written", || lines(&path).len() == 1);
        for _ in 0..10_000 {
            log.write(&head(), &call("t.S/Many"));
        }
        drop(log);
        assert_eq!(lines(&path).len() as u64 + dropped.get(), 10_001);
        assert_eq!(dropped.get(), 0);
    }

    #[test]
    fn a_filter_chooses_calls_by_their_end() {
        let folder = tempfile::tempdir().unwrap();
        for (filter, expected) in [
            ("all", vec!["t.S/Good", "t.S/Bad", "t.S/Slow"]),
            ("errors", vec!["t.S/Bad"]),
            ("slow:1s", vec!["t.S/Slow"]),
        ] {
            let path = folder.path().join(filter);
            let (log, _) = open(&path, filter);
            log.write(&head(), &call("t.S/Good"));
            log.write(
                &head(),
                &FinishedCall {
                    status: 14,
                    ..call("t.S/Bad")
                },
            );
            let duration = Duration::from_secs(1);
            log.write(
                &head(),
                &FinishedCall {
                    duration,
                    ..call("t.S/Slow")
                },
            );
            drop(log);
            let methods = lines(&path);
            let methods: Vec<_> = methods
                .iter()
                .map(|it| it["method"].as_str().unwrap())
                .collect();
            assert_eq!(methods, expected, "{filter}");
        }
    }

    #[test]
    fn a_file_that_was_rotated_is_opened_anew_without_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (log, _) = open(&path, "all");
        log.write(&head(), &call("t.S/Before"));
        until("the line is written", || lines(&path).len() == 1);
        let old = folder.path().join("access.log.1");
        std::fs::rename(&path, &old).unwrap();
        log.reopen();
        until("the file is there again", || path.exists());
        log.write(&head(), &call("t.S/After"));
        drop(log);
        assert_eq!(lines(&path)[0]["method"], "t.S/After");
        assert_eq!(lines(&old).len(), 1);
    }

    #[test]
    fn a_full_disk_drops_lines_and_counts_them_until_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        // Whatever is written there, the disk is full.
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let (log, dropped) = open(&path, "all");
        for _ in 0..3 {
            log.write(&head(), &call("t.S/Lost"));
        }
        until("they are dropped", || dropped.get() == 3);
        log.write(&head(), &call("t.S/Lost"));
        until("the next are tried and dropped too", || dropped.get() == 4);
        std::fs::remove_file(&path).unwrap();
        log.reopen();
        log.write(&head(), &call("t.S/Kept"));
        until("lines are written again", || lines(&path).len() == 1);
        assert_eq!(lines(&path)[0]["method"], "t.S/Kept");
        assert_eq!(dropped.get(), 4);
    }

    #[test]
    fn a_writer_that_hangs_costs_no_memory_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo")
            .arg(&path)
            .status()
            .unwrap();
        assert!(made.success());
        // Open, and never read.
        let reader = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let (log, dropped) = open(&path, "all");
        for _ in 0..100_000 {
            log.write(&head(), &call("t.S/M"));
        }
        until("what is too much is dropped", || dropped.get() > 0);
        let waiting = log.shared.waiting.lock().lines.capacity();
        assert!(waiting <= 2 * MOST_WAITING, "{waiting}");
        let began = Instant::now();
        drop(log);
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(reader);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let registry = MetricsRegistry::new();
        let open = |to| AccessLog::open(to, LogFilter::All, &registry);
        let error = open(Some("/nowhere/access.log")).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/access.log"));
        assert!(open(None).unwrap().is_none());
    }
}
