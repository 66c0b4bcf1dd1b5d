//! The MCP router: whom a call is for, and the mesh's own answers. Calls are forwarded as they came.

mod ask;
mod body;
mod compression;
pub mod control;
pub mod descriptors;
pub mod directory;
pub mod forward;
mod lists;
pub mod reflection;
pub mod registration;
pub mod routes;
pub mod scanner;
mod server;
mod status;
pub mod tasks;

use std::sync::Arc;

use service::{Context, Key, Kind, Served, Spec};

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
    keys: &[Key::bool(
        "allow_registration",
        "false",
        "let RegisterAgent and RegisterTool put services into the registry",
    )],
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
        directory,
        tasks,
        own,
        max_message_bytes,
    };
    Ok(["AgentService", "ToolService", "TaskWorker"]
        .iter()
        .fold(Served::new().raw(server), |served, name| {
            served.name(&format!("agentplatform.{name}"))
        }))
}

#[cfg(test)]
mod testing;
