//! Clients of revision 2026-07-28: each request stands for itself, and who is asked something comes
//! again with the answers.

mod drive;
mod elsewhere;

use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use self::drive::next;
use self::{
    drive::{drive, resume},
    elsewhere::{Found, find_task, pass_on},
};
use crate::{
    asks::{self, Capabilities},
    handshake, headers,
    link::{Era, Link, MODERN, Outgoing},
    message::{
        self, Fields, Message, Outcome, Raw, Request, code, error, error_with, fields, raw, text,
        to_raw,
    },
    mount::Mount,
    parked::{NotParked, Parked, State, digest},
    replies::{Out, answer, gone_error, unknown},
    tasks, translate,
};

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

    /// Its id, which each message that belongs to it carries.
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
        "tools/list" => {
            if let Err(unknown) = mount.known_tools().await {
                return Some(Err(unknown));
            }
        }
        "tools/call" => {
            let name = text(call.params.get("name")).unwrap_or_default();
            if let Err(refused) = mount.check_tool(&name).await {
                return Some(Err(refused));
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
    let state = text(call.params.get("requestState"));
    let mut resumed = None;
    if let Some(state) = &state {
        match Parked::read(state) {
            State::Foreign(_) | State::Task { .. } => {}
            State::Server { instance, state } => {
                if !mount.parked.is_here(&instance)
                    && pass_on(mount, &call, &instance, bytes, out).await
                {
                    return None;
                }
                // The mount is gone. The server may know its state all the same.
                call.params
                    .insert("requestState".to_owned(), raw(&Value::from(state)));
            }
            State::Parked { instance, sealed } => {
                if !mount.parked.is_here(&instance) {
                    return match pass_on(mount, &call, &instance, bytes, out).await {
                        true => None,
                        false => Some(Err(not_parked(NotParked::Ended))),
                    };
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
            match tasks::begin(mount, request, &call.caller).await {
                Err(error) => return Some(Err(error)),
                Ok((_, task)) if asks::has_tasks(&call.capabilities.0) => {
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

fn not_parked(error: NotParked) -> Raw {
    message::error(code::INVALID_PARAMS, error.to_string())
}
