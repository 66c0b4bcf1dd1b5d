//! Requests of this program's own: era, handshake, answers to what a server asks meanwhile.

use std::fmt;

use anyhow::{bail, ensure};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::{Map, Value, json};

use super::{
    HEADER_MISMATCH, LEGACY, META_CAPABILITIES, META_CLIENT, META_VERSION, METHOD_NOT_FOUND,
    MODERN, TASKS, UNSUPPORTED_VERSION,
    endpoint::{Endpoint, Era},
    headers::{self, ParamHeaders},
    inbox::Inbox,
    replies::{Refused, Replies},
};

/// How many times a server may ask back before it has an answer.
const MAX_ROUNDS: usize = 20;
/// How often in a row a task may be asked for in vain.
const MAX_FAILURES: usize = 20;
/// How many pages a list may have.
const MAX_PAGES: usize = 1_000;

/// What a server asks or tells while a request is under way.
pub(crate) trait Responder {
    /// What this client can do, as it declares it.
    fn capabilities(&self) -> Map<String, Value>;
    /// The answer to a request of the server; `None` where there is none.
    fn respond(&mut self, method: &str, params: &Value) -> Option<Value>;
    /// What the server tells.
    fn told(&mut self, method: &str, params: &Value);
}

/// Nobody: no capabilities.
impl Responder for () {
    fn capabilities(&self) -> Map<String, Value> {
        Map::new()
    }

    fn respond(&mut self, method: &str, _: &Value) -> Option<Value> {
        (method == "ping").then(|| json!({}))
    }

    fn told(&mut self, _: &str, _: &Value) {}
}

/// An error that a server answers with.
#[derive(Debug)]
pub(super) struct Refusal {
    code: i64,
    message: String,
    data: Value,
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", crate::output::plain(&self.message), self.code)
    }
}

#[derive(Debug)]
enum Spoken {
    Modern,
    Legacy {
        version: String,
        session: Option<HeaderValue>,
    },
}

/// A client of one endpoint.
#[derive(Debug)]
pub(crate) struct McpClient<R> {
    endpoint: Endpoint,
    spoken: Spoken,
    last_id: u64,
    /// What a session's server sends by itself.
    inbox: Option<Inbox>,
    pub(crate) responder: R,
}

impl<R: Responder> McpClient<R> {
    /// Finds out which era the endpoint speaks, where that is not given, and shakes hands where the
    /// era has that.
    pub(crate) async fn connect(
        endpoint: Endpoint,
        era: Era,
        responder: R,
    ) -> anyhow::Result<Self> {
        let mut client = Self {
            endpoint,
            spoken: Spoken::Modern,
            last_id: 0,
            inbox: None,
            responder,
        };
        let is_modern = match era {
            Era::Modern => true,
            Era::Legacy => false,
            Era::Auto => client.speaks_modern().await?,
        };
        if !is_modern {
            client.initialize().await?;
        }
        Ok(client)
    }

    /// Whatever is no sign of a modern server is a legacy one, or says so when it is greeted.
    async fn speaks_modern(&mut self) -> anyhow::Result<bool> {
        for _ in 0..2 {
            match self.request("server/discover", json!({})).await {
                Ok(discovered) => {
                    let versions = discovered["supportedVersions"].as_array();
                    return Ok(versions.is_some_and(|all| all.iter().any(|it| it == MODERN)));
                }
                Err(error) => match error.downcast_ref::<Refusal>() {
                    Some(refusal) if refusal.code == UNSUPPORTED_VERSION => {
                        let supported = refusal.data["supported"].as_array();
                        if !supported.is_some_and(|all| all.iter().any(|it| it == MODERN)) {
                            return Ok(false);
                        }
                    }
                    Some(_) => return Ok(false),
                    None if is_client_error(&error) => return Ok(false),
                    None => return Err(error),
                },
            }
        }
        Ok(true)
    }

    async fn initialize(&mut self) -> anyhow::Result<()> {
        self.spoken = Spoken::Legacy {
            version: String::new(),
            session: None,
        };
        let params = json!({
            "protocolVersion": LEGACY,
            "capabilities": self.responder.capabilities(),
            "clientInfo": client_info(),
        });
        let answer = self.request("initialize", params).await?;
        if let (Spoken::Legacy { version, .. }, Some(agreed)) =
            (&mut self.spoken, answer["protocolVersion"].as_str())
        {
            agreed.clone_into(version);
        }
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await?;
        if let Spoken::Legacy {
            session: Some(_), ..
        } = &self.spoken
        {
            let headers = self.session_headers();
            self.inbox = Some(Inbox::open(self.endpoint.clone(), headers).await);
        }
        Ok(())
    }

    /// The result of a request. The server may ask back meanwhile.
    ///
    /// # Errors
    /// [`Refusal`] when it answers with an error.
    pub(crate) async fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.request_with(method, params, None).await
    }

    /// The result of a tool, whose schema says which arguments are repeated in headers.
    pub(crate) async fn call(&mut self, tool: &Value, params: Value) -> anyhow::Result<Value> {
        let headers = ParamHeaders::of_schema(&tool["inputSchema"])
            .map_err(|wrong| anyhow::anyhow!("the tool must not be called: {wrong}"))?;
        self.request_with("tools/call", params, Some(&headers))
            .await
    }

    /// Follows a task to its end: the result that the call would have had.
    pub(crate) async fn settle(&mut self, task: &Value) -> anyhow::Result<Value> {
        let id = &task["taskId"];
        let (mut pause, mut failures) = (poll_interval(task), 0);
        loop {
            tokio::time::sleep(pause).await;
            let task = match self.request("tasks/get", json!({ "taskId": id })).await {
                Ok(task) => task,
                // The task goes on where it is; another gateway may answer.
                Err(error) if !error.is::<Refusal>() && failures < MAX_FAILURES => {
                    failures += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            failures = 0;
            pause = poll_interval(&task);
            match task["status"].as_str().unwrap_or_default() {
                "completed" => return Ok(task["result"].clone()),
                "failed" => return Err(anyhow::Error::new(refusal(&task["error"]))),
                "cancelled" => bail!("the task was cancelled"),
                "input_required" => {
                    let responses = self.responses(&task["inputRequests"])?;
                    let params = json!({ "taskId": id, "inputResponses": responses });
                    self.request("tasks/update", params).await?;
                }
                _ => self.responder.told("notifications/tasks", &task),
            }
        }
    }

    /// All tools, those left out whose headers must not be sent.
    pub(crate) async fn tools(&mut self) -> anyhow::Result<Vec<Value>> {
        let mut tools = Vec::new();
        let mut params = json!({});
        for _ in 0..MAX_PAGES {
            let page = self.request("tools/list", params).await?;
            let listed = page["tools"].as_array().cloned().unwrap_or_default();
            let is_usable = |tool: &Value| ParamHeaders::of_schema(&tool["inputSchema"]).is_ok();
            tools.extend(listed.into_iter().filter(is_usable));
            match page["nextCursor"].as_str() {
                Some(cursor) => params = json!({ "cursor": cursor }),
                None => return Ok(tools),
            }
        }
        bail!("the list of tools does not end");
    }

    /// Says good-bye, where the era has that.
    pub(crate) async fn close(self) {
        if let Spoken::Legacy {
            session: Some(_), ..
        } = &self.spoken
        {
            // The server ends the session by itself, later.
            self.endpoint.delete(self.session_headers()).await.ok();
        }
    }

    async fn request_with(
        &mut self,
        method: &str,
        mut params: Value,
        tool: Option<&ParamHeaders>,
    ) -> anyhow::Result<Value> {
        for _ in 0..MAX_ROUNDS {
            let result = self.round(method, params.clone(), tool).await?;
            if result["resultType"] != "input_required" {
                return Ok(result);
            }
            params["inputResponses"] = self.responses(&result["inputRequests"])?;
            match result.get("requestState") {
                Some(state) => params["requestState"] = state.clone(),
                None => {
                    params.as_object_mut().map(|it| it.remove("requestState"));
                }
            }
        }
        bail!("the server has asked back {MAX_ROUNDS} times and has no answer yet");
    }

    fn responses(&mut self, asked: &Value) -> anyhow::Result<Value> {
        let mut responses = Map::new();
        for (name, request) in asked.as_object().into_iter().flatten() {
            let method = request["method"].as_str().unwrap_or_default();
            let response = self.responder.respond(method, &request["params"]);
            let Some(response) = response else {
                bail!("the server asks for {method}, which this client does not answer");
            };
            responses.insert(name.clone(), response);
        }
        Ok(Value::Object(responses))
    }

    /// One message, and what comes back until it is answered.
    async fn round(
        &mut self,
        method: &str,
        mut params: Value,
        tool: Option<&ParamHeaders>,
    ) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = json!(self.last_id);
        let (mut headers, mut resume) = (self.session_headers(), None);
        if let Spoken::Modern = self.spoken {
            let mut capabilities = self.responder.capabilities();
            capabilities
                .entry("extensions")
                .or_insert_with(|| json!({ TASKS: {} }));
            params["_meta"][META_VERSION] = MODERN.into();
            params["_meta"][META_CLIENT] = client_info();
            params["_meta"][META_CAPABILITIES] = capabilities.into();
            headers.extend(headers::of_request(method, &params, tool));
        } else {
            resume = Some(headers.clone());
        }
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let answer = self.endpoint.post(body.to_string(), headers).await?;
        if let (Spoken::Legacy { session, .. }, "initialize") = (&mut self.spoken, method) {
            let named = answer.header("mcp-session-id");
            *session = named.and_then(|id| HeaderValue::from_str(&id).ok());
        }
        let endpoint = self.endpoint.clone();
        let mut replies = Replies::new(&endpoint, answer, &id, resume);
        // Reading goes on while the other stream is looked at.
        let mut next = Box::pin(replies.next());
        loop {
            let reply = tokio::select! {
                reply = &mut next => reply?,
                message = inbox(&mut self.inbox) => {
                    self.handle(&message).await?;
                    continue;
                }
            };
            drop(next);
            if !reply.is_answer {
                self.handle(&reply.value).await?;
            } else if let Some(error) = reply.value.get("error") {
                return Err(anyhow::Error::new(refusal(error)));
            } else {
                return Ok(reply.value["result"].clone());
            }
            next = Box::pin(replies.next());
        }
    }

    /// Answers what a server asks in the midst of a request, and takes in what it tells.
    async fn handle(&mut self, message: &Value) -> anyhow::Result<()> {
        let Some(method) = message["method"].as_str() else {
            return Ok(());
        };
        let Some(id) = message.get("id") else {
            self.responder.told(method, &message["params"]);
            return Ok(());
        };
        let mut response = json!({"jsonrpc": "2.0", "id": id});
        match self.responder.respond(method, &message["params"]) {
            Some(result) => response["result"] = result,
            None => {
                let message = format!("this client does not answer {method}");
                response["error"] = json!({"code": METHOD_NOT_FOUND, "message": message});
            }
        }
        self.send(&response).await
    }

    /// Sends what has no answer.
    async fn send(&self, message: &Value) -> anyhow::Result<()> {
        let answer = self
            .endpoint
            .post(message.to_string(), self.session_headers())
            .await?;
        ensure!(
            answer.status().is_success(),
            super::replies::refused(&answer, &self.endpoint, "")
        );
        Ok(())
    }

    fn session_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        match &self.spoken {
            Spoken::Modern => {
                headers.insert("mcp-protocol-version", HeaderValue::from_static(MODERN));
            }
            Spoken::Legacy { version, session } => {
                if let (Ok(version), false) = (HeaderValue::from_str(version), version.is_empty()) {
                    headers.insert("mcp-protocol-version", version);
                }
                if let Some(session) = session {
                    headers.insert("mcp-session-id", session.clone());
                }
            }
        }
        headers
    }
}

async fn inbox(inbox: &mut Option<Inbox>) -> Value {
    match inbox {
        Some(inbox) => inbox.next().await,
        None => std::future::pending().await,
    }
}

fn client_info() -> Value {
    json!({ "name": "meshctl", "version": env!("CARGO_PKG_VERSION") })
}

fn refusal(error: &Value) -> Refusal {
    let code = error["code"].as_i64().unwrap_or_default();
    let said = error["message"].as_str().unwrap_or("no reason is given");
    let hint = match code {
        HEADER_MISMATCH => {
            ": the headers do not say what the request says; does a proxy change them?"
        }
        _ => "",
    };
    Refusal {
        code,
        message: format!("{said}{hint}"),
        data: error["data"].clone(),
    }
}

fn is_client_error(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|it| it.status.is_client_error() && it.status.as_u16() != 401)
}

/// How long to wait before a task is asked for again.
fn poll_interval(task: &Value) -> std::time::Duration {
    let ms = task["pollIntervalMs"].as_u64().unwrap_or(1_000);
    std::time::Duration::from_millis(ms.clamp(50, 30_000))
}
