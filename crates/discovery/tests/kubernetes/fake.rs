//! An API server of Kubernetes for faults that the real one does not produce on demand. The real one
//! is tried by `make test-kubernetes`.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

pub(crate) const SERVICES: &str = "services";
pub(crate) const SLICES: &str = "endpointslices";
pub(crate) const SETTINGS: &str = "configmaps";

/// Serves lists and watches on a port of its own.
pub(crate) struct FakeApi {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    changes: watch::Sender<u64>,
    tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<(String, String), Value>,
    /// Version, resource and line of each event.
    events: Vec<(u64, String, String)>,
    /// What requests for a resource are answered with: status and body.
    answers: HashMap<String, (u16, String)>,
    /// Watches from a version below this one are told that it is gone.
    oldest: u64,
    /// Raised to cut every watch.
    cuts: u64,
    /// How many objects a page has.
    page: usize,
    /// Resource, and the version that each watch began from.
    watched: Vec<(String, u64)>,
    lists: HashMap<String, usize>,
    /// Method, path and body of what was written.
    pub(crate) written: Vec<(String, String, String)>,
}

impl FakeApi {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self::serve(listener, Arc::default())
    }

    fn serve(listener: TcpListener, state: Arc<Mutex<State>>) -> Self {
        let address = listener.local_addr().expect("bound");
        state.lock().page = usize::MAX;
        let (changes, _) = watch::channel(0);
        let (shared, told) = (Arc::clone(&state), changes.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&shared), told.subscribe()));
            }
        });
        Self {
            address,
            state,
            changes,
            tasks,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops answering, with every connection cut.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Answers again at the same address.
    pub(crate) async fn restart(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("its port");
        *self = Self::serve(listener, Arc::clone(&self.state));
    }

    /// Adds or changes an object.
    pub(crate) fn put(&self, resource: &str, name: &str, mut object: Value) {
        self.change(|state| {
            state.version += 1;
            object["metadata"]["name"] = json!(name);
            object["metadata"]["resourceVersion"] = json!(state.version.to_string());
            let key = (resource.to_owned(), name.to_owned());
            let before = state.objects.insert(key, object.clone());
            let kind = if before.is_some() {
                "MODIFIED"
            } else {
                "ADDED"
            };
            state.event(
                resource,
                json!({ "type": kind, "object": object }).to_string(),
            );
        });
    }

    pub(crate) fn delete(&self, resource: &str, name: &str) {
        self.change(|state| {
            state.version += 1;
            let key = (resource.to_owned(), name.to_owned());
            if let Some(mut object) = state.objects.remove(&key) {
                object["metadata"]["resourceVersion"] = json!(state.version.to_string());
                state.event(
                    resource,
                    json!({ "type": "DELETED", "object": object }).to_string(),
                );
            }
        });
    }

    /// Removes an object without any event, as if the data were lost.
    pub(crate) fn lose(&self, resource: &str, name: &str) {
        let key = (resource.to_owned(), name.to_owned());
        self.state.lock().objects.remove(&key);
    }

    /// Sends a line to the watches of a resource, whatever it is.
    pub(crate) fn line(&self, resource: &str, line: &str) {
        self.change(|state| {
            state.version += 1;
            state.event(resource, line.to_owned());
        });
    }

    /// Tells the watches of a resource how far they have come.
    pub(crate) fn bookmark(&self, resource: &str) -> u64 {
        let mut at = 0;
        self.change(|state| {
            state.version += 1;
            at = state.version;
            let object = json!({ "metadata": { "resourceVersion": at.to_string() } });
            let line = json!({ "type": "BOOKMARK", "object": object });
            state.event(resource, line.to_string());
        });
        at
    }

    /// Answers requests for a resource like this from now on.
    pub(crate) fn answer(&self, resource: &str, status: u16, body: &str) {
        self.change(|state| {
            let answer = (status, body.to_owned());
            state.answers.insert(resource.to_owned(), answer);
            state.cuts += 1;
        });
    }

    /// Answers properly again.
    pub(crate) fn heal(&self, resource: &str) {
        self.change(|state| drop(state.answers.remove(resource)));
    }

    /// Forgets the past: whoever watches from before is told to list again.
    pub(crate) fn compact(&self) {
        self.change(|state| {
            state.version += 1;
            state.oldest = state.version;
            state.cuts += 1;
        });
    }

    /// Cuts every watch in the middle.
    pub(crate) fn cut(&self) {
        self.change(|state| state.cuts += 1);
    }

    pub(crate) fn set_page(&self, page: usize) {
        self.state.lock().page = page;
    }

    pub(crate) fn lists(&self, resource: &str) -> usize {
        self.state.lock().lists.get(resource).copied().unwrap_or(0)
    }

    /// The version that the latest watch of a resource began from, and how many there were.
    pub(crate) fn watches(&self, resource: &str) -> (usize, u64) {
        let state = self.state.lock();
        let of = state.watched.iter().filter(|(name, _)| name == resource);
        let versions: Vec<u64> = of.map(|(_, version)| *version).collect();
        (versions.len(), versions.last().copied().unwrap_or(0))
    }

    pub(crate) fn written(&self) -> Vec<(String, String, String)> {
        self.state.lock().written.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changes.send_modify(|count| *count += 1);
    }
}

impl State {
    fn event(&mut self, resource: &str, line: String) {
        self.events.push((self.version, resource.to_owned(), line));
    }
}

async fn serve(mut stream: TcpStream, state: Arc<Mutex<State>>, mut changes: watch::Receiver<u64>) {
    while let Some((method, target, body)) = request(&mut stream).await {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query: HashMap<&str, &str> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .collect();
        let parts: Vec<&str> = path.split('/').collect();
        let known = |part: &&&str| [SERVICES, SLICES, SETTINGS].contains(*part);
        let resource = parts
            .iter()
            .find(known)
            .copied()
            .unwrap_or_default()
            .to_owned();
        let forced = state.lock().answers.get(&resource).cloned();
        let sent = if let Some((status, body)) = forced {
            answer(&mut stream, status, &body).await
        } else if method != "GET" {
            state.lock().written.push((method, target.clone(), body));
            answer(&mut stream, 200, "{}").await
        } else if query.get("watch") == Some(&"true") {
            let from = query
                .get("resourceVersion")
                .and_then(|text| text.parse().ok());
            state
                .lock()
                .watched
                .push((resource.clone(), from.unwrap_or(0)));
            return watch_events(
                &mut stream,
                &resource,
                from.unwrap_or(0),
                &state,
                &mut changes,
            )
            .await;
        } else {
            let from = query.get("continue").and_then(|text| text.parse().ok());
            let page = list(&mut state.lock(), &resource, from.unwrap_or(0));
            answer(&mut stream, 200, &page).await
        };
        if sent.is_none() {
            return;
        }
    }
}

/// Method, target and body of the next request; `None` when there is none.
async fn request(stream: &mut TcpStream) -> Option<(String, String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let lower = head.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![
        0;
        length
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(0)
    ];
    stream.read_exact(&mut body).await.ok()?;
    Some((method, target, String::from_utf8(body).ok()?))
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) -> Option<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await.ok()
}

fn list(state: &mut State, resource: &str, from: usize) -> String {
    *state.lists.entry(resource.to_owned()).or_default() += 1;
    let of = state
        .objects
        .iter()
        .filter(|((name, _), _)| name == resource);
    let all: Vec<_> = of.map(|(_, object)| object.clone()).collect();
    let end = all.len().min(from.saturating_add(state.page));
    let next = if end < all.len() {
        end.to_string()
    } else {
        String::new()
    };
    let metadata = json!({ "resourceVersion": state.version.to_string(), "continue": next });
    // As Go does: an empty list is null.
    let items = if all.is_empty() {
        Value::Null
    } else {
        json!(all[from.min(end)..end])
    };
    json!({ "metadata": metadata, "items": items }).to_string()
}

async fn watch_events(
    stream: &mut TcpStream,
    resource: &str,
    mut from: u64,
    state: &Mutex<State>,
    changes: &mut watch::Receiver<u64>,
) {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    let cuts = state.lock().cuts;
    loop {
        changes.mark_unchanged();
        let (lines, cut) = {
            let state = state.lock();
            let new = |(at, of, _): &&(u64, String, String)| *at > from && of == resource;
            let mut lines: Vec<String> = state
                .events
                .iter()
                .filter(new)
                .map(|(_, _, line)| line.clone())
                .collect();
            if from < state.oldest {
                let gone = json!({ "kind": "Status", "code": 410, "message": "too old" });
                lines = vec![json!({ "type": "ERROR", "object": gone }).to_string()];
            }
            from = state.version.max(from);
            (lines, state.cuts != cuts)
        };
        for line in lines {
            // In two pieces, since nothing says that a line comes whole.
            let (a, b) = line.split_at(line.len() / 2);
            for piece in [a, b, "\n"] {
                let chunk = format!("{:x}\r\n{piece}\r\n", piece.len());
                if !piece.is_empty() && stream.write_all(chunk.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
        if cut {
            return;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let limit = Duration::from_secs(20);
    assert!(
        timeout(limit, waited).await.is_ok(),
        "not within {limit:?}: {what}"
    );
}
