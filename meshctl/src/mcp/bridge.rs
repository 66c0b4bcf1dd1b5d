//! MCP over standard input and output, carried to an endpoint over HTTP. Messages pass as they are:
//! client and endpoint agree on the era themselves.

mod legacy;
mod lines;
mod modern;

use std::{process::ExitCode, sync::Arc, time::Duration};

use parking_lot::Mutex;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt as _, stdout},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};

use super::{
    INTERNAL_ERROR, META_VERSION, PARSE_ERROR,
    endpoint::{Answer, Endpoint, Unsent},
    replies::Refused,
};
use legacy::Session;
use lines::Lines;
use modern::InFlight;

/// Messages to the client that wait for it to read.
const QUEUED: usize = 256;
/// Requests under way at once; more wait.
const MAX_REQUESTS: usize = 1_000;
/// How long what is under way may take when the client has closed its end.
const LAST_ANSWERS: Duration = Duration::from_secs(30);
/// How long an endpoint may be away before a request that nobody has got fails.
const AWAY: Duration = Duration::from_secs(10);
/// How often it is tried meanwhile.
const TRY_AGAIN: Duration = Duration::from_millis(250);

/// What the tasks of one client share.
#[derive(Debug)]
struct Bridge {
    endpoint: Endpoint,
    /// To the client.
    out: mpsc::Sender<String>,
    session: Session,
    in_flight: InFlight,
    places: Arc<Semaphore>,
}

/// Carries messages until the client closes its end.
pub(crate) async fn bridge(endpoint: Endpoint) -> anyhow::Result<ExitCode> {
    let (out, queued) = mpsc::channel(QUEUED);
    let mut writer = JoinSet::new();
    writer.spawn(write(queued));
    let bridge = Arc::new(Bridge {
        endpoint,
        out,
        session: Session::default(),
        in_flight: InFlight::default(),
        places: Arc::new(Semaphore::new(MAX_REQUESTS)),
    });
    let mut requests = JoinSet::new();
    let mut listeners = JoinSet::new();
    let mut lines = Lines::new();
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            Some(_) = requests.join_next(), if !requests.is_empty() => continue,
            // The client does not read any more.
            _ = writer.join_next() => return Ok(ExitCode::SUCCESS),
        };
        let Some(line) = line else { break };
        bridge.take(line, &mut requests, &mut listeners).await;
    }
    listeners.abort_all();
    bridge.in_flight.end_listening();
    let until = Instant::now() + LAST_ANSWERS;
    while let Ok(Some(_)) = timeout_at(until, requests.join_next()).await {}
    requests.shutdown().await;
    listeners.shutdown().await;
    bridge.session.end(&bridge.endpoint).await;
    drop(bridge);
    writer.join_next().await;
    Ok(ExitCode::SUCCESS)
}

/// Writes messages, a line each, until there are no more senders or nobody reads.
async fn write(mut queued: mpsc::Receiver<String>) {
    let mut stdout = stdout();
    while let Some(mut message) = queued.recv().await {
        if message.contains(['\n', '\r']) {
            // Between tokens of JSON they mean nothing, and within none stands as itself.
            message = message.replace(['\n', '\r'], " ");
        }
        message.push('\n');
        let written = stdout.write_all(message.as_bytes()).await;
        if written.is_err() || stdout.flush().await.is_err() {
            break;
        }
    }
}

impl Bridge {
    /// Takes a message of the client.
    async fn take(
        self: &Arc<Self>,
        line: String,
        requests: &mut JoinSet<()>,
        listeners: &mut JoinSet<()>,
    ) {
        let Ok(message) = serde_json::from_str::<Value>(&line) else {
            return self
                .refuse(&Value::Null, PARSE_ERROR, "the line is not JSON")
                .await;
        };
        let method = message["method"].as_str().unwrap_or_default();
        let is_modern = message["params"]["_meta"][META_VERSION].is_string();
        match (method, message.get("id")) {
            // The session begins before anything else is sent.
            ("initialize", Some(_)) => self.initialize(line, &message).await,
            ("notifications/cancelled", None) if !self.session.is_open() => {
                self.in_flight.cancel(&message["params"]["requestId"]);
            }
            (_, None) if !method.is_empty() => {
                self.notify(line, &message).await;
                if method == "notifications/initialized" {
                    let bridge = self.clone();
                    listeners.spawn(async move { bridge.listen().await });
                }
            }
            _ => {
                let bridge = self.clone();
                // Closed never.
                let place = self.places.clone().acquire_owned().await;
                requests.spawn(async move {
                    let _place = place;
                    if is_modern {
                        bridge.modern(line, message).await;
                    } else {
                        bridge.legacy(line, message).await;
                    }
                });
            }
        }
    }

    /// Sends a message, and again while nobody is there to get it.
    async fn post(&self, line: &str, headers: HeaderMap) -> anyhow::Result<Answer> {
        let until = Instant::now() + AWAY;
        loop {
            match self.endpoint.post(line.to_owned(), headers.clone()).await {
                Err(error) if error.is::<Unsent>() && Instant::now() < until => {
                    sleep(TRY_AGAIN).await;
                }
                sent => return sent,
            }
        }
    }

    async fn tell(&self, message: String) {
        // A client that does not read any more ends the program.
        self.out.send(message).await.ok();
    }

    /// Answers a request in the endpoint's place.
    async fn refuse(&self, id: &Value, code: i64, message: &str) {
        let error = json!({"code": code, "message": message});
        let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
        self.tell(answer.to_string()).await;
    }

    /// Answers every request of a message, which may be a batch, with what went wrong.
    async fn fail(&self, message: &Value, error: &anyhow::Error) {
        let batch = message
            .as_array()
            .map_or(std::slice::from_ref(message), Vec::as_slice);
        for request in batch.iter().filter(|it| it.get("method").is_some()) {
            if let Some(id) = request.get("id") {
                self.refuse(id, INTERNAL_ERROR, &format!("{error:#}")).await;
            }
        }
    }
}

/// Whether an error says that the endpoint knows no such session.
fn is_unknown_session(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|it| it.status == reqwest::StatusCode::NOT_FOUND)
}

/// A value that several tasks look at for a moment.
type Shared<T> = Mutex<T>;
