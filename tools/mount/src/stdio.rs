//! A server at the other end of a pair of pipes: a line is a message.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use serde_json::Value;
use tokio::{
    io::{AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::{broadcast, mpsc},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    calls::{Calls, Setting},
    handshake,
    link::{Era, Exchange, Facts, Gone, Link, Outgoing},
    message::{Message, Notification, Request, raw, to_raw},
    process::{self, Long, ServerCommand, ServerProcess, read_line},
};

/// Messages that wait for a server that does not read.
const OUTGOING: usize = 256;

/// A connection over pipes.
#[derive(Debug)]
pub(crate) struct StdioLink {
    facts: Arc<Facts>,
    pipe: Pipe,
}

/// The pipes, before and after it is known what the server is.
#[derive(Clone, Debug)]
pub(crate) struct Pipe {
    calls: Arc<Calls>,
    out: mpsc::Sender<Vec<u8>>,
    tracker: TaskTracker,
}

/// Starts the server, and learns what it is: without `probe` it is taken for one of an earlier
/// revision.
pub(crate) async fn connect(
    command: &ServerCommand,
    setting: &Setting,
    probe: bool,
) -> anyhow::Result<Arc<dyn Link>> {
    let Setting {
        tracker,
        shutdown,
        patience,
        ..
    } = setting;
    let (server, (stdin, stdout, stderr)) = command.start()?;
    let (out, outgoing) = mpsc::channel(OUTGOING);
    let pipe = Pipe {
        calls: Arc::new(Calls::new(setting, out.clone())),
        out,
        tracker: tracker.clone(),
    };
    let guard = pipe.calls.closed().clone().drop_guard();
    tracker.spawn(write(stdin, outgoing, Arc::clone(&pipe.calls)));
    tracker.spawn(read(stdout, Arc::clone(&pipe.calls)));
    let ended = CancellationToken::new();
    tracker.spawn(process::log(stderr, ended.clone()));
    let watched = watch(server, Arc::clone(&pipe.calls), shutdown.clone());
    tracker.spawn(async move {
        watched.await;
        ended.cancel();
    });
    let learnt = within(*patience, handshake::over_pipes(&pipe, probe)).await;
    let facts = learnt.with_context(|| format!("it said nothing for {patience:?}"))??;
    guard.disarm();
    Ok(Arc::new(StdioLink {
        facts: Arc::new(facts),
        pipe,
    }))
}

/// Waits for a future, but only so long; zero is no limit.
pub(crate) async fn within<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    match patience.is_zero() {
        true => Some(future.await),
        false => timeout(patience, future).await.ok(),
    }
}

/// Writes messages to the server until its connection ends. Its input ends with this task, and a server
/// that closes its input ends the connection: it could be asked nothing more.
async fn write(mut stdin: ChildStdin, mut out: mpsc::Receiver<Vec<u8>>, calls: Arc<Calls>) {
    let closed = calls.closed();
    loop {
        let message = tokio::select! {
            message = out.recv() => message,
            () = closed.cancelled() => return,
        };
        let Some(mut message) = message else { return };
        // Within a message a line break is only white space: in a text it is escaped.
        for byte in message
            .iter_mut()
            .filter(|byte| matches!(byte, b'\n' | b'\r'))
        {
            *byte = b' ';
        }
        message.push(b'\n');
        let written = async {
            stdin.write_all(&message).await?;
            stdin.flush().await
        };
        tokio::select! {
            written = written => if let Err(error) = written {
                if !closed.is_cancelled() {
                    warn!(%error, "the server has closed its input");
                }
                calls.close();
                return;
            },
            () = closed.cancelled() => return,
        }
    }
}

/// Reads what the server says until its output ends.
async fn read(stdout: ChildStdout, calls: Arc<Calls>) {
    let limit = calls.setting().message;
    let mut stdout = BufReader::with_capacity(64 << 10, stdout);
    let mut line = Vec::new();
    let closed = calls.closed().clone();
    loop {
        let read = tokio::select! {
            read = read_line(&mut stdout, &mut line, limit, Long::Ends) => read,
            () = closed.cancelled() => return,
        };
        match read {
            Ok(Some(true)) => {}
            Ok(Some(false)) => {
                warn!(
                    limit,
                    key = "mount_max_message",
                    "the server sent a message that is too large"
                );
                break;
            }
            Ok(None) | Err(_) => break,
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        match Message::read(&line) {
            Ok(message) => calls.receive(message, None),
            Err(error) => {
                let text = String::from_utf8_lossy(&line[..line.len().min(200)]);
                info!(%text, error = error.1, "the server wrote what is no message");
            }
        }
        if line.capacity() > 1 << 20 {
            line = Vec::new();
        }
    }
    calls.close();
}

/// Ends the connection with the process, and the process with the connection.
async fn watch(mut server: ServerProcess, calls: Arc<Calls>, shutdown: CancellationToken) {
    let closed = calls.closed().clone();
    tokio::select! {
        status = server.wait() => match status {
            Ok(status) => warn!(%status, "the server ended"),
            Err(error) => warn!(%error, "the server cannot be watched"),
        },
        () = closed.cancelled() => {}
        () = shutdown.cancelled() => {}
    }
    calls.close();
    server.stop().await;
}

impl Pipe {
    /// Sends a request. Its id is the token in `_meta` where progress is asked for.
    pub(crate) async fn request(&self, mut request: Outgoing) -> Result<Exchange, Gone> {
        let (id, exchange) = self.calls.open(&request)?;
        set_token(&mut request, id);
        // Whoever gives up while the server reads nothing has to be forgotten too.
        self.forget_when_dropped(id, &request.method, exchange.cancel.clone());
        let message = Request {
            id: raw(&Value::from(id)),
            method: request.method,
            params: Some(to_raw(&request.params)),
        };
        let closed = self.calls.closed();
        let sent = tokio::select! {
            sent = self.out.send(message.write()) => sent.is_ok(),
            () = closed.cancelled() => false,
        };
        if !sent {
            self.calls.forget(id);
            return Err(Gone::Lost);
        }
        Ok(exchange)
    }

    /// Tells the server when a request is given up.
    fn forget_when_dropped(&self, id: u64, method: &str, cancel: CancellationToken) {
        let (calls, out) = (Arc::clone(&self.calls), self.out.clone());
        // `initialize` cannot be taken back.
        let is_told = method != "initialize";
        let closed = calls.closed().clone();
        self.tracker.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = closed.cancelled() => return,
            }
            if calls.forget(id) && is_told {
                calls.setting().metrics.cancelled();
                let params = serde_json::json!({"requestId": id, "reason": "its client has left"});
                let cancelled = Notification::new("notifications/cancelled", &params);
                // A server that does not read is not waited for: its client has gone.
                if out.try_send(cancelled.write()).is_err() {
                    calls.setting().metrics.dropped("slow_server");
                }
            }
        });
    }

    pub(crate) async fn notify(&self, notification: &Notification) -> Result<(), Gone> {
        let closed = self.calls.closed();
        tokio::select! {
            sent = self.out.send(notification.write()) => sent.map_err(|_| Gone::Lost),
            () = closed.cancelled() => Err(Gone::Lost),
        }
    }
}

/// Writes the token of progress into `_meta`, or takes one out.
pub(crate) fn set_token(request: &mut Outgoing, id: u64) {
    let meta = request.params.get("_meta");
    if meta.is_none() && !request.progress {
        return;
    }
    let mut meta = crate::message::fields(meta.map(|it| &**it)).unwrap_or_default();
    match request.progress {
        true => drop(meta.insert("progressToken".to_owned(), raw(&Value::from(id)))),
        false => drop(meta.remove("progressToken")),
    }
    request.params.insert("_meta".to_owned(), to_raw(&meta));
}

#[async_trait::async_trait]
impl Link for StdioLink {
    fn facts(&self) -> &Arc<Facts> {
        &self.facts
    }

    async fn request(&self, request: Outgoing) -> Result<Exchange, Gone> {
        self.pipe.request(request).await
    }

    async fn notify(&self, notification: Notification) -> Result<(), Gone> {
        // A server of 2026-07-28 knows none but those of cancelled requests.
        if self.facts.era == Era::Modern {
            return Ok(());
        }
        self.pipe.notify(&notification).await
    }

    fn unsolicited(&self) -> broadcast::Receiver<Arc<Notification>> {
        self.pipe.calls.unsolicited()
    }

    fn closed(&self) -> &CancellationToken {
        self.pipe.calls.closed()
    }
}
