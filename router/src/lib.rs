//! The MCP router: whom a call is for, and the mesh's own answers. Calls are forwarded as they came.

mod ask;
mod body;
mod compression;
pub mod control;
pub mod descriptors;
pub mod directory;
pub mod forward;
mod instances;
mod lists;
pub mod reflection;
pub mod registration;
mod relay;
pub mod routes;
pub mod scanner;
mod server;
mod status;
pub mod tasks;

use std::sync::Arc;

use service::{Context, Key, Kind, Served, Spec, Type};

pub use server::Server;

/// What the router says of itself.
pub const SPEC: Spec = Spec {
    program: "mcp-router",
    service: "mcp-router",
    kind: Kind::Router,
    tags: &["router", "mcp"],
    port_env: "MCP_ROUTER_PORT",
    default_port: 50051,
    version: env!("CARGO_PKG_VERSION"),
    about: "One address for every agent, tool and worker of the mesh",
    idempotent: &[],
    keys: &[
        Key::bool(
            "allow_registration",
            "false",
            "let RegisterAgent and RegisterTool put services into the registry",
        ),
        Key::new(
            "data_plane",
            Type::Choice(&["relay", "hyper"]),
            "relay",
            "what carries the gRPC port: the relay engine, or hyper",
        ),
        Key::new(
            "relay_threads",
            Type::Integer(1, 256),
            "1",
            "threads of the relay engine, each with connections of its own",
        ),
        Key::size(
            "client_memory",
            "32MiB",
            "bytes the calls of one client may keep in the relay because nobody reads them",
        ),
        Key::size(
            "relay_memory",
            "256MiB",
            "the same for all clients of a thread together",
        ),
        Key::new(
            "wasted_calls",
            Type::Integer(1, 1_000_000_000),
            "500",
            "calls one client's connection may give up, unanswered and within a second, in 10 s",
        ),
    ],
};

/// Builds the router.
///
/// # Errors
/// When the descriptors built into this program cannot be read.
pub fn build(context: &Context) -> anyhow::Result<Served> {
    let directory = directory::Directory::start(context.mesh.clone());
    let tasks = Arc::new(tasks::Tasks::default());
    let registrar = registration::Registrar::new(
        Arc::clone(&context.discovery),
        context.config.bool("allow_registration"),
        context.instance_id.clone(),
    );
    let own = control::routes(
        Arc::clone(&directory),
        Arc::clone(&tasks),
        Arc::new(registrar),
    )?;
    let max_message_bytes = u64::try_from(context.config.size("max_message_bytes"))?;
    let server = Server {
        mesh: context.mesh.clone(),
        directory: Arc::clone(&directory),
        tasks: Arc::clone(&tasks),
        own,
        max_message_bytes,
    };
    let mut served = Served::new().raw(server);
    for name in ["AgentService", "ToolService", "TaskWorker"] {
        served = served.name(&format!("agentplatform.{name}"));
    }
    if context.config.text("data_plane") == "relay" {
        let context = context.clone();
        served = served.front(move |behind, listener| {
            relay::Relay::start(&context, directory, tasks, behind, &listener)
        });
    }
    Ok(served)
}

#[cfg(test)]
mod testing;
