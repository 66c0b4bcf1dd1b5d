//! `/mcp/{mount}`: messages of a mounted MCP server, unchanged. The mount crosses eras; here the headers
//! are checked. What clients with a session send is in `mount_session`.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use mcp::{
    CatalogView,
    rpc::{self, Era, Message, Request, RpcError, code, error_bytes},
};
use proto::mesh::v1::McpMessage;
use serde_json::{Map, Value, value::RawValue};
use tokio::sync::mpsc;
use tonic::{Streaming, metadata::MetadataMap};

use super::{
    McpServer,
    answer::{self, Events},
    audit::Operation,
    auth::Grant,
    call::Permit,
    headers,
    legacy::no_service,
    lists::{Kind, Wanted},
    methods::{Asked, Asker, Failure, shown},
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
            Err(failure) => {
                exchange.operation.fail(&failure);
                return match failure {
                    Failure::Rpc(error) => bad(&error),
                    Failure::Denied(denial) => self.deny(&denial),
                };
            }
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
    ) -> Result<Option<Permit>, Failure> {
        let view = &mount.view;
        if let Some(grant) = &asker.grant {
            grant.may_read()?;
            let sees_all = grant.sees_service(&mount.service, &mount.public_id);
            if !sees_all && !may_enter(grant, mount) {
                let name = asker.scope.service.as_deref().unwrap_or_default();
                return Err(no_service(name).into());
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
            return Err(RpcError::params(format!("unknown tool: {}", shown(&name))).into());
        }
        self.permit(asker).map(Some)
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
        let failed = |operation: &mut Operation, error: &RpcError| {
            operation.end("-32603");
            answer::error(StatusCode::OK, Some(id), error)
        };
        let mut messages = match called {
            Ok(stream) => Messages {
                stream,
                service: Arc::clone(service),
                is_among_all: asker.scope.service.is_none(),
            },
            Err(error) => return failed(&mut operation, &unavailable(service, &error)),
        };
        // What comes before the answer needs a stream to go into.
        let first = loop {
            let message = match messages.next().await {
                Ok(message) => message,
                Err(error) => return failed(&mut operation, &error),
            };
            if let Some(http) = answer_status(&message, asker.era) {
                operation.end(if http == StatusCode::OK {
                    "ok"
                } else {
                    "error"
                });
                return answer::json(http, message);
            }
            if takes.events {
                break Bytes::from(message);
            }
        };
        let (send, receive) = mpsc::channel(WAITING);
        let id = id.to_owned();
        let draining = self.context.draining.clone();
        let is_listening = operation.is("subscriptions/listen");
        let open = self.metrics.stream("mount");
        let work = Box::pin(async move {
            let (_open, _permit) = (open, permit);
            let exchanged = async {
                loop {
                    match messages.next().await {
                        Ok(message) if rpc_answer(&message) => return Some(message.into()),
                        Ok(message) => {
                            if send.send(message.into()).await.is_err() {
                                return None;
                            }
                        }
                        Err(error) => return Some(error_bytes(Some(&id), &error)),
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

/// The messages of a mounted server that belong to one request.
struct Messages {
    stream: Streaming<McpMessage>,
    service: Arc<str>,
    /// Whether the request was among everything, where ids of tasks say which mount has them.
    is_among_all: bool,
}

impl Messages {
    /// The next one. There is always one before the answer has come.
    async fn next(&mut self) -> Result<Vec<u8>, RpcError> {
        match self.stream.message().await {
            Ok(Some(message)) if self.is_among_all => Ok(with_mark(message.message, &self.service)),
            Ok(Some(message)) => Ok(message.message),
            Ok(None) => Err(RpcError::internal("the server's answer is missing")),
            Err(error) => Err(unavailable(&self.service, &error)),
        }
    }
}

/// Whether a message answers its request.
pub(super) fn rpc_answer(message: &[u8]) -> bool {
    matches!(rpc::parse_one(message), Ok(Message::Response(_)))
}

/// The status of HTTP of a message that answers its request; `None` for another one.
fn answer_status(message: &[u8], era: Era) -> Option<StatusCode> {
    #[derive(serde::Deserialize)]
    struct Code {
        code: i32,
    }
    let Ok(Message::Response(response)) = rpc::parse_one(message) else {
        return None;
    };
    let failed = response.outcome.err();
    let code = failed.and_then(|error| serde_json::from_str::<Code>(error.get()).ok());
    let http = code.map(|it| status(era, &RpcError::new(it.code, "")));
    Some(http.unwrap_or(StatusCode::OK))
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
