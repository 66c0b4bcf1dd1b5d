//! What can be asked, by method. What is answered at once is a result; a call of a tool goes on by itself,
//! so that it can be streamed, cancelled and left behind.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use dynamic::CallHead;
use http::HeaderMap;
use mcp::{
    CallError, CatalogView, MeshTool,
    catalog::forward,
    rpc::{Era, Meta, Params, Request, RpcError, code},
};
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};
use tokio::sync::mpsc;

use super::{
    McpServer, TASKS_EXTENSION,
    auth::{Denial, Grant},
    call::Permit,
    lists::{Kind, Wanted},
    scope::Scope,
    sessions::Session,
};

/// Longest time to read a resource.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest address of a mounted server's resource that is followed, bytes.
const MAX_URI: usize = 4096;
/// Completions at most, as MCP has it.
const MAX_COMPLETIONS: usize = 100;
/// Characters of a name that an error repeats.
const SHOWN: usize = 100;

/// Who asks, and how.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    pub(crate) scope: Scope,
    pub(crate) era: Era,
    pub(crate) grant: Option<Arc<Grant>>,
    pub(crate) session: Option<Arc<Session>>,
    /// Headers of the trace, where the message says nothing of it.
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) client: Option<std::net::IpAddr>,
}

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failure {
    Rpc(RpcError),
    Denied(Denial),
}

/// A result as JSON, in one piece.
pub(crate) enum Done {
    Text(Bytes),
    /// It is kept, so it is not copied.
    Kept(Bytes),
}

/// What is answered later.
pub(crate) type Later = Pin<Box<dyn Future<Output = Result<Bytes, Failure>> + Send>>;

/// What a request leads to.
pub(crate) enum Started {
    Done(Result<Done, Failure>),
    /// It takes its time, and may report its progress.
    Later(Later),
    /// A stream of changes.
    Listen(Filter),
    /// A message for the mounted server that has the tool.
    Mounted {
        tool: Arc<MeshTool>,
        message: Bytes,
        permit: Permit,
    },
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) request: &'a Request<'a>,
    pub(crate) params: &'a Params<'a>,
    pub(crate) meta: &'a Meta<'a>,
}

/// What a stream of changes is about.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filter {
    #[serde(default)]
    pub(crate) tools_list_changed: bool,
    #[serde(default)]
    pub(crate) prompts_list_changed: bool,
    #[serde(default)]
    pub(crate) resources_list_changed: bool,
    #[serde(default)]
    pub(crate) resource_subscriptions: Vec<String>,
    /// Tasks of the caller.
    #[serde(default)]
    pub(crate) task_ids: Vec<String>,
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<Denial> for Failure {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Rpc(error.into())
    }
}

impl Asker {
    pub(crate) fn caller(&self) -> Option<&Arc<str>> {
        self.grant.as_ref().map(|grant| &grant.caller)
    }

    fn may_read(&self) -> Result<(), Denial> {
        self.grant.as_ref().map_or(Ok(()), |grant| grant.may_read())
    }
}

/// A result of ours. Since 2026-07-28 it says that it is complete.
fn result(era: Era, mut result: Value) -> Result<Done, Failure> {
    if era.is_modern()
        && let Some(fields) = result.as_object_mut()
    {
        fields.insert("resultType".to_owned(), "complete".into());
    }
    Ok(Done::Text(result.to_string().into()))
}

pub(crate) fn shown(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

impl McpServer {
    /// Begins what a request asks for. `progress` takes messages that come before its result.
    pub(crate) async fn start(
        self: &Arc<Self>,
        asker: &Asker,
        headers: &HeaderMap,
        asked: Asked<'_>,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> Started {
        match self.begin(asker, headers, asked, progress).await {
            Ok(started) => started,
            Err(failure) => Started::Done(Err(failure)),
        }
    }

    async fn begin(
        self: &Arc<Self>,
        asker: &Asker,
        headers: &HeaderMap,
        asked: Asked<'_>,
        progress: Option<mpsc::Sender<Bytes>>,
    ) -> Result<Started, Failure> {
        let Asked {
            request,
            params,
            meta,
        } = asked;
        let era = asker.era;
        let kind = match &*request.method {
            "tools/call" => return self.call_tool(asker, headers, asked, progress).await,
            "tools/list" => Some(Kind::Tools),
            "resources/list" => Some(Kind::Resources),
            "resources/templates/list" => Some(Kind::Templates),
            "prompts/list" => Some(Kind::Prompts),
            _ => None,
        };
        if let Some(kind) = kind {
            asker.may_read()?;
            let cursor = params.cursor()?;
            let wanted = Wanted {
                kind,
                listing: asker.scope.listing,
                is_modern: era.is_modern(),
                cursor: cursor.as_deref(),
                grant: asker.grant.as_deref(),
            };
            let view = self.view(&asker.scope).await?;
            let page = self.lists.page(&view, &wanted)?;
            return Ok(Started::Done(Ok(Done::Kept(page))));
        }
        let done = match (&*request.method, era) {
            ("server/discover", Era::Modern) => self.discover(),
            ("ping", Era::Legacy(_)) => result(era, json!({})),
            ("logging/setLevel", Era::Legacy(_)) => self.set_level(params),
            ("resources/subscribe", Era::Legacy(_)) => self.subscribe(asker, params, true).await,
            ("resources/unsubscribe", Era::Legacy(_)) => self.subscribe(asker, params, false).await,
            ("subscriptions/listen", Era::Modern) => {
                asker.may_read()?;
                let filter = self.filter(asker, params, meta).await;
                return filter.map(Started::Listen);
            }
            ("resources/read", _) => return self.read(asker, params).await,
            ("prompts/get", _) => return self.prompt(asker, request, params).await,
            ("completion/complete", _) => return self.complete(asker, request).await,
            ("tasks/get" | "tasks/update" | "tasks/cancel", Era::Modern) => {
                return self.task(asker, &request.method, params, meta).await;
            }
            _ => Err(RpcError::method(&request.method).into()),
        };
        Ok(Started::Done(done))
    }

    fn discover(&self) -> Result<Done, Failure> {
        let versions: Vec<&str> = mcp::rpc::Version::ALL
            .iter()
            .map(|it| it.as_str())
            .collect();
        let ttl = u64::try_from(self.keys.mcp_list_ttl.as_millis()).unwrap_or(u64::MAX);
        result(
            Era::Modern,
            json!({
                "supportedVersions": versions,
                "capabilities": Self::capabilities(true),
                "instructions": super::INSTRUCTIONS,
                "ttlMs": ttl,
                "cacheScope": self.cache_scope(),
                "_meta": {"io.modelcontextprotocol/serverInfo": Self::server_info()},
            }),
        )
    }

    /// There are no messages to leave out: the level is only checked.
    fn set_level(&self, params: &Params<'_>) -> Result<Done, Failure> {
        let levels = [
            "debug",
            "info",
            "notice",
            "warning",
            "error",
            "critical",
            "alert",
            "emergency",
        ];
        let level = params.level.and_then(mcp::rpc::text);
        if level.is_none_or(|level| !levels.contains(&&*level)) {
            let text = format!("params.level must be one of {}", levels.join(", "));
            return Err(RpcError::params(text).into());
        }
        Ok(Done::Text(Bytes::from_static(b"{}")))
    }

    async fn subscribe(
        &self,
        asker: &Asker,
        params: &Params<'_>,
        is_on: bool,
    ) -> Result<Done, Failure> {
        let uri = params.uri()?;
        let Some(session) = &asker.session else {
            return Err(RpcError::params("a subscription needs a session").into());
        };
        if is_on {
            asker.may_read()?;
            let view = self.view(&asker.scope).await?;
            if !self.knows(asker, &view, &uri) {
                return Err(unknown_resource(asker.era, &uri).into());
            }
            let mut resources = session.resources.lock();
            if resources.len() >= super::sessions::MAX_RESOURCES {
                return Err(RpcError::params("the session follows too many resources").into());
            }
            resources.insert(uri.into_owned());
        } else {
            session.resources.lock().remove(&*uri);
        }
        session.follows.notify_one();
        self.keep(session).await;
        Ok(Done::Text(Bytes::from_static(b"{}")))
    }

    /// Whether there is such a resource, for a caller.
    fn knows(&self, asker: &Asker, view: &CatalogView, uri: &str) -> bool {
        match forward::resource(view, uri) {
            Some((service, inner)) => inner.len() <= MAX_URI && self.sees(asker, &service),
            None => view
                .resource(uri)
                .is_some_and(|it| self.sees(asker, &it.service)),
        }
    }

    fn sees(&self, asker: &Asker, service: &str) -> bool {
        let grant = asker.grant.as_ref();
        grant.is_none_or(|grant| grant.sees_service(service, service))
    }

    async fn filter(
        &self,
        asker: &Asker,
        params: &Params<'_>,
        meta: &Meta<'_>,
    ) -> Result<Filter, Failure> {
        let Some(raw) = params.notifications else {
            return Err(RpcError::params("params.notifications is missing").into());
        };
        let read: Result<Filter, _> = serde_json::from_str(raw.get());
        let mut filter =
            read.map_err(|error| RpcError::params(format!("params.notifications: {error}")))?;
        let view = self.view(&asker.scope).await?;
        let uris = &mut filter.resource_subscriptions;
        uris.truncate(super::sessions::MAX_RESOURCES);
        uris.retain(|uri| self.knows(asker, &view, uri));
        let ids = std::mem::take(&mut filter.task_ids);
        if takes_tasks(meta.capabilities) {
            filter.task_ids = self.known_tasks(asker, ids).await;
        }
        Ok(filter)
    }

    async fn read(
        self: &Arc<Self>,
        asker: &Asker,
        params: &Params<'_>,
    ) -> Result<Started, Failure> {
        asker.may_read()?;
        let uri = params.uri()?.into_owned();
        let view = self.view(&asker.scope).await?;
        let mounted = forward::resource(&view, &uri).map(|(service, _)| service);
        let known = mounted.or_else(|| Some(Arc::clone(&view.resource(&uri)?.service)));
        if known.is_some_and(|service| !self.sees(asker, &service)) {
            return Err(unknown_resource(asker.era, &uri).into());
        }
        let (server, asker) = (Arc::clone(self), asker.clone());
        Ok(Started::Later(Box::pin(async move {
            let head = server.call_head(&asker);
            let read = mcp::resources::read(&view, &server.calls, &uri, head).await;
            let mut answer = read.map_err(|error| match error.code {
                code::RESOURCE_NOT_FOUND | code::INVALID_PARAMS => {
                    unknown_resource(asker.era, &uri)
                }
                _ => error.into(),
            })?;
            answer["ttlMs"] = 0.into();
            answer["cacheScope"] = server.cache_scope().into();
            if asker.era.is_modern() {
                answer["resultType"] = "complete".into();
            }
            Ok(answer.to_string().into())
        })))
    }

    async fn prompt(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
        params: &Params<'_>,
    ) -> Result<Started, Failure> {
        asker.may_read()?;
        let name = params.name()?;
        let view = self.view(&asker.scope).await?;
        let known = view.prompt(&name);
        let Some(known) = known.filter(|it| self.sees(asker, &it.service)) else {
            let text = format!("no prompt is called {:?}", shown(&name));
            return Err(RpcError::params(text).into());
        };
        if known.of_server.is_none() {
            let arguments = params.arguments()?;
            let got = result(asker.era, mcp::prompts::get(&view, &name, &arguments)?);
            return Ok(Started::Done(got));
        }
        let params = members(request, asker.era)?;
        let (server, asker, prompt) = (Arc::clone(self), asker.clone(), Arc::clone(known));
        Ok(Started::Later(Box::pin(async move {
            let head = server.call_head(&asker);
            let mut got = forward::prompt(&server.calls, &prompt, params, head).await?;
            match asker.era {
                Era::Modern => drop(got.entry("resultType").or_insert("complete".into())),
                Era::Legacy(_) => drop(got.remove("resultType")),
            }
            Ok(Value::Object(got).to_string().into())
        })))
    }

    async fn complete(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
    ) -> Result<Started, Failure> {
        asker.may_read()?;
        let params = members(request, asker.era)?;
        for (member, field) in [("ref", "type"), ("argument", "name"), ("argument", "value")] {
            if !params[member][field].is_string() {
                let text = format!("params.{member}.{field} must be a string");
                return Err(RpcError::params(text).into());
            }
        }
        let view = self.view(&asker.scope).await?;
        let prompt = params["ref"]["name"].as_str().unwrap_or_default();
        if let Some(known) = view.prompt(prompt)
            && !self.sees(asker, &known.service)
        {
            let text = format!("no prompt is called {:?}", shown(prompt));
            return Err(RpcError::params(text).into());
        }
        let (server, asker) = (Arc::clone(self), asker.clone());
        Ok(Started::Later(Box::pin(async move {
            let head = server.call_head(&asker);
            let mut answer = match server.runs(&asker, &params).await {
                Some(runs) => runs,
                None => {
                    let completed = mcp::resources::complete(&view, &server.calls, &params, head);
                    completed.await?
                }
            };
            if asker.era.is_modern() {
                answer["resultType"] = "complete".into();
            }
            Ok(answer.to_string().into())
        })))
    }

    /// What completes the run of `run://{run_id}/{+file}`; `None` where something else is asked for.
    async fn runs(&self, asker: &Asker, params: &Value) -> Option<Value> {
        let uri = params["ref"]["uri"].as_str().unwrap_or_default();
        let is_run = params["ref"]["type"] == "ref/resource" && uri.starts_with("run://");
        if !is_run || params["argument"]["name"] != "run_id" {
            return None;
        }
        let typed = params["argument"]["value"].as_str().unwrap_or_default();
        let caller = asker.caller().map(|caller| &**caller);
        let mut runs = match self.caller.tasks() {
            Some(tasks) => tasks.runs(caller, typed).await,
            None => Vec::new(),
        };
        let total = runs.len();
        runs.truncate(MAX_COMPLETIONS);
        let more = total > runs.len();
        Some(json!({"completion": {"values": runs, "total": total, "hasMore": more}}))
    }

    /// How a call is sent that reads what a resource says.
    fn call_head(&self, asker: &Asker) -> CallHead {
        CallHead {
            timeout: Some(READ_TIMEOUT),
            metadata: self.call_metadata(asker, &Meta::default()),
            ..CallHead::default()
        }
    }

    /// Who may keep what is answered.
    fn cache_scope(&self) -> &'static str {
        if self.access.is_open() {
            "public"
        } else {
            "private"
        }
    }

    async fn task(
        self: &Arc<Self>,
        asker: &Asker,
        method: &str,
        params: &Params<'_>,
        meta: &Meta<'_>,
    ) -> Result<Started, Failure> {
        if !takes_tasks(meta.capabilities) {
            let text = format!("{method} needs the client capability {TASKS_EXTENSION}");
            let required = json!({"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}});
            return Err(RpcError::new(code::MISSING_CAPABILITY, text)
                .with_data(required)
                .into());
        }
        let id = params.task_id()?.into_owned();
        let (server, caller) = (Arc::clone(self), asker.caller().cloned());
        let method = method.to_owned();
        Ok(Started::Later(Box::pin(async move {
            let caller = caller.as_deref();
            let Some(tasks) = server.caller.tasks() else {
                return Err(RpcError::params(format!("there is no task {:?}", shown(&id))).into());
            };
            match &*method {
                "tasks/get" => return Ok(tasks.get(&id, caller).await?.to_json(false).into()),
                "tasks/update" => tasks.update(&id, caller).await?,
                _ => tasks.cancel(&id, caller).await?,
            }
            Ok(Bytes::from_static(b"{\"resultType\":\"complete\"}"))
        })))
    }
}

/// The parameters of a request that a mounted server may get. What an earlier client says of itself
/// is said of a session, which there is none of.
fn members(request: &Request<'_>, era: Era) -> Result<Value, RpcError> {
    let params = request.params.map_or("{}", RawValue::get);
    let mut params: Value = serde_json::from_str(params)
        .map_err(|error| RpcError::params(format!("params: {error}")))?;
    if !era.is_modern()
        && let Some(fields) = params.as_object_mut()
    {
        fields.remove("_meta");
    }
    Ok(params)
}

/// Whether a client declares that it knows tasks.
pub(crate) fn takes_tasks(capabilities: Option<&RawValue>) -> bool {
    #[derive(Deserialize)]
    struct Capabilities {
        #[serde(default)]
        extensions: Map<String, Value>,
    }
    // Few clients have extensions, and each call declares what its client can do.
    capabilities.is_some_and(|raw| {
        raw.get().contains(TASKS_EXTENSION)
            && serde_json::from_str::<Capabilities>(raw.get())
                .is_ok_and(|it| it.extensions.contains_key(TASKS_EXTENSION))
    })
}

/// There is no such resource.
fn unknown_resource(era: Era, uri: &str) -> RpcError {
    let code = match era {
        Era::Modern => code::INVALID_PARAMS,
        Era::Legacy(_) => code::RESOURCE_NOT_FOUND,
    };
    let uri = shown(uri);
    RpcError::new(code, "resource not found").with_data(json!({ "uri": uri }))
}
