//! Clients of revisions before 2026-07-28: each has a session, and is asked by requests of its own.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use proto::mesh::v1::McpMessage;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{broadcast::error::RecvError, oneshot, watch},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    asks::{self, Capabilities},
    handshake,
    link::{Ask, Era, Event, Exchange, Facts, Gone, Next, Outgoing},
    listen::Followed,
    message::{
        Fields, Message, Notification, Outcome, Raw, Request, code, error, fields, raw, text,
        to_raw,
    },
    modern::{Out, answer, gone_error, headers_of, next, send, unknown},
    mount::Mount,
    side::Side,
    tasks::{self, Progress},
    translate,
};

/// Rounds in which a server of 2026-07-28 may ask for more, for one request.
const MAX_ROUNDS: usize = 16;
/// The level of log lines of a client that has not said one: `info`.
const DEFAULT_LEVEL: usize = 1;
/// Requests of one session at once.
const MAX_RUNNING: usize = 1000;
/// Tasks of one session that are remembered for their notifications.
const MAX_TASKS: usize = 1000;

/// One client.
#[derive(Debug)]
struct Session {
    mount: Arc<Mount>,
    /// The way to the server.
    side: Arc<Side>,
    out: Out,
    client: u64,
    info: Value,
    capabilities: Capabilities,
    level: AtomicUsize,
    /// The questions that it has not answered yet, by the text of their ids.
    asks: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
    next_ask: AtomicU64,
    /// What cancels each of its requests, by the text of their ids.
    running: Mutex<HashMap<String, CancellationToken>>,
    /// The resources that it follows.
    followed: Mutex<Followed>,
    /// Those that it follows at a server of 2026-07-28.
    listened: watch::Sender<BTreeSet<String>>,
    /// The tasks that it has begun.
    tasks: Mutex<BTreeSet<String>>,
}

/// Serves one client until it leaves.
pub(crate) async fn serve(mount: Arc<Mount>, mut incoming: Streaming<McpMessage>, out: Out) {
    let Some(session) = begin(&mount, &mut incoming, &out).await else {
        return;
    };
    let session = Arc::new(session);
    let mut tasks = JoinSet::new();
    tasks.spawn(follow_lists(Arc::clone(&session)));
    tasks.spawn(follow_resources(Arc::clone(&session)));
    let background = tasks.len();
    let draining = mount.context.draining.clone();
    loop {
        let message = tokio::select! {
            message = incoming.message() => message,
            Some(_) = tasks.join_next() => continue,
            () = draining.cancelled(), if tasks.len() <= background => {
                let text = "the mount is draining: begin the session at another one";
                out.send(Err(Status::unavailable(text))).await.ok();
                return;
            }
            () = out.closed() => return,
        };
        // Whatever ends the stream ends the session, and what runs in it.
        let Ok(Some(message)) = message else { return };
        match Message::read(&message.message) {
            Ok(Message::Request(request)) => {
                if session.running.lock().len() >= MAX_RUNNING {
                    let busy = Err(error(code::INTERNAL, "the session has too many requests"));
                    answer(&out, Some(&request.id), &busy).await;
                    continue;
                }
                let cancel = CancellationToken::new();
                let id = request.id.get().to_owned();
                session.running.lock().insert(id.clone(), cancel.clone());
                let session = Arc::clone(&session);
                tasks.spawn(async move {
                    let id_of = request.id.clone();
                    let outcome = cancel.run_until_cancelled(session.run(request)).await;
                    session.running.lock().remove(&id);
                    if let Some(outcome) = outcome {
                        answer(&session.out, Some(&id_of), &outcome).await;
                    }
                });
            }
            Ok(Message::Notification(it)) => session.notified(it).await,
            Ok(Message::Response { id, outcome }) => {
                let id = id.map(|id| id.get().to_owned()).unwrap_or_default();
                if let Some(asked) = session.asks.lock().remove(&id) {
                    asked.send(outcome).ok();
                }
            }
            Err(malformed) => {
                answer(&out, None, &Err(error(malformed.0, malformed.1))).await;
            }
        }
    }
}

/// The handshake. `None` when there is no session.
async fn begin(
    mount: &Arc<Mount>,
    incoming: &mut Streaming<McpMessage>,
    out: &Out,
) -> Option<Session> {
    let first = incoming.message().await.ok()??;
    let request = match Message::read(&first.message) {
        Ok(Message::Request(request)) if request.method == "initialize" => request,
        Ok(Message::Request(request)) => {
            let outcome = Err(error(
                code::INVALID_REQUEST,
                "a session begins with `initialize`",
            ));
            answer(out, Some(&request.id), &outcome).await;
            return None;
        }
        _ => {
            let outcome = Err(error(
                code::INVALID_REQUEST,
                "a session begins with `initialize`",
            ));
            answer(out, None, &outcome).await;
            return None;
        }
    };
    let params: Value = request
        .params
        .as_ref()
        .and_then(|it| serde_json::from_str(it.get()).ok())
        .unwrap_or_default();
    // Which way there is shows once the server is known.
    let known = mount.upstream.link().await;
    let side = mount.legacy_side();
    let link = match known.and(side.upstream.link().await) {
        Ok(link) => link,
        Err(gone) => {
            answer(out, Some(&request.id), &Err(gone_error(&gone))).await;
            return None;
        }
    };
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let begun = translate::begun(link.facts(), asked);
    answer(out, Some(&request.id), &Ok(raw(&begun))).await;
    let followed = Followed {
        side: Arc::clone(&side),
        tracker: mount.context.tracker.clone(),
        uris: BTreeSet::new(),
    };
    Some(Session {
        client: mount.client(),
        mount: Arc::clone(mount),
        side,
        out: out.clone(),
        info: params["clientInfo"].clone(),
        capabilities: Capabilities::read(params.get("capabilities")),
        level: AtomicUsize::new(DEFAULT_LEVEL),
        asks: Mutex::default(),
        next_ask: AtomicU64::new(1),
        running: Mutex::default(),
        followed: Mutex::new(followed),
        listened: watch::channel(BTreeSet::new()).0,
        tasks: Mutex::default(),
    })
}

impl Session {
    fn level(&self) -> usize {
        self.level.load(Ordering::Relaxed)
    }

    /// Carries out one request.
    async fn run(self: &Arc<Self>, request: Request) -> Outcome {
        let Request { id, method, params } = request;
        let Some(params) = fields(params.as_deref()) else {
            return Err(error(code::INVALID_PARAMS, "params are no object"));
        };
        match &*method {
            "ping" => Ok(raw(&json!({}))),
            "initialize" => Err(error(
                code::INVALID_REQUEST,
                "the session has begun already",
            )),
            "logging/setLevel" => {
                let given = text(params.get("level")).unwrap_or_default();
                let Some(level) = translate::level(&given) else {
                    return Err(error(code::INVALID_PARAMS, "no such level"));
                };
                self.level.store(level, Ordering::Relaxed);
                Ok(raw(&json!({})))
            }
            "resources/subscribe" | "resources/unsubscribe" => {
                self.subscribe(&method, &params).await
            }
            "server/discover" | "subscriptions/listen" => Err(unknown(&method)),
            "tasks/get" | "tasks/result" | "tasks/cancel" | "tasks/list" => {
                self.task(&id, &method, params).await
            }
            "tools/list"
                if self
                    .mount
                    .tools
                    .first(self.mount.keys.mount_wait)
                    .await
                    .is_none() =>
            {
                Err(error(
                    code::INTERNAL,
                    "the server's tools are not known yet",
                ))
            }
            _ => {
                let name = text(params.get("name")).unwrap_or_default();
                if method == "tools/call"
                    && let Some(reason) = self.mount.tools.blocked(&name)
                {
                    return Err(error(code::INVALID_PARAMS, reason));
                }
                self.forward(&id, &method, params).await
            }
        }
    }

    async fn subscribe(&self, method: &str, params: &Fields) -> Outcome {
        let Some(uri) = text(params.get("uri")) else {
            return Err(error(code::INVALID_PARAMS, "uri is missing"));
        };
        let link = self
            .side
            .upstream
            .link()
            .await
            .map_err(|gone| gone_error(&gone))?;
        if !link.facts().can("resources.subscribe") {
            return Err(unknown(method));
        }
        let begins = method == "resources/subscribe";
        let changed = {
            let uris = &mut self.followed.lock().uris;
            if begins {
                uris.insert(uri.clone())
            } else {
                uris.remove(&uri)
            }
        };
        match (changed, begins, link.facts().era) {
            (false, ..) => {}
            (true, true, Era::Legacy) => self.side.follow_resource(&uri).await,
            (true, false, Era::Legacy) => self.side.unfollow_resource(&uri).await,
            (true, _, Era::Modern) => {
                let uris = self.followed.lock().uris.clone();
                self.listened.send_replace(uris);
            }
        }
        Ok(raw(&json!({})))
    }

    /// Sends a request on, and follows it to its end.
    async fn forward(self: &Arc<Self>, id: &Raw, method: &str, params: Fields) -> Outcome {
        let token = params
            .get("_meta")
            .and_then(|meta| fields(Some(meta)))
            .and_then(|mut meta| meta.remove("progressToken"));
        let headers = headers_of(&self.mount, method, &params);
        let (mut answers, mut state) = (None, None);
        for _ in 0..MAX_ROUNDS {
            let link = self
                .side
                .upstream
                .link()
                .await
                .map_err(|gone| gone_error(&gone))?;
            let facts = Arc::clone(link.facts());
            let mut outgoing = Outgoing {
                method: method.to_owned(),
                params: params.clone(),
                progress: token.is_some(),
                capabilities: self.capabilities.clone(),
                client: self.client,
                headers: headers.clone(),
            };
            if facts.era == Era::Modern {
                self.modernize(&mut outgoing, &facts.version, answers.take(), state.take());
            }
            let exchange = self
                .mount
                .request_over(&self.side.upstream, outgoing)
                .await
                .map_err(|gone| gone_error(&gone))?;
            let outcome = match self.drive(id, token.as_ref(), exchange).await {
                Ok(outcome) => outcome,
                Err(gone) => {
                    self.mount.metrics.request(method, "lost");
                    return Err(gone_error(&gone));
                }
            };
            let word = if outcome.is_ok() { "result" } else { "error" };
            self.mount.metrics.request(method, word);
            if facts.era == Era::Legacy {
                return self.finished(method, outcome);
            }
            let asked = outcome.as_ref().ok().and_then(input_required);
            let Some(asked) = asked else {
                return self.crossed(method, &params, &facts, outcome);
            };
            (answers, state) = (self.answers(id, &asked).await?, asked.state);
        }
        Err(error(code::INTERNAL, "the server asks again and again"))
    }

    /// What the server of 2026-07-28 expects of every request, and the answers to what it asked.
    fn modernize(
        &self,
        outgoing: &mut Outgoing,
        version: &str,
        answers: Option<Fields>,
        state: Option<Raw>,
    ) {
        let params = &mut outgoing.params;
        let meta = params.get("_meta").map(|it| &**it);
        let mut meta = fields(meta).unwrap_or_default();
        let mut capabilities = self.capabilities.0.clone();
        capabilities.remove("tasks");
        if params.remove("task").is_some() {
            let extensions = capabilities
                .entry("extensions")
                .or_insert_with(|| json!({}));
            extensions[asks::TASKS] = json!({});
        }
        meta.extend(handshake::modern_meta(version, &self.info, &capabilities));
        let level = [
            "debug",
            "info",
            "notice",
            "warning",
            "error",
            "critical",
            "alert",
            "emergency",
        ]
        .get(self.level())
        .copied()
        .unwrap_or("info");
        meta.insert(
            "io.modelcontextprotocol/logLevel".to_owned(),
            raw(&Value::from(level)),
        );
        params.insert("_meta".to_owned(), to_raw(&meta));
        if let Some(answers) = answers {
            params.insert("inputResponses".to_owned(), to_raw(&answers));
        }
        if let Some(state) = state {
            params.insert("requestState".to_owned(), state);
        }
    }

    /// The response of a server of 2026-07-28 as the client gets it.
    fn crossed(&self, method: &str, params: &Fields, facts: &Facts, outcome: Outcome) -> Outcome {
        let knows_tasks = facts
            .capabilities
            .get("extensions")
            .is_some_and(|it| it.get(asks::TASKS).is_some());
        let wanted = method == "tools/call" && params.contains_key("task");
        if let (true, Ok(result)) = (wanted, &outcome) {
            let task = tasks::begun(result).ok_or_else(|| {
                let text = "the server answers this tool at once: call it without a task";
                error(code::UNKNOWN_METHOD, text)
            });
            return self.finished(method, task);
        }
        let outcome = self.finished(method, translate::to_legacy(method, outcome));
        match method {
            "tools/list" if knows_tasks => outcome.map(|it| translate::with_task_support(&it)),
            _ => outcome,
        }
    }

    /// Carries out a request about a task.
    async fn task(self: &Arc<Self>, id: &Raw, method: &str, params: Fields) -> Outcome {
        let link = self.side.upstream.link().await;
        let link = link.map_err(|gone| gone_error(&gone))?;
        if link.facts().era == Era::Legacy {
            let task = text(params.get("taskId")).unwrap_or_default();
            // The session with the server is shared: a task is of the client that has begun it.
            if method != "tasks/list" && !self.tasks.lock().contains(&task) {
                return Err(error(code::INVALID_PARAMS, "there is no such task"));
            }
            let outcome = self.forward(id, method, params).await;
            return match method {
                "tasks/list" => outcome.map(|result| self.own_tasks(&result)),
                _ => outcome,
            };
        }
        let Some(task) = text(params.get("taskId")) else {
            return Err(unknown(method));
        };
        let mut capabilities = self.capabilities.0.clone();
        capabilities.remove("tasks");
        let extensions = capabilities
            .entry("extensions")
            .or_insert_with(|| json!({}));
        extensions[asks::TASKS] = json!({});
        let meta = handshake::modern_meta(&link.facts().version, &self.info, &capabilities);
        match method {
            "tasks/get" => Ok(tasks::seen(
                &self.of_task(&meta, "tasks/get", &task, None).await?,
            )),
            "tasks/cancel" => {
                self.of_task(&meta, "tasks/cancel", &task, None).await?;
                Ok(tasks::seen(
                    &self.of_task(&meta, "tasks/get", &task, None).await?,
                ))
            }
            "tasks/result" => self.await_task(id, &meta, &task).await,
            _ => Err(unknown(method)),
        }
    }

    /// Asks a server of 2026-07-28 about a task.
    async fn of_task(
        &self,
        meta: &Fields,
        method: &str,
        task: &str,
        answers: Option<Raw>,
    ) -> Outcome {
        let mut params = tasks::modern_params(meta, task);
        if let Some(answers) = answers {
            params.insert("inputResponses".to_owned(), answers);
        }
        let asked = self
            .mount
            .request_over(&self.side.upstream, Outgoing::own(method, params))
            .await;
        let asked = asked.map_err(|gone| gone_error(&gone))?.outcome().await;
        asked.map_err(|gone| gone_error(&gone))?
    }

    /// Waits for a task of a server of 2026-07-28, and asks the client what the task asks.
    async fn await_task(&self, id: &Raw, meta: &Fields, task: &str) -> Outcome {
        let mut answered = BTreeSet::new();
        loop {
            let seen = self.of_task(meta, "tasks/get", task, None).await?;
            let pause = match tasks::progress(&seen) {
                Progress::Ended(outcome) => return outcome,
                Progress::Working(pause) => pause,
                Progress::Asks(mut requests, pause) => {
                    requests.retain(|key, _| answered.insert(key.clone()));
                    let state = None;
                    let asked = InputRequired { requests, state };
                    if let Some(answers) = self.answers(id, &asked).await? {
                        let answers = Some(to_raw(&answers));
                        self.of_task(meta, "tasks/update", task, answers).await?;
                    }
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// A list of tasks without those of others.
    fn own_tasks(&self, result: &Raw) -> Raw {
        let mut result: Value = serde_json::from_str(result.get()).unwrap_or_default();
        if let Some(all) = result["tasks"].as_array_mut() {
            let own = self.tasks.lock();
            all.retain(|it| it["taskId"].as_str().is_some_and(|id| own.contains(id)));
        }
        raw(&result)
    }

    /// The response as the client gets it.
    fn finished(&self, method: &str, outcome: Outcome) -> Outcome {
        match method {
            "tools/list" => {
                outcome.map(|result| self.mount.tools.shown(result, self.mount.pinned()))
            }
            "tools/call" => outcome.inspect(|result| self.remember_task(result)),
            _ => outcome,
        }
    }

    fn remember_task(&self, result: &Raw) {
        if !result.get().contains("taskId") {
            return;
        }
        let result: Value = serde_json::from_str(result.get()).unwrap_or_default();
        let mut tasks = self.tasks.lock();
        if let Some(id) = result["task"]["taskId"].as_str()
            && tasks.len() < MAX_TASKS
        {
            tasks.insert(id.to_owned());
        }
    }

    async fn drive(
        self: &Arc<Self>,
        id: &Raw,
        token: Option<&Raw>,
        mut exchange: Exchange,
    ) -> Result<Outcome, Gone> {
        // The questions are answered beside the request, which may go on meanwhile.
        let mut questions = JoinSet::new();
        loop {
            let next = match questions.is_empty() {
                true => next(&self.mount, &mut exchange).await,
                // While a person is asked, the server has reason to be silent.
                false => tokio::select! {
                    next = exchange.next() => Ok(next),
                    Some(_) = questions.join_next() => continue,
                },
            };
            match next? {
                Next::Event(Event::Notification(it)) => {
                    self.notify(it, token, id.get().as_bytes().to_vec()).await;
                }
                Next::Event(Event::Ask(ask)) => {
                    let (session, id) = (Arc::clone(self), id.clone());
                    questions.spawn(async move {
                        let Ask {
                            method,
                            params,
                            answer,
                        } = ask;
                        let outcome = session.ask(&method, params, &id).await;
                        // The server may not wait for it any more.
                        answer.send(outcome).ok();
                    });
                }
                Next::Done(outcome) => return Ok(outcome),
                Next::Gone => return Err(Gone::Lost),
            }
        }
    }

    async fn notify(&self, mut it: Notification, token: Option<&Raw>, related: Vec<u8>) {
        match &*it.method {
            "notifications/progress" => {
                let Some(token) = token else { return };
                it.params = Some(translate::with_token(it.params.as_ref(), token));
            }
            "notifications/message" if !translate::is_logged(it.params.as_ref(), self.level()) => {
                return;
            }
            _ => {}
        }
        send(&self.out, it.write(), related).await;
    }

    /// Asks the client, and waits for its answer.
    async fn ask(&self, method: &str, params: Option<Raw>, related: &Raw) -> Outcome {
        if !self.capabilities.answer(method, params.as_deref()) {
            let text = format!("the client has no capability {:?}", asks::needs(method));
            return Err(error(code::UNKNOWN_METHOD, text));
        }
        let number = self.next_ask.fetch_add(1, Ordering::Relaxed);
        let id = raw(&Value::from(format!("ask-{number}")));
        let (sender, answered) = oneshot::channel();
        self.asks.lock().insert(id.get().to_owned(), sender);
        let request = Request {
            id: id.clone(),
            method: method.to_owned(),
            params,
        };
        let forget = Forget(self, id.get().to_owned());
        send(
            &self.out,
            request.write(),
            related.get().as_bytes().to_vec(),
        )
        .await;
        let outcome = timeout(self.mount.keys.mount_park_time, answered).await;
        drop(forget);
        match outcome {
            Ok(Ok(outcome)) => outcome,
            _ => Err(error(code::INTERNAL, "the client gave no answer")),
        }
    }

    /// The answers of the client to all that a server of 2026-07-28 asks.
    async fn answers(&self, id: &Raw, asked: &InputRequired) -> Result<Option<Fields>, Raw> {
        if asked.requests.is_empty() {
            return Ok(None);
        }
        let answers = asked.requests.iter().map(|(key, request)| async move {
            let method = request["method"].as_str().unwrap_or_default();
            let params = request.get("params").map(raw);
            let answer = self.ask(method, params, id).await?;
            Ok((key.clone(), answer))
        });
        let answers = join_all(answers).await;
        let answers: Result<Fields, Raw> = answers.into_iter().collect();
        answers.map(Some)
    }

    async fn notified(&self, it: Notification) {
        match &*it.method {
            "notifications/cancelled" => {
                let id = it.fields().remove("requestId");
                let id = id.map(|id| id.get().to_owned()).unwrap_or_default();
                if let Some(running) = self.running.lock().get(&id) {
                    running.cancel();
                }
            }
            // The mount has begun its own session with the server, and has its own roots.
            "notifications/initialized" | "notifications/roots/list_changed" => {}
            _ => {
                if let Ok(link) = self.side.upstream.link().await {
                    link.notify(it).await.ok();
                }
            }
        }
    }
}

/// Forgets a question whose asker has left.
struct Forget<'a>(&'a Session, String);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.asks.lock().remove(&self.1);
    }
}

/// What a server of 2026-07-28 asks for before it goes on.
struct InputRequired {
    requests: Map<String, Value>,
    state: Option<Raw>,
}

fn input_required(result: &Raw) -> Option<InputRequired> {
    if !result.get().contains("input_required") {
        return None;
    }
    let mut result = fields(Some(result))?;
    if text(result.get("resultType"))? != "input_required" {
        return None;
    }
    let requests = result.remove("inputRequests");
    let requests = requests.and_then(|it| serde_json::from_str(it.get()).ok());
    Some(InputRequired {
        requests: requests.unwrap_or_default(),
        state: result.remove("requestState"),
    })
}

/// Waits for all futures at once, and keeps their order.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(|it| (Box::pin(it), None)).collect();
    std::future::poll_fn(|context| {
        let mut ready = true;
        for (future, output) in pending.iter_mut().filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(context) {
                std::task::Poll::Ready(value) => *output = Some(value),
                std::task::Poll::Pending => ready = false,
            }
        }
        match ready {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    pending
        .into_iter()
        .filter_map(|(_, output)| output)
        .collect()
}

/// Passes on what the server tells everybody.
async fn follow_lists(session: Arc<Session>) {
    let mut changes = session.side.changes.subscribe();
    loop {
        let it = match changes.recv().await {
            Ok(it) => it,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        let wanted = match &*it.method {
            "notifications/resources/updated" => {
                let uri = text(it.fields().get("uri"));
                uri.is_some_and(|uri| session.followed.lock().uris.contains(&uri))
            }
            "notifications/tasks/status" => {
                let id = text(it.fields().get("taskId"));
                id.is_some_and(|id| session.tasks.lock().contains(&id))
            }
            "notifications/message" => translate::is_logged(it.params.as_ref(), session.level()),
            _ => true,
        };
        if wanted {
            let it = Notification {
                method: it.method.clone(),
                params: translate::without_subscription(it.params.as_ref()),
            };
            send(&session.out, it.write(), Vec::new()).await;
        }
    }
}

/// Follows resources at a server of 2026-07-28.
async fn follow_resources(session: Arc<Session>) {
    let mut listened = session.listened.subscribe();
    let mut links = session.side.upstream.links();
    loop {
        let uris = listened.borrow_and_update().clone();
        let link = links.borrow_and_update().clone();
        let link = link.filter(|link| link.facts().era == Era::Modern && !uris.is_empty());
        let following = async {
            let Some(link) = link else {
                return std::future::pending().await;
            };
            let capabilities = &session.capabilities.0;
            let meta = handshake::modern_meta(&link.facts().version, &session.info, capabilities);
            let params = Fields::from([
                ("_meta".to_owned(), to_raw(&meta)),
                (
                    "notifications".to_owned(),
                    raw(&json!({"resourceSubscriptions": uris})),
                ),
            ]);
            let mut request = Outgoing::own("subscriptions/listen", params);
            request.client = session.client;
            let Ok(mut exchange) = link.request(request).await else {
                return std::future::pending().await;
            };
            loop {
                match exchange.next().await {
                    Next::Event(Event::Notification(mut it)) => {
                        if it.method == "notifications/resources/updated" {
                            it.params = translate::without_subscription(it.params.as_ref());
                            send(&session.out, it.write(), Vec::new()).await;
                        }
                    }
                    Next::Event(Event::Ask(_)) => {}
                    // Until the server is back, or other resources are followed.
                    Next::Done(_) | Next::Gone => return std::future::pending().await,
                }
            }
        };
        tokio::select! {
            () = following => {}
            changed = listened.changed() => if changed.is_err() {
                return;
            },
            changed = links.changed() => if changed.is_err() {
                return;
            },
        }
    }
}
