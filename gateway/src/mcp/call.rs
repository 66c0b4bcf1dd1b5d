//! `tools/call`: the tool that a name means, whether the caller may call it, and its call.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http::HeaderMap;
use mcp::{
    Builtin, CallContext, CallOutcome, CatalogView, MeshTool, Progress, ProgressSink, ToolResult,
    ToolTarget,
    rpc::{Meta, RpcError, notification_bytes},
    search::{self, SearchIndex},
};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use telemetry::{TRACEPARENT, TRACESTATE, TraceContext};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::metadata::MetadataMap;

use super::{
    McpServer,
    audit::CallRecord,
    headers,
    methods::{Asked, Asker, Failure, Started, shown, takes_tasks},
    mounted,
};

/// The longest header of a trace that goes on, bytes.
const MAX_TRACE: usize = 512;

/// The words of views, made when somebody searches them.
#[derive(Debug, Default)]
pub(crate) struct SearchIndexes {
    /// The last ones, by the address of the view that they keep alive.
    last: Mutex<Vec<(Arc<CatalogView>, Arc<SearchIndex>)>>,
}

/// Views whose words are kept.
const INDEXES: usize = 16;

impl SearchIndexes {
    fn of(&self, view: &Arc<CatalogView>) -> Arc<SearchIndex> {
        let mut last = self.last.lock();
        if let Some((_, index)) = last.iter().find(|(known, _)| Arc::ptr_eq(known, view)) {
            return Arc::clone(index);
        }
        last.retain(|(known, _)| Arc::strong_count(known) > 2);
        if last.len() >= INDEXES {
            last.remove(0);
        }
        let index = Arc::new(SearchIndex::new(&view.tools));
        last.push((Arc::clone(view), Arc::clone(&index)));
        index
    }
}

/// Reports progress under the token of a request.
struct Reports {
    token: Box<RawValue>,
    to: mpsc::Sender<Bytes>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    progress_token: &'a RawValue,
    progress: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
}

/// Where the progress of a call goes.
enum Sink {
    Nowhere,
    Client(Reports),
}

impl ProgressSink for Sink {
    fn is_wanted(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    async fn report(&mut self, progress: Progress) {
        let Self::Client(Reports { token, to }) = self else {
            return;
        };
        let report = Report {
            progress_token: token,
            progress: progress.progress,
            total: progress.total,
            message: progress.message.as_deref(),
        };
        let message = notification_bytes("notifications/progress", &report);
        // Nobody reads any more: the call is about to be dropped.
        to.send(message).await.ok();
    }
}

impl McpServer {
    /// Begins a call.
    pub(super) async fn call_tool(
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
        let name = params.name()?;
        let view = self.view(&asker.scope).await?;
        let mut arguments = params.arguments()?;
        let mut tool = self.tool(&view, asker, &name)?;
        let mut is_inner = false;
        if matches!(tool.target, ToolTarget::Builtin(Builtin::CallTool)) {
            let (name, inner) = match mcp::builtin::called(arguments) {
                Ok(called) => called,
                Err(result) => return Ok(ready(asker, &result)),
            };
            tool = match self.tool(&view, asker, &name) {
                Ok(tool) => tool,
                Err(Failure::Rpc(error)) => {
                    // A model chose the name, so a model has to read what is wrong.
                    let text = format!(
                        "INVALID_ARGUMENT: {}: search_tools finds tools",
                        error.message
                    );
                    return Ok(ready(asker, &ToolResult::error(text)));
                }
                Err(denied) => return Err(denied),
            };
            arguments = inner;
            is_inner = true;
        }
        if asker.era.is_modern() && !is_inner {
            let repeated = self.lists.param_headers(&view, &tool.name);
            headers::check_params(headers, &repeated, &arguments)?;
        }
        if let ToolTarget::Mounted { tool: named } = &tool.target
            && asker.era.is_modern()
            && !is_inner
        {
            return Ok(Started::Mounted {
                tool: Arc::clone(&tool),
                message: mounted::renamed(request, named)?,
                permit: self.permit(asker)?,
            });
        }
        let permit = self.permit(asker)?;
        let sink = match (progress, meta.progress) {
            (Some(to), Some(token)) => Sink::Client(Reports {
                token: token.to_owned(),
                to,
            }),
            _ => Sink::Nowhere,
        };
        if let ToolTarget::Builtin(builtin) = tool.target {
            return Ok(self.builtin(asker, &view, builtin, arguments, (permit, sink)));
        }
        let context = self.call_context(asker, meta);
        let (server, asker) = (Arc::clone(self), asker.clone());
        Ok(Started::Later(Box::pin(async move {
            let _permit = permit;
            server.called(&asker, &tool, arguments, context, sink).await
        })))
    }

    async fn called(
        self: &Arc<Self>,
        asker: &Asker,
        tool: &Arc<MeshTool>,
        arguments: Map<String, Value>,
        mut context: CallContext,
        mut sink: Sink,
    ) -> Result<Bytes, Failure> {
        if let Some(current) = TraceContext::current()
            && let Ok(value) = current.to_string().parse()
        {
            context.metadata.insert(TRACEPARENT, value);
        }
        let mut record = CallRecord::begin(self, asker, tool);
        let outcome = self.caller.call(tool, arguments, &context, &mut sink).await;
        match outcome {
            Ok(CallOutcome::Result(result)) => {
                let ended = if result.is_error { "error" } else { "ok" };
                record.end(ended, result.instance.clone());
                Ok(result.to_json(asker.era.is_modern()).into())
            }
            Ok(CallOutcome::Task(task)) => {
                record.end("task", None);
                Ok(task.to_json(true).into())
            }
            Err(error) => {
                record.end("failed", None);
                Err(error.into())
            }
        }
    }

    /// The tool that a name means for a caller.
    fn tool(
        &self,
        view: &CatalogView,
        asker: &Asker,
        name: &str,
    ) -> Result<Arc<MeshTool>, Failure> {
        let unknown = || {
            let text = format!("unknown tool: {}", shown(name));
            Failure::Rpc(RpcError::params(text))
        };
        let Some(tool) = view.tool(name) else {
            let builtin = self.lists.builtin(name);
            return builtin.cloned().ok_or_else(unknown);
        };
        match asker
            .grant
            .as_ref()
            .map_or(Ok(true), |grant| grant.may_call(tool))
        {
            Ok(true) => Ok(Arc::clone(tool)),
            Ok(false) => Err(unknown()),
            Err(denial) => Err(denial.into()),
        }
    }

    /// The right to one more call.
    pub(super) fn permit(&self, asker: &Asker) -> Result<Permit, Failure> {
        let permit = asker
            .grant
            .as_ref()
            .map(|grant| grant.begin(Instant::now()));
        let _held = permit.transpose()?;
        Ok(Permit { _held })
    }

    /// What goes on to the service: the trace.
    pub(super) fn call_metadata(&self, asker: &Asker, meta: &Meta<'_>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        let mut put = |name: &'static str, said: Option<&str>, header: Option<&String>| {
            let text = said.or(header.map(String::as_str));
            let text = text.filter(|text| text.len() <= MAX_TRACE);
            if let Some(value) = text.and_then(|text| text.parse().ok()) {
                metadata.insert(name, value);
            }
        };
        put(
            TRACEPARENT,
            meta.traceparent.as_deref(),
            asker.traceparent.as_ref(),
        );
        put(
            TRACESTATE,
            meta.tracestate.as_deref(),
            asker.tracestate.as_ref(),
        );
        metadata
    }

    fn call_context(&self, asker: &Asker, meta: &Meta<'_>) -> CallContext {
        CallContext {
            timeout: meta.timeout(),
            metadata: self.call_metadata(asker, meta),
            caller: asker.caller().cloned(),
            idempotency_key: meta.idempotency_key.as_deref().map(str::to_owned),
            session: asker.session.as_ref().map(|session| session.id.to_string()),
            takes_tasks: asker.era.is_modern() && takes_tasks(meta.capabilities),
        }
    }

    /// A tool of the gateway itself.
    fn builtin(
        self: &Arc<Self>,
        asker: &Asker,
        view: &Arc<CatalogView>,
        builtin: Builtin,
        arguments: Map<String, Value>,
        (permit, mut sink): (Permit, Sink),
    ) -> Started {
        let (server, asker, view) = (Arc::clone(self), asker.clone(), Arc::clone(view));
        Started::Later(Box::pin(async move {
            let _permit = permit;
            let caller = asker.caller_name();
            let result = match builtin {
                Builtin::SearchTools => {
                    let index = server.search.of(&view);
                    let grant = asker.grant.as_deref();
                    let sees = |tool: &MeshTool| grant.is_none_or(|grant| grant.sees(tool));
                    search::search_tools(&index, &view.tools, &arguments, sees)
                }
                Builtin::CallTool => ToolResult::error(
                    "INVALID_ARGUMENT: call_tool does not call itself: give the name of a tool",
                ),
                Builtin::GetResult => match server.caller.tasks() {
                    Some(tasks) => tasks.get_result(&arguments, caller, &mut sink).await,
                    None => no_jobs(),
                },
                Builtin::CancelResult => match server.caller.tasks() {
                    Some(tasks) => tasks.cancel_result(&arguments, caller).await,
                    None => no_jobs(),
                },
            };
            Ok(result.to_json(asker.era.is_modern()).into())
        }))
    }
}

/// A call that counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    _held: Option<OwnedSemaphorePermit>,
}

impl Permit {
    /// Of what counts as no call.
    pub(super) const fn free() -> Self {
        Self { _held: None }
    }
}

fn no_jobs() -> ToolResult {
    ToolResult::error("NOT_FOUND: there are no jobs here, so no call goes on behind its answer")
}

/// A result that is there already.
fn ready(asker: &Asker, result: &ToolResult) -> Started {
    let text = result.to_json(asker.era.is_modern());
    Started::Done(Ok(super::methods::Done::Text(text.into())))
}
