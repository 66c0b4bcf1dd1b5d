//! Clients of revision 2026-07-28: each request stands for itself, and who is asked something comes
//! again with the answers.

use std::{collections::BTreeMap, sync::Arc};

use proto::mesh::v1::{McpMessage, mcp_service_client::McpServiceClient};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};
use tonic::{Code, Status};

use crate::{
    asks::{Capabilities, TASKS},
    handshake, headers,
    link::{Ask, Era, Event, Exchange, Facts, Gone, Link, MODERN, Next, Outgoing},
    message::{
        self, Fields, Message, Notification, Outcome, Raw, Request, code, error, error_with,
        fields, raw, text, to_raw,
    },
    mount::Mount,
    parked::{NotParked, Parked, State, Waiting, digest},
    tasks, translate,
};

/// Where messages to a client go.
pub(crate) type Out = mpsc::Sender<Result<McpMessage, Status>>;

/// Methods of earlier revisions.
const REMOVED: [&str; 6] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "tasks/result",
];

/// Metadata of a call that one mount passes on to another. It is passed on once.
pub(crate) const PASSED_ON: &str = "x-mesh-mount-passed-on";
/// Who calls, as the gateway knows them.
pub(crate) const CALLER: &str = "x-mesh-caller";

/// A request of a client, taken apart.
pub(crate) struct Call {
    pub(crate) id: Raw,
    pub(crate) method: String,
    pub(crate) params: Fields,
    /// The client's token of progress.
    pub(crate) token: Option<Raw>,
    /// The least level of log lines that it wants.
    pub(crate) level: Option<usize>,
    pub(crate) capabilities: Capabilities,
    pub(crate) caller: String,
    /// Whether another mount has passed it on.
    pub(crate) passed_on: bool,
    pub(crate) client: u64,
}

/// Answers one message.
pub(crate) async fn serve(
    mount: &Arc<Mount>,
    caller: &str,
    passed_on: bool,
    bytes: &[u8],
    out: &Out,
) {
    let request = match Message::read(bytes) {
        Ok(Message::Request(request)) => request,
        Ok(Message::Notification(_)) => return,
        Ok(Message::Response { id, .. }) => {
            let text = "a client of this revision sends no responses";
            let outcome = Err(error(code::INVALID_REQUEST, text));
            return answer(out, id.as_ref(), &outcome).await;
        }
        Err(malformed) => {
            return answer(out, None, &Err(error(malformed.0, malformed.1))).await;
        }
    };
    let id = request.id.clone();
    let outcome = match Call::read(mount, request, caller, passed_on) {
        Ok(call) => run(mount, call, bytes, out).await,
        Err(error) => Some(Err(error)),
    };
    if let Some(outcome) = outcome {
        answer(out, Some(&id), &outcome).await;
    }
}

/// Sends a response.
pub(crate) async fn answer(out: &Out, id: Option<&Raw>, outcome: &Outcome) {
    let message = message::response(id.map(|it| &**it), outcome);
    let related_request = id
        .map(|id| id.get().as_bytes().to_vec())
        .unwrap_or_default();
    send(out, message, related_request).await;
}

/// Sends a message. A client that has left is no error.
pub(crate) async fn send(out: &Out, message: Vec<u8>, related_request: Vec<u8>) {
    let message = McpMessage {
        message,
        related_request,
    };
    out.send(Ok(message)).await.ok();
}

impl Call {
    fn read(mount: &Mount, request: Request, caller: &str, passed_on: bool) -> Result<Self, Raw> {
        let Request { id, method, params } = request;
        let invalid = |text: &str| error(code::INVALID_PARAMS, text);
        let params = fields(params.as_deref()).ok_or_else(|| invalid("params are no object"))?;
        let meta = params.get("_meta").map(|it| &**it);
        let meta = meta.ok_or_else(|| invalid("params have no _meta"))?;
        let meta = fields(Some(meta)).ok_or_else(|| invalid("_meta is no object"))?;
        let Some(version) = text(meta.get(handshake::VERSION)) else {
            return Err(invalid(
                "_meta lacks io.modelcontextprotocol/protocolVersion",
            ));
        };
        if version != MODERN {
            let data = json!({"supported": translate::revisions(), "requested": version});
            return Err(error_with(
                code::VERSION,
                "Unsupported protocol version",
                &data,
            ));
        }
        let capabilities = meta.get(handshake::CAPABILITIES);
        let capabilities = capabilities.and_then(|it| serde_json::from_str(it.get()).ok());
        let Some(Value::Object(capabilities)) = capabilities else {
            return Err(invalid(
                "_meta lacks io.modelcontextprotocol/clientCapabilities",
            ));
        };
        let level = text(meta.get("io.modelcontextprotocol/logLevel"));
        Ok(Self {
            id,
            method,
            token: meta.get("progressToken").cloned(),
            level: level.as_deref().and_then(translate::level),
            capabilities: Capabilities(capabilities),
            caller: caller.to_owned(),
            passed_on,
            client: mount.client(),
            params,
        })
    }

    /// The message that another mount is given, to the letter.
    fn related(&self) -> Vec<u8> {
        self.id.get().as_bytes().to_vec()
    }
}

/// Carries out a request. `None` when its response is sent, or nobody waits for it.
async fn run(mount: &Arc<Mount>, mut call: Call, bytes: &[u8], out: &Out) -> Option<Outcome> {
    if REMOVED.contains(&&*call.method) || call.method.starts_with("notifications/") {
        return Some(Err(unknown(&call.method)));
    }
    let link = match mount.upstream.link().await {
        Ok(link) => link,
        Err(gone) => return Some(Err(gone_error(&gone))),
    };
    let facts = Arc::clone(link.facts());
    match &*call.method {
        "server/discover" => return Some(Ok(raw(&translate::discovered(&facts)))),
        "subscriptions/listen" => return listen(mount, &call, out).await,
        // Which of them may be shown is not known before they were read.
        "tools/list" if mount.tools.first(mount.keys.mount_wait).await.is_none() => {
            return Some(Err(error(
                code::INTERNAL,
                "the server's tools are not known yet",
            )));
        }
        "tools/call" => {
            let name = text(call.params.get("name")).unwrap_or_default();
            if let Some(reason) = mount.tools.blocked(&name) {
                return Some(Err(error(code::INVALID_PARAMS, reason)));
            }
        }
        "tasks/get" | "tasks/update" | "tasks/cancel" => {
            match find_task(mount, &mut call, &facts, bytes, out).await {
                Found::Here => {}
                Found::Legacy(id) => return Some(tasks::answer_modern(mount, &call, &id).await),
                Found::PassedOn => return None,
                Found::Nowhere(error) => return Some(Err(error)),
            }
        }
        _ => {}
    }
    let state = call.params.get("requestState").cloned();
    let state = text(state.as_ref());
    let mut resumed = None;
    if let Some(state) = &state {
        match Parked::read(state) {
            State::Foreign(_) | State::Task { .. } => {}
            State::Server { instance, state } => {
                if !mount.parked.is_here(&instance)
                    && !call.passed_on
                    && pass_on(mount, &call, &instance, bytes, out).await.is_ok()
                {
                    return None;
                }
                // The mount is gone. The server may know its state all the same.
                call.params
                    .insert("requestState".to_owned(), raw(&Value::from(state)));
            }
            State::Parked { instance, sealed } => {
                if !mount.parked.is_here(&instance) {
                    if !call.passed_on && pass_on(mount, &call, &instance, bytes, out).await.is_ok()
                    {
                        return None;
                    }
                    return Some(Err(not_parked(NotParked::Ended)));
                }
                let digest = digest(&call.method, &call.params);
                match mount.parked.take(sealed, &call.caller, &digest) {
                    Ok(waiting) => resumed = Some(waiting),
                    Err(error) => return Some(Err(not_parked(error))),
                }
            }
        }
    }
    let as_task = resumed.is_none()
        && facts.era == Era::Legacy
        && call.method == "tools/call"
        && tasks::needed_by(mount, &call.params);
    let (exchange, asked) = match resumed {
        Some(waiting) => resume(waiting, &call),
        None if as_task => {
            let request = outgoing(mount, &call, &*link);
            match tasks::begin(mount, request).await {
                Err(error) => return Some(Err(error)),
                Ok((_, task)) if tasks::known_by(&call.capabilities) => {
                    return Some(Ok(raw(&Value::Object(task))));
                }
                Ok((id, _)) => {
                    let request = tasks::result_of(&id, &call.capabilities, call.client);
                    match mount.request(request).await {
                        Ok(exchange) => (exchange, 0),
                        Err(gone) => return Some(Err(gone_error(&gone))),
                    }
                }
            }
        }
        None => match mount.request(outgoing(mount, &call, &*link)).await {
            Ok(exchange) => (exchange, 0),
            Err(gone) => return Some(Err(gone_error(&gone))),
        },
    };
    drive(mount, &call, &facts, exchange, asked, out).await
}

/// Where a task is.
enum Found {
    /// At the server, under the id that the request has now.
    Here,
    /// At the server, which is of an earlier revision, under this id.
    Legacy(String),
    /// At another mount, which has answered.
    PassedOn,
    Nowhere(Raw),
}

async fn find_task(
    mount: &Mount,
    call: &mut Call,
    facts: &Facts,
    bytes: &[u8],
    out: &Out,
) -> Found {
    let given = text(call.params.get("taskId")).unwrap_or_default();
    if facts.era == Era::Legacy && !tasks::known_by(&call.capabilities) {
        let data = json!({"requiredCapabilities": {"extensions": {TASKS: {}}}});
        let text = "Missing required client capability";
        return Found::Nowhere(error_with(code::NO_CAPABILITY, text, &data));
    }
    let State::Task { instance, id } = Parked::read(&given) else {
        return match facts.era {
            Era::Legacy => Found::Nowhere(error(code::INVALID_PARAMS, "there is no such task")),
            Era::Modern => Found::Here,
        };
    };
    if !mount.parked.is_here(&instance) {
        if !call.passed_on && pass_on(mount, call, &instance, bytes, out).await.is_ok() {
            return Found::PassedOn;
        }
        let text = "there is no such task: the mount that had it is gone";
        return Found::Nowhere(error(code::INVALID_PARAMS, text));
    }
    if facts.era == Era::Legacy {
        return Found::Legacy(id.to_owned());
    }
    call.params
        .insert("taskId".to_owned(), raw(&Value::from(id)));
    Found::Here
}

/// The request as the server is to get it.
fn outgoing(mount: &Mount, call: &Call, link: &dyn Link) -> Outgoing {
    let mut params = call.params.clone();
    let facts = link.facts();
    let meta = params.remove("_meta");
    let mut meta = fields(meta.as_deref()).unwrap_or_default();
    match facts.era {
        Era::Legacy => {
            meta.retain(|name, _| !name.starts_with("io.modelcontextprotocol/"));
            params.remove("requestState");
            params.remove("inputResponses");
        }
        Era::Modern => {
            let version = raw(&Value::from(facts.version.as_str()));
            meta.insert(handshake::VERSION.to_owned(), version);
        }
    }
    if !meta.is_empty() {
        params.insert("_meta".to_owned(), to_raw(&meta));
    }
    Outgoing {
        headers: headers_of(mount, &call.method, &call.params),
        method: call.method.clone(),
        progress: call.token.is_some(),
        capabilities: call.capabilities.clone(),
        client: call.client,
        params,
    }
}

/// The arguments of a call that HTTP carries as headers too.
pub(crate) fn headers_of(mount: &Mount, method: &str, params: &Fields) -> Vec<(String, String)> {
    if method != "tools/call" {
        return Vec::new();
    }
    let name = text(params.get("name")).unwrap_or_default();
    let known = mount.tools.known();
    let Some(tool) = known.as_ref().and_then(|known| known.get(&name)) else {
        return Vec::new();
    };
    if tool.headers.is_empty() {
        return Vec::new();
    }
    let arguments = params
        .get("arguments")
        .and_then(|it| serde_json::from_str(it.get()).ok());
    headers::of_arguments(&tool.headers, &arguments.unwrap_or_default())
}

/// Gives the answers of the client to a request that waited for them.
fn resume(mut waiting: Waiting, call: &Call) -> (Exchange, u64) {
    let given = call.params.get("inputResponses").map(|it| &**it);
    let given: Fields = given.and_then(|it| fields(Some(it))).unwrap_or_default();
    for (key, answer) in std::mem::take(&mut waiting.asks) {
        let outcome = match given.get(&key) {
            Some(given) if given.get().starts_with('{') => Ok(given.clone()),
            Some(_) => Err(error(
                code::INVALID_PARAMS,
                "the client's answer is no object",
            )),
            None => Err(error(code::INTERNAL, "the client has not answered this")),
        };
        // The server may not wait for it any more.
        answer.send(outcome).ok();
    }
    (waiting.exchange, waiting.asked)
}

/// Follows a request in flight to its end, or until its client is asked something.
async fn drive(
    mount: &Arc<Mount>,
    call: &Call,
    facts: &Arc<Facts>,
    mut exchange: Exchange,
    asked: u64,
    out: &Out,
) -> Option<Outcome> {
    loop {
        let next = tokio::select! {
            next = next(mount, &mut exchange) => next,
            // Its client has left: dropping the exchange cancels it.
            () = out.closed() => return None,
        };
        match next {
            Ok(Next::Event(Event::Notification(it))) => notify(call, it, out).await,
            Ok(Next::Event(Event::Ask(ask))) => {
                return Some(park(mount, call, exchange, ask, asked, out).await);
            }
            Ok(Next::Done(outcome)) => {
                let word = if outcome.is_ok() { "result" } else { "error" };
                mount.metrics.request(&call.method, word);
                return Some(finished(mount, call, facts, outcome));
            }
            Ok(Next::Gone) => {
                mount.metrics.request(&call.method, "lost");
                return Some(Err(gone_error(&Gone::Lost)));
            }
            Err(late) => {
                mount.metrics.request(&call.method, "lost");
                return Some(Err(gone_error(&late)));
            }
        }
    }
}

/// What comes next, if it comes in time.
pub(crate) async fn next(mount: &Mount, exchange: &mut Exchange) -> Result<Next, Gone> {
    match mount.patience() {
        Some(patience) => timeout(patience, exchange.next())
            .await
            .map_err(|_| Gone::Late(patience)),
        None => Ok(exchange.next().await),
    }
}

async fn notify(call: &Call, mut it: Notification, out: &Out) {
    match &*it.method {
        "notifications/progress" => {
            let Some(token) = &call.token else { return };
            it.params = Some(translate::with_token(it.params.as_ref(), token));
        }
        "notifications/message" => {
            let wanted = call
                .level
                .is_some_and(|least| translate::is_logged(it.params.as_ref(), least));
            if !wanted {
                return;
            }
        }
        _ => {}
    }
    send(out, it.write(), call.related()).await;
}

/// Lets a request wait for the answers of its client.
async fn park(
    mount: &Arc<Mount>,
    call: &Call,
    mut exchange: Exchange,
    first: Ask,
    mut asked: u64,
    out: &Out,
) -> Outcome {
    let mut all = vec![first];
    while let Ok(event) = exchange.events.try_recv() {
        match event {
            Event::Ask(ask) => all.push(ask),
            Event::Notification(it) => notify(call, it, out).await,
        }
    }
    let (mut asks, mut requests) = (BTreeMap::new(), serde_json::Map::new());
    for ask in all {
        asked += 1;
        let key = format!("ask-{asked}");
        let mut request = json!({"method": ask.method});
        if let Some(params) = &ask.params {
            request["params"] = serde_json::from_str(params.get()).unwrap_or_default();
        }
        requests.insert(key.clone(), request);
        asks.insert(key, ask.answer);
    }
    let waiting = Waiting {
        exchange,
        asks,
        asked,
    };
    let digest = digest(&call.method, &call.params);
    let Some(state) = mount.parked.park(waiting, &call.caller, &digest) else {
        let text = "too many requests wait for input (mount_max_parked)";
        return Err(error(code::INTERNAL, text));
    };
    Ok(raw(&json!({
        "resultType": "input_required",
        "inputRequests": requests,
        "requestState": state,
    })))
}

/// The response that a client gets.
fn finished(mount: &Mount, call: &Call, facts: &Arc<Facts>, outcome: Outcome) -> Outcome {
    let outcome = match call.method == "tools/list" {
        true => outcome.map(|result| mount.tools.shown(result, mount.pinned())),
        false => outcome,
    };
    match facts.era {
        Era::Legacy => translate::to_modern(&call.method, facts, outcome),
        Era::Modern => outcome.map(|result| marked(mount, facts, result)),
    }
}

/// A result of a server of 2026-07-28 whose state and task are marked with this instance.
fn marked(mount: &Mount, facts: &Facts, result: Raw) -> Raw {
    let (state, task) = ("requestState", "taskId");
    if ![state, task].iter().any(|name| result.get().contains(name)) {
        return result;
    }
    let Some(mut all) = fields(Some(&result)) else {
        return result;
    };
    if let Some(given) = text(all.get(state)) {
        let wrapped = mount.parked.wrap(&given);
        all.insert(state.to_owned(), raw(&Value::from(wrapped)));
    }
    if facts.is_own
        && let Some(id) = text(all.get(task))
    {
        let wrapped = mount.parked.wrap_task(&id);
        all.insert(task.to_owned(), raw(&Value::from(wrapped)));
    }
    to_raw(&all)
}

/// Passes a request on to the mount that holds its state.
async fn pass_on(
    mount: &Mount,
    call: &Call,
    instance: &str,
    bytes: &[u8],
    out: &Out,
) -> Result<(), Status> {
    let channel = mount.context.mesh.channel(mount.context.spec.service);
    let mut client = McpServiceClient::new(channel.instance(instance))
        .max_decoding_message_size(mount.keys.mount_max_message.saturating_add(1 << 20));
    let mut request = tonic::Request::new(McpMessage {
        message: bytes.to_vec(),
        related_request: Vec::new(),
    });
    let metadata = request.metadata_mut();
    metadata.insert(PASSED_ON, tonic::metadata::MetadataValue::from_static("1"));
    if let Ok(caller) = call.caller.parse() {
        metadata.insert(CALLER, caller);
    }
    let mut answers = client.call(request).await?.into_inner();
    loop {
        let answer = tokio::select! {
            answer = answers.message() => answer,
            () = out.closed() => return Ok(()),
        };
        match answer {
            Ok(Some(message)) => drop(out.send(Ok(message)).await),
            Ok(None) => return Ok(()),
            Err(status) => {
                let text = format!("the mount that held this request: {}", status.message());
                let outcome = Err(error(code::INTERNAL, text));
                answer_once(out, call, &outcome).await;
                return Ok(());
            }
        }
    }
}

async fn answer_once(out: &Out, call: &Call, outcome: &Outcome) {
    answer(out, Some(&call.id), outcome).await;
}

/// Keeps a stream of changes open.
async fn listen(mount: &Arc<Mount>, call: &Call, out: &Out) -> Option<Outcome> {
    let draining = mount.context.draining.clone();
    let ended = tokio::select! {
        ended = crate::listen::follow(mount, call, out) => ended,
        () = draining.cancelled() => None,
        () = out.closed() => return None,
    };
    Some(ended.unwrap_or_else(|| {
        let meta = Fields::from([(translate::SUBSCRIPTION.to_owned(), call.id.clone())]);
        let result = Fields::from([
            ("resultType".to_owned(), raw(&json!("complete"))),
            ("_meta".to_owned(), to_raw(&meta)),
        ]);
        Ok(to_raw(&result))
    }))
}

/// The error about a method that nobody knows.
pub(crate) fn unknown(method: &str) -> Raw {
    error(
        code::UNKNOWN_METHOD,
        format!("Method not found: {method:.200}"),
    )
}

fn not_parked(error: NotParked) -> Raw {
    message::error(code::INVALID_PARAMS, error.to_string())
}

/// The error about a server that does not answer, with the gRPC status that it would be.
pub(crate) fn gone_error(gone: &Gone) -> Raw {
    let code = match gone {
        Gone::Away(_) | Gone::Lost => Code::Unavailable,
        Gone::Busy(_) => Code::ResourceExhausted,
        Gone::Late(_) => Code::DeadlineExceeded,
    };
    let data = json!({"mesh.v1/status": {"code": format!("{code:?}")}});
    error_with(
        code::INTERNAL,
        &format!("the mounted server: {gone}"),
        &data,
    )
}
