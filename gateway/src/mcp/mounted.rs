//! `/mcp/{mount}`: messages of a mounted MCP server, unchanged. The mount crosses eras; here the headers
//! are checked. What clients with a session send is in `mount_session`.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mcp::{
    CatalogView,
    rpc::{self, Message, Request, RpcError, code, error_bytes},
};
use serde_json::{Map, Value, value::RawValue};
use tokio::sync::mpsc;
use tonic::metadata::MetadataMap;

use super::{
    McpServer,
    answer::{self, Events},
    audit::Operation,
    auth::{Denial, Grant},
    call::Permit,
    headers,
    lists::{Kind, Wanted},
    methods::{Asked, Asker},
    mount_tasks::with_mark,
    post::{Takes, status},
    scope::Scope,
};

/// Messages of one request that may wait for its client.
pub(super) const WAITING: usize = 64;
/// Metadata that names the caller.
const CALLER: &str = "x-mesh-caller";

/// A mounted server.
pub(crate) struct Mount {
    /// Its Consul name.
    pub(super) service: Arc<str>,
    public_id: String,
    view: Arc<CatalogView>,
}

/// A request on its way to a mount, and what it needs for its answer.
pub(crate) struct Exchange<'a> {
    pub(crate) id: &'a RawValue,
    pub(crate) takes: Takes,
    pub(crate) operation: Operation,
    pub(crate) permit: Option<Permit>,
}

impl McpServer {
    /// The mounted server that a scope is.
    pub(super) async fn mount(&self, scope: &Scope) -> Option<Mount> {
        let id = scope.service.as_deref()?;
        let view = self.view(scope).await.ok().filter(|view| view.mount)?;
        let snapshot = self.catalog.snapshot();
        let mut services = snapshot.services();
        let service = services.find(|it| &*it.name == id || it.public_id == id)?;
        Some(Mount {
            service: Arc::clone(&service.name),
            public_id: service.public_id.clone(),
            view,
        })
    }

    pub(super) fn metadata(caller: Option<&Arc<str>>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(caller) = caller.and_then(|caller| caller.parse().ok()) {
            metadata.insert(CALLER, caller);
        }
        if let Some(context) = telemetry::TraceContext::current()
            && let Ok(value) = context.to_string().parse()
        {
            metadata.insert(telemetry::TRACEPARENT, value);
        }
        metadata
    }

    /// A message to a mount at its own path: a request of the modern era, or one without a session.
    pub(super) async fn mounted_request(
        self: &Arc<Self>,
        asker: &Asker,
        mount: &Mount,
        headers: &HeaderMap,
        asked: Asked<'_>,
        bytes: &Bytes,
        mut exchange: Exchange<'_>,
    ) -> Response {
        let id = exchange.id;
        let bad = |error: &RpcError| answer::error(StatusCode::BAD_REQUEST, Some(id), error);
        if !asker.era.is_modern() {
            let text = "the header Mcp-Session-Id is missing: send initialize first";
            exchange.operation.end("-32600");
            return bad(&RpcError::new(code::INVALID_REQUEST, text));
        }
        match self.may_exchange(asker, mount, headers, asked) {
            Ok(permit) => exchange.permit = permit,
            Err(Refused::Rpc(error)) => return bad(&error),
            Err(Refused::Denied(denial)) => return self.deny(&denial),
        }
        if let Some(page) = self.own_page(asker, mount, asked) {
            exchange.operation.end("ok");
            return match page {
                Ok(page) => answer::cached(id, &page),
                Err(error) => bad(&error),
            };
        }
        self.mounted_call(asker, &mount.service, bytes.clone(), exchange)
            .await
    }

    /// Whether a request may go to a mount.
    pub(super) fn may_exchange(
        &self,
        asker: &Asker,
        mount: &Mount,
        headers: &HeaderMap,
        asked: Asked<'_>,
    ) -> Result<Option<Permit>, Refused> {
        let view = &mount.view;
        if let Some(grant) = &asker.grant {
            grant.may_read()?;
            let sees_all = grant.sees_service(&mount.service, &mount.public_id);
            if !sees_all && !may_enter(grant, mount) {
                let name = asker.scope.service.as_deref().unwrap_or_default();
                let name = super::methods::shown(name);
                return Err(RpcError::params(format!("no service is called {name:?}")).into());
            }
            // Of a service of which it sees some tools only, the rest is not for it.
            let is_more = OF_SERVICE
                .iter()
                .any(|begin| asked.request.method.starts_with(begin));
            if !sees_all && is_more {
                return Err(RpcError::method(&asked.request.method).into());
            }
        }
        if asked.request.method != "tools/call" {
            return Ok(None);
        }
        let name = asked.params.name()?;
        // One that is not known here is for its server to refuse.
        if let Some(tool) = view.tool(&name) {
            if let Some(grant) = &asker.grant
                && !grant.may_call(tool)?
            {
                return Err(RpcError::params(format!("unknown tool: {}", tool.name)).into());
            }
            let params = self.lists.param_headers(view, &name);
            if !params.is_empty() && asker.era.is_modern() {
                headers::check_params(headers, &params, &asked.params.arguments()?)?;
            }
        } else if asker.grant.as_ref().is_some_and(|it| !it.may_call_all()) {
            let name = super::methods::shown(&name);
            return Err(RpcError::params(format!("unknown tool: {name}")).into());
        }
        self.permit(asker)
            .map(Some)
            .map_err(|failure| match failure {
                super::methods::Failure::Rpc(error) => Refused::Rpc(error),
                super::methods::Failure::Denied(denial) => Refused::Denied(denial),
            })
    }

    /// Whether a caller may begin a session with a mount.
    pub(super) fn may_begin(asker: &Asker, mount: &Mount) -> bool {
        asker.grant.as_ref().is_none_or(|grant| {
            grant.sees_service(&mount.service, &mount.public_id) || may_enter(grant, mount)
        })
    }

    /// The list of tools for who does not see all of them: its server knows nothing of that.
    pub(super) fn own_page(
        &self,
        asker: &Asker,
        mount: &Mount,
        asked: Asked<'_>,
    ) -> Option<Result<Bytes, RpcError>> {
        let grant = asker.grant.as_deref().filter(|grant| grant.filters())?;
        if asked.request.method != "tools/list" {
            return None;
        }
        let page = asked.params.cursor().and_then(|cursor| {
            let wanted = Wanted {
                kind: Kind::Tools,
                listing: None,
                is_modern: asker.era.is_modern(),
                cursor: cursor.as_deref(),
                grant: Some(grant),
            };
            self.lists.page(&mount.view, &wanted)
        });
        Some(page)
    }

    /// One request of the modern era: its messages until its answer.
    pub(super) async fn mounted_call(
        self: &Arc<Self>,
        asker: &Asker,
        service: &Arc<str>,
        message: Bytes,
        exchange: Exchange<'_>,
    ) -> Response {
        let Exchange {
            id,
            takes,
            mut operation,
            permit,
        } = exchange;
        let called = self
            .mounts
            .call(service, message, Self::metadata(asker.caller()))
            .await;
        let mut messages = match called {
            Ok(messages) => messages,
            Err(error) => {
                operation.end("-32603");
                return answer::error(StatusCode::OK, Some(id), &unavailable(service, &error));
            }
        };
        let is_among_all = asker.scope.service.is_none();
        // What comes before the answer needs a stream to go into.
        let first = loop {
            match messages.message().await {
                Ok(Some(mut message)) => {
                    if is_among_all {
                        message.message = with_mark(message.message, service);
                    }
                    let (is_answer, http) = answers(&message.message, asker);
                    if is_answer {
                        operation.end(if http == StatusCode::OK {
                            "ok"
                        } else {
                            "error"
                        });
                        return answer::json(http, message.message);
                    }
                    if takes.events {
                        break Bytes::from(message.message);
                    }
                }
                Ok(None) => {
                    operation.end("-32603");
                    let error = RpcError::internal("the server's answer is missing");
                    return answer::error(StatusCode::OK, Some(id), &error);
                }
                Err(error) => {
                    operation.end("-32603");
                    return answer::error(StatusCode::OK, Some(id), &unavailable(service, &error));
                }
            }
        };
        let (send, receive) = mpsc::channel(WAITING);
        let (id, service) = (id.to_owned(), Arc::clone(service));
        let draining = self.context.draining.clone();
        let is_listening = operation.is("subscriptions/listen");
        let open = self.metrics.stream("mount");
        let work = Box::pin(async move {
            let (_open, _permit) = (open, permit);
            let exchanged = async {
                loop {
                    match messages.message().await {
                        Ok(Some(message)) if rpc_answer(&message.message) => {
                            return Some(if is_among_all {
                                with_mark(message.message, &service).into()
                            } else {
                                message.message.into()
                            });
                        }
                        Ok(Some(message)) => {
                            if send.send(message.message.into()).await.is_err() {
                                return None;
                            }
                        }
                        Ok(None) => {
                            let error = RpcError::internal("the server's answer is missing");
                            return Some(error_bytes(Some(&id), &error));
                        }
                        Err(error) => {
                            return Some(error_bytes(Some(&id), &unavailable(&service, &error)));
                        }
                    }
                }
            };
            let last = if is_listening {
                // Such a stream ends with its result.
                match draining.run_until_cancelled(exchanged).await {
                    Some(last) => last,
                    None => Some(super::listen::ended(&id)),
                }
            } else {
                exchanged.await
            };
            operation.end("ok");
            last
        });
        Events::new(receive, work, self.quiet)
            .beginning(Some(&first))
            .response()
    }
}

/// What belongs to a service as a whole, and to none of its tools.
const OF_SERVICE: [&str; 4] = ["resources/", "prompts/", "completion/", "subscriptions/"];

/// Whether it sees a tool of a mount.
fn may_enter(grant: &Grant, mount: &Mount) -> bool {
    mount.view.tools.iter().any(|tool| grant.sees(tool))
}

/// Why a request does not go to a mount.
pub(super) enum Refused {
    Rpc(RpcError),
    Denied(Denial),
}

impl From<RpcError> for Refused {
    fn from(error: RpcError) -> Self {
        Self::Rpc(error)
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

/// Whether a message answers its request.
pub(super) fn rpc_answer(message: &[u8]) -> bool {
    matches!(rpc::parse_one(message), Ok(Message::Response(_)))
}

/// Whether a message answers its request, and the status of HTTP that goes with it.
fn answers(message: &[u8], asker: &Asker) -> (bool, StatusCode) {
    #[derive(serde::Deserialize)]
    struct Code {
        code: i32,
    }
    match rpc::parse_one(message) {
        Ok(Message::Response(response)) => {
            let failed = response.outcome.err();
            let code = failed.and_then(|error| serde_json::from_str::<Code>(error.get()).ok());
            let http = code.map(|it| status(asker.era, &RpcError::new(it.code, "")));
            (true, http.unwrap_or(StatusCode::OK))
        }
        _ => (false, StatusCode::OK),
    }
}

pub(super) fn unavailable(service: &str, error: &tonic::Status) -> RpcError {
    RpcError::internal(format!("{service} does not answer: {}", error.message()))
}

/// A request for a tool under its server's own name.
pub(crate) fn renamed(request: &Request<'_>, name: &str) -> Result<Bytes, RpcError> {
    with_member(request, "name", name)
}

/// A request with another text as one of its parameters.
pub(super) fn with_member(
    request: &Request<'_>,
    member: &str,
    text: &str,
) -> Result<Bytes, RpcError> {
    let params = request.params.map_or("{}", RawValue::get);
    let mut params: Map<String, Value> = serde_json::from_str(params)
        .map_err(|error| RpcError::params(format!("params: {error}")))?;
    params.insert(member.to_owned(), text.into());
    let params = Value::Object(params);
    let id = request.id.get();
    let method = Value::from(&*request.method);
    let text =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method},\"params\":{params}}}");
    Ok(text.into())
}
