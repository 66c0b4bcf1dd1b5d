//! What can be asked, by method. What is answered at once is a result; a call of a tool goes on by itself,
//! so that it can be streamed, cancelled and left behind.

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use dynamic::CallHead;
use http::HeaderMap;
use mcp::{
    CallError, MeshTool,
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

    pub(crate) fn caller_name(&self) -> Option<&str> {
        self.caller().map(|caller| &**caller)
    }

    pub(super) fn may_read(&self) -> Result<(), Denial> {
        self.grant.as_ref().map_or(Ok(()), |grant| grant.may_read())
    }
}

/// A result of ours, as [`completed`].
pub(super) fn result(era: Era, result: Value) -> Result<Done, Failure> {
    Ok(Done::Text(completed(era, result)))
}

/// The text of a result, which is an object. Since 2026-07-28 it says that it is complete.
pub(super) fn completed(era: Era, mut result: Value) -> Bytes {
    if era.is_modern() {
        result["resultType"] = "complete".into();
    }
    result.to_string().into()
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
                return self.task(asker, request, params, meta).await;
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

    pub(super) fn sees(&self, asker: &Asker, service: &str) -> bool {
        let grant = asker.grant.as_ref();
        grant.is_none_or(|grant| grant.sees_service(service, service))
    }

    /// How a call is sent that reads what a resource says.
    pub(super) fn call_head(&self, asker: &Asker) -> CallHead {
        CallHead {
            timeout: Some(READ_TIMEOUT),
            metadata: self.call_metadata(asker, &Meta::default()),
            ..CallHead::default()
        }
    }

    /// Who may keep what is answered.
    pub(super) fn cache_scope(&self) -> &'static str {
        if self.access.is_open() {
            "public"
        } else {
            "private"
        }
    }

    async fn task(
        self: &Arc<Self>,
        asker: &Asker,
        request: &Request<'_>,
        params: &Params<'_>,
        meta: &Meta<'_>,
    ) -> Result<Started, Failure> {
        let method = &*request.method;
        if !takes_tasks(meta.capabilities) {
            let text = format!("{method} needs the client capability {TASKS_EXTENSION}");
            let required = json!({"requiredCapabilities": {"extensions": {TASKS_EXTENSION: {}}}});
            return Err(RpcError::new(code::MISSING_CAPABILITY, text)
                .with_data(required)
                .into());
        }
        let id = params.task_id()?.into_owned();
        if let Some(started) = self.mounted_task(asker, request, &id).await? {
            return Ok(started);
        }
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
