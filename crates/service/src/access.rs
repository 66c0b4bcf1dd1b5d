//! The access log: a line of JSON for each call. It is off unless `access_log` names its file.
//!
//! Calls never wait for it. Lines that the disk does not take in time are dropped and counted.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use parking_lot::Mutex;
use proto::MeshCause;
use serde_json::json;
use telemetry::{Counter, MetricsRegistry, rpc};
use tokio::sync::watch;

use crate::Reload;

/// Lines that may wait to be written.
const QUEUED_LINES: usize = 8192;
/// How long the program's end waits for the last lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// A running access log.
#[derive(Debug)]
pub struct AccessLog {
    lines: Option<SyncSender<String>>,
    /// The writer's end. Only the drop waits for it; the lock makes it `Sync`.
    ended: Mutex<Receiver<()>>,
    metrics: AccessMetrics,
}

telemetry::metrics! {
    struct AccessMetrics {
        dropped: Counter = "mesh_access_log_dropped": "Lines of the access log that could not be written in time";
    }
}

/// A call that has begun. Its line is written when it ends.
#[derive(Debug)]
pub struct AccessRecord {
    log: Arc<AccessLog>,
    time: SystemTime,
    started: Instant,
    client: Option<IpAddr>,
    method: String,
    request_id: Option<String>,
    trace_id: Option<String>,
}

/// What is known of a call at its end.
#[derive(Clone, Debug, Default)]
pub struct CallOutcome {
    /// Consul name of the service that was called.
    pub service: Option<String>,
    /// ID of the instance that answered, or else of the last one tried.
    pub instance: Option<String>,
    /// How many attempts were sent to an instance.
    pub attempts: usize,
    /// Bytes of the request's messages.
    pub request_bytes: Option<u64>,
    /// Bytes of the answer's messages.
    pub response_bytes: Option<u64>,
    /// Why the mesh, and not the service, answered.
    pub cause: Option<MeshCause>,
}

impl AccessLog {
    /// Opens what the key `access_log` names: `stdout`, `stderr` or a file, which is appended to.
    /// A reload (SIGHUP) reopens the file, since it may have been rotated.
    pub(crate) fn open(
        to: Option<&str>,
        registry: &MetricsRegistry,
        reload: &Reload,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(to) = to else { return Ok(None) };
        let writer = open(to).with_context(|| format!("access_log: open {to}"))?;
        let (to, reload) = (to.to_owned(), reload.subscribe());
        let (lines, waiting) = sync_channel(QUEUED_LINES);
        let (end, ended) = sync_channel(1);
        thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || {
                write(&waiting, &to, writer, reload);
                // The receiver may have timed out.
                end.send(()).ok();
            })?;
        let lines = Some(lines);
        Ok(Some(Arc::new(Self {
            lines,
            ended: Mutex::new(ended),
            metrics: AccessMetrics::new(registry),
        })))
    }

    /// Begins the record of a call. `header` gives the value of a header by its name.
    pub fn begin<'a>(
        self: &Arc<Self>,
        client: Option<IpAddr>,
        method: &str,
        header: impl Fn(&str) -> Option<&'a [u8]>,
    ) -> AccessRecord {
        let text = |name| Some(String::from_utf8_lossy(header(name)?).into_owned());
        let trace_id =
            text("traceparent").and_then(|parent| Some(parent.split('-').nth(1)?.to_owned()));
        AccessRecord {
            log: Arc::clone(self),
            time: SystemTime::now(),
            started: Instant::now(),
            client,
            method: method.to_owned(),
            request_id: text("x-request-id"),
            trace_id,
        }
    }
}

impl AccessRecord {
    /// Ends the record with a gRPC status.
    pub fn end(self, status: i32, outcome: &CallOutcome) {
        let millis = self.started.elapsed().as_secs_f64() * 1e3;
        let time = DateTime::<Utc>::from(self.time);
        let line = json!({
            "time": time.to_rfc3339_opts(SecondsFormat::Millis, true),
            "client": self.client,
            "method": self.method,
            "service": outcome.service,
            "instance": outcome.instance,
            "status": rpc::code_name(status),
            "duration_ms": (millis * 1e3).round() / 1e3,
            "request_bytes": outcome.request_bytes,
            "response_bytes": outcome.response_bytes,
            "attempts": outcome.attempts,
            "cause": outcome.cause.map(MeshCause::as_str),
            "request_id": self.request_id,
            "trace_id": self.trace_id,
        });
        let lines = self.log.lines.as_ref();
        let sent = lines.is_some_and(|lines| lines.try_send(line.to_string()).is_ok());
        if !sent {
            self.log.metrics.dropped.inc();
        }
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        // The writer ends when its sender is gone.
        self.lines = None;
        self.ended.get_mut().recv_timeout(FLUSH_TIMEOUT).ok();
    }
}

fn open(to: &str) -> io::Result<Box<dyn Write + Send>> {
    Ok(match to {
        "stdout" => Box::new(io::stdout()),
        "stderr" => Box::new(io::stderr()),
        path => Box::new(OpenOptions::new().append(true).create(true).open(path)?),
    })
}

/// Writes lines until the sender is gone. It flushes whenever no line waits.
fn write(
    lines: &Receiver<String>,
    path: &str,
    to: Box<dyn Write + Send>,
    mut reload: watch::Receiver<u64>,
) {
    let mut to = BufWriter::new(to);
    while let Ok(line) = lines.recv() {
        if reload.has_changed().unwrap_or(false) {
            reload.mark_unchanged();
            match open(path) {
                Ok(file) => to = BufWriter::new(file),
                Err(error) => {
                    tracing::error!(%error, path, "cannot reopen the access log: lines still go to the old file");
                }
            }
        }
        let mut wrote = writeln!(to, "{line}");
        while wrote.is_ok()
            && let Ok(line) = lines.try_recv()
        {
            wrote = writeln!(to, "{line}");
        }
        if let Err(error) = wrote.and_then(|()| to.flush()) {
            tracing::error!(%error, "cannot write the access log: it is off from now on");
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_a_line_of_json_with_what_is_known_of_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let registry = MetricsRegistry::new();
        let log = AccessLog::open(file.path().to_str(), &registry, &Reload::default())
            .unwrap()
            .unwrap();
        let header = |name: &str| match name {
            "traceparent" => Some(&b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"[..]),
            "x-request-id" => Some(&b"r1"[..]),
            _ => None,
        };
        let outcome = CallOutcome {
            service: Some("agent-echo".to_owned()),
            attempts: 2,
            ..CallOutcome::default()
        };
        let client = Some("1.2.3.4".parse().unwrap());
        log.begin(client, "pkg.S/M", header).end(14, &outcome);
        log.begin(None, "pkg.S/M", |_| None)
            .end(0, &CallOutcome::default());
        drop(log);
        let text = std::fs::read_to_string(file.path()).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["status"], "UNAVAILABLE");
        assert_eq!(lines[0]["client"], "1.2.3.4");
        assert_eq!(lines[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            (&lines[0]["request_id"], &lines[0]["attempts"]),
            (&"r1".into(), &2.into())
        );
        assert!(lines[0]["time"].as_str().unwrap().ends_with('Z'));
        assert!(lines[1]["client"].is_null() && lines[1]["duration_ms"].is_number());
    }

    #[test]
    fn a_file_that_was_rotated_is_opened_anew_when_files_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.log");
        let (registry, reload) = (MetricsRegistry::new(), Reload::default());
        let log = AccessLog::open(path.to_str(), &registry, &reload)
            .unwrap()
            .unwrap();
        log.begin(None, "pkg.S/Before", |_| None)
            .end(0, &CallOutcome::default());
        let old = folder.path().join("access.log.1");
        std::fs::rename(&path, &old).unwrap();
        reload.trigger();
        log.begin(None, "pkg.S/After", |_| None)
            .end(0, &CallOutcome::default());
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("pkg.S/After"), "{text}");
        let old = std::fs::read_to_string(&old).unwrap();
        assert!(!old.contains("pkg.S/After"), "{old}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let (registry, reload) = (MetricsRegistry::new(), Reload::default());
        let error = AccessLog::open(Some("/nowhere/access.log"), &registry, &reload).unwrap_err();
        assert!(format!("{error:#}").contains("/nowhere/access.log"));
        assert!(AccessLog::open(None, &registry, &reload).unwrap().is_none());
    }
}
