//! The endpoint of the Model Context Protocol: `/mcp` for everything, `/mcp/{service}` for one service,
//! and `/sse` with `/messages` for clients of 2024-11-05.
//!
//! A request passes the `guard` (Host and Origin) and the `auth` (tokens). `post` reads its message,
//! finds out of which era it is, and answers it; `methods` is the table of what can be asked. Sessions
//! are for the eras before 2026-07-28 alone. A mounted MCP server answers its own messages (`mounted`).

mod answer;
mod audit;
mod auth;
mod call;
mod describe;
mod follow_mounts;
mod follow_tasks;
mod forward;
mod front;
mod guard;
mod headers;
pub(crate) mod keys;
mod legacy;
mod listen;
mod lists;
mod methods;
mod metrics;
mod mount_session;
mod mount_tasks;
mod mounted;
mod post;
mod resources;
mod scope;
mod sessions;
mod store;

use std::{sync::Arc, time::Duration};

use dynamic::DynamicClient;
use mcp::{Catalog, CatalogSnapshot, CatalogView, ToolCaller, mounted::MountClient, rpc::RpcError};
use serde_json::{Value, json};
use service::Context;
use tokio::sync::Semaphore;

use auth::Access;
use forward::Peers;
use guard::Guard;
use keys::McpKeys;
use lists::Lists;
use metrics::McpMetrics;
use scope::Scope;
use sessions::Sessions;
use store::SessionStore;

use crate::metrics::Metrics;

pub(crate) use describe::document;
pub(crate) use front::Front;

/// How long a list waits for the first answer of the registry.
const FIRST_ANSWER: Duration = Duration::from_secs(3);
/// After so many sessions have ended, their memory goes back to the system.
const RELEASED: usize = 1_000;
/// The extension of long calls.
pub(crate) const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// What the server says of itself to models.
const INSTRUCTIONS: &str = "Every agent, tool and worker of the mesh, and the gRPC services that are \
    made available. The list is live. Where it is long, search_tools finds tools by words, and \
    call_tool calls one by its name. A call that takes long answers with the id of its job: \
    get_result fetches the result.";

/// The endpoint.
#[derive(Debug)]
pub(crate) struct McpServer {
    pub(super) context: Context,
    pub(super) keys: McpKeys,
    guard: Guard,
    access: Access,
    catalog: Arc<Catalog>,
    calls: DynamicClient,
    caller: ToolCaller,
    mounts: MountClient,
    lists: Lists,
    search: call::SearchIndexes,
    sessions: Arc<Sessions>,
    store: Option<SessionStore>,
    peers: Peers,
    listeners: Arc<Semaphore>,
    metrics: McpMetrics,
    /// Those of every request of HTTP.
    http: Metrics,
    /// How long a stream is quiet before a sign of life.
    quiet: Duration,
}

/// What the endpoint works with.
pub(crate) struct Parts {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) calls: DynamicClient,
    pub(crate) caller: ToolCaller,
    pub(crate) mounts: MountClient,
    pub(crate) quiet: Duration,
    pub(crate) http: Metrics,
}

impl McpServer {
    /// The endpoint of a gateway.
    ///
    /// # Errors
    /// When keys contradict each other, or the file of tokens cannot be read.
    pub(crate) fn new(context: &Context, parts: Parts) -> anyhow::Result<Arc<Self>> {
        let keys = McpKeys::check(&context.config)?;
        let gateway = &context.instance_id;
        let sessions = Sessions::new(gateway, keys.mcp_session_idle, keys.mcp_max_sessions);
        let builtins = mcp::Builtin::ALL.into_iter().map(|it| Arc::new(it.tool()));
        let server = Arc::new(Self {
            guard: Guard::new(&keys.mcp_allowed_hosts, &keys.mcp_allowed_origins),
            access: Access::new(context, &keys)?,
            catalog: parts.catalog,
            calls: parts.calls,
            caller: parts.caller,
            mounts: parts.mounts,
            lists: Lists::new(&keys, builtins.collect(), &mcp::resources::templates()),
            search: call::SearchIndexes::default(),
            sessions: Arc::new(sessions),
            store: SessionStore::open(context, keys.mcp_session_idle)?,
            peers: Peers::new(context),
            listeners: Arc::new(Semaphore::new(keys.mcp_max_listeners)),
            metrics: McpMetrics::new(&context.registry),
            quiet: parts.quiet,
            http: parts.http,
            context: context.clone(),
            keys,
        });
        let sweeping = Arc::clone(&server);
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            shutdown.run_until_cancelled(sweeping.sweep()).await;
        });
        Ok(server)
    }

    /// Ends sessions that are idle too long.
    async fn sweep(&self) {
        let pause =
            (self.sessions.idle() / 10).clamp(Duration::from_millis(100), Duration::from_secs(30));
        let mut freed = 0;
        loop {
            tokio::time::sleep(pause).await;
            let ended = self.sessions.sweep();
            freed += ended;
            self.metrics.has_sessions(self.sessions.count());
            // Once no more go: many clients left at about the same time.
            if ended == 0 && freed >= RELEASED {
                freed = 0;
                self.context.tracker.spawn_blocking(service::release_memory);
            }
        }
    }

    /// What a scope shows now.
    ///
    /// # Errors
    /// While the registry has not answered, and for a service that there is not.
    async fn view(&self, scope: &Scope) -> Result<Arc<CatalogView>, RpcError> {
        let snapshot = self.catalog.snapshot();
        let snapshot = match snapshot.ready {
            true => snapshot,
            false => self
                .catalog
                .ready_snapshot(FIRST_ANSWER)
                .await
                .ok_or_else(|| {
                    RpcError::internal("the registry has not answered yet: try again in a moment")
                })?,
        };
        view_of(&snapshot, scope).ok_or_else(|| {
            let service: String = scope
                .service
                .iter()
                .flat_map(|it| it.chars())
                .take(100)
                .collect();
            RpcError::params(format!(
                "no service is called {service:?}: /mcp has every tool"
            ))
        })
    }

    /// Who we are.
    fn server_info() -> Value {
        json!({"name": "mesh", "title": "The mesh", "version": env!("CARGO_PKG_VERSION")})
    }

    /// What we can do.
    fn capabilities(is_modern: bool) -> Value {
        let mut capabilities = json!({
            "tools": {"listChanged": true},
            "resources": {"listChanged": true, "subscribe": true},
            "prompts": {"listChanged": true},
            "completions": {},
        });
        if is_modern {
            capabilities["extensions"] = json!({ TASKS_EXTENSION: {} });
        }
        capabilities
    }
}

/// What a scope shows in a snapshot.
fn view_of(snapshot: &CatalogSnapshot, scope: &Scope) -> Option<Arc<CatalogView>> {
    match &scope.service {
        None => Some(Arc::clone(snapshot.all())),
        Some(service) => snapshot.service(service),
    }
}
