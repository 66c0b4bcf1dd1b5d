//! An MCP server of the SDK with everything that the protocol's conformance suite asks for, in one era or
//! both. The suite passes when it asks this server directly; asked through a mount and the gateway, it says
//! whether anything is lost on the way.
//!
//! ```text
//! mcp_fixture --era both --listen 127.0.0.1:0
//! mcp_fixture --era legacy --stdio
//! mcp_fixture --tools tools.json    # lists these instead of its own, for a bench of lists
//! ```

#![expect(
    deprecated,
    reason = "logging, sampling and subscriptions are the legacy era's"
)]

mod asking;
mod content;
mod tasks;
mod tools;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    convert::Infallible,
    env,
    io::Write as _,
    sync::Arc,
};

use anyhow::{Context as _, bail};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rmcp::{
    ErrorData, RoleServer, ServerHandler, ServiceExt as _,
    model::{
        CallToolRequestParams, CallToolResponse, CancelTaskParams, CompleteRequestParams,
        CompleteResult, GetPromptRequestParams, GetPromptResponse, GetTaskParams, GetTaskResult,
        ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult, ListToolsResult,
        PaginatedRequestParams, ProtocolVersion, ReadResourceRequestParams, ReadResourceResponse,
        RequestId, RequestStateCodec, ServerConfig, SetLevelRequestParams, SubscribeRequestParams,
        SubscriptionFilter, Tool, UnsubscribeRequestParams, UpdateTaskParams,
    },
    service::{RequestContext, SubscriptionContext, SubscriptionSink},
    task_manager::TaskManager,
    transport::{
        StreamableHttpServerConfig, StreamableHttpService, stdio,
        streamable_http_server::session::local::LocalSessionManager,
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

/// Seals what clients give back; a fixture has no secrets.
const KEY: &[u8] = b"the fixture has no secrets to keep from anybody";

/// Which revisions it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Era {
    Both,
    Legacy,
    Modern,
}

#[derive(Clone)]
struct Fixture {
    era: Era,
    watched: Arc<Mutex<HashSet<String>>>,
    listeners: Arc<Mutex<HashMap<RequestId, SubscriptionSink>>>,
    seal: RequestStateCodec,
    tasks: TaskManager,
}

/// A value of the protocol that is written as JSON.
fn of<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a value of the protocol")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (mut era, mut listen) = (Era::Both, Some("127.0.0.1:0".to_owned()));
    let mut args = env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--era" => {
                era = match value()?.as_str() {
                    "both" => Era::Both,
                    "legacy" => Era::Legacy,
                    "modern" => Era::Modern,
                    other => bail!("no era is called {other}"),
                }
            }
            "--listen" => listen = Some(value()?),
            "--stdio" => listen = None,
            "--tools" => tools::instead(&std::fs::read_to_string(value()?)?)?,
            other => bail!("unknown argument {other}"),
        }
    }
    let fixture = Fixture {
        era,
        watched: Arc::default(),
        listeners: Arc::default(),
        seal: RequestStateCodec::new_unchecked(KEY),
        tasks: TaskManager::new(),
    };
    let Some(listen) = listen else {
        fixture.serve(stdio()).await?.waiting().await?;
        return Ok(());
    };
    serve(fixture, &listen).await
}

async fn serve(fixture: Fixture, listen: &str) -> anyhow::Result<()> {
    let service = StreamableHttpService::new(
        move || Ok(fixture.clone()),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    let listener = TcpListener::bind(listen).await?;
    writeln!(
        std::io::stdout(),
        "listening {}",
        listener.local_addr()?.port()
    )?;
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service.clone();
        let answer = service_fn(move |request| {
            let service = service.clone();
            async move { Ok::<_, Infallible>(service.handle(request).await) }
        });
        connections.spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            // A client that hangs up has its reasons.
            connection.await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

impl ServerHandler for Fixture {
    fn get_info(&self) -> ServerConfig {
        let mut capabilities = json!({
            "tools": {"listChanged": true},
            "prompts": {"listChanged": true},
            "resources": {"subscribe": true, "listChanged": true},
            "logging": {},
            "completions": {},
        });
        if self.era != Era::Legacy {
            capabilities["extensions"] = json!({ "io.modelcontextprotocol/tasks": {} });
        }
        ServerConfig::new(of(capabilities))
            .with_server_info(of(json!({"name": "mcp-fixture", "version": "1.0.0"})))
            .with_instructions("What the conformance suite asks for")
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let modern = |version: &ProtocolVersion| *version == ProtocolVersion::V_2026_07_28;
        let all = ProtocolVersion::KNOWN_VERSIONS.iter();
        let spoken = all.filter(|version| match self.era {
            Era::Both => true,
            Era::Legacy => !modern(version),
            Era::Modern => modern(version),
        });
        Cow::Owned(spoken.cloned().collect())
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        tools::list().into_iter().find(|tool| tool.name == name)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let mut page: ListToolsResult = content::cached(json!({ "tools": [] }));
        page.tools = tools::list();
        Ok(page)
    }

    async fn call_tool(
        &self,
        mut request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        for _ in 0..asking::ROUNDS {
            let asked = match self.call(&request, &context).await? {
                CallToolResponse::InputRequired(asked) if !asking::asks_by_result(&context) => {
                    asked
                }
                answer => return Ok(answer),
            };
            (request.input_responses, request.request_state) =
                asking::by_requests(&context, asked).await?;
        }
        Err(asking::endless())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(content::resources())
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(content::templates())
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        content::resource(&request.uri)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(content::prompts())
    }

    async fn get_prompt(
        &self,
        mut request: GetPromptRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        for _ in 0..asking::ROUNDS {
            let asked = match content::prompt(&request)? {
                GetPromptResponse::InputRequired(asked) if !asking::asks_by_result(&context) => {
                    asked
                }
                answer => return Ok(answer),
            };
            (request.input_responses, request.request_state) =
                asking::by_requests(&context, asked).await?;
        }
        Err(asking::endless())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        let completion =
            json!({"values": ["paris", "park", "party"], "total": 3, "hasMore": false});
        Ok(of(
            json!({ "completion": completion, "resultType": "complete" }),
        ))
    }

    async fn set_level(
        &self,
        _: SetLevelRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(
        &self,
        request: SubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.watched.lock().insert(request.uri);
        Ok(())
    }

    async fn unsubscribe(
        &self,
        request: UnsubscribeRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.watched.lock().remove(&request.uri);
        Ok(())
    }

    fn accepted_subscription_filter(
        &self,
        asked: &SubscriptionFilter,
    ) -> Option<SubscriptionFilter> {
        Some(asked.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let sink = context.sink().clone();
        let id = sink.id().clone();
        self.listeners.lock().insert(id.clone(), sink);
        context.cancelled().await;
        self.listeners.lock().remove(&id);
        Ok(())
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks
            .get_task(&request.task_id)
            .map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks
            .update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}
