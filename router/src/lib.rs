//! The MCP router: whom a call is for, and the mesh's own answers. Calls are forwarded as they came.

mod single_flight;
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

use service::{Context, Key, ServiceKind, Services, Spec, Type, clients::Network};

pub use server::Server;

/// What the router says of itself.
pub const SPEC: Spec = Spec {
    program: "mcp-router",
    service: "mcp-router",
    kind: ServiceKind::Router,
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
            "registration_networks",
            Type::Custom(is_networks, "networks such as 10.0.0.0/8, fd00::/8"),
            "",
            "networks RegisterAgent takes although they are loopback, link-local or special",
        ),
        Key::new(
            "task_lookup_workers",
            Type::Integer(1, 10_000),
            "32",
            "workers asked at most for a task this router did not send; others the next time",
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
        Key::size_from(
            "client_memory",
            64 << 10,
            "32MiB",
            "bytes the calls of one client may keep in the relay because nobody reads them",
        ),
        Key::size_from(
            "relay_memory",
            1 << 20,
            "256MiB",
            "the same for all clients of a thread together",
        ),
    ],
};

fn is_networks(text: &str) -> bool {
    let mut parts = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    parts.all(|part| Network::parse(part).is_some())
}

/// The networks of `registration_networks`, which were checked when the configuration was read.
fn networks(context: &Context) -> Vec<Network> {
    let parts = context.config.list("registration_networks");
    parts.iter().filter_map(|it| Network::parse(it)).collect()
}

/// Builds the router.
///
/// # Errors
/// When the descriptors built into this program cannot be read.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let directory = directory::Directory::start(context.mesh.clone());
    let (known, discovery) = (Arc::downgrade(&directory), Arc::clone(&context.discovery));
    context.conditions.add_check("registry", move || {
        // Without a directory the router is about to end.
        let waits = known.upgrade().is_some_and(|known| !known.ready());
        waits.then(|| match discovery.last_error() {
            Some(trouble) => format!("who is in the mesh is not known: {trouble}"),
            None => "waiting for the registry to say who is in the mesh".to_owned(),
        })
    });
    let workers = context.config.integer::<usize>("task_lookup_workers");
    let tasks = Arc::new(tasks::TaskLocations::new(workers));
    let registration = registration::RegistrationHandler::new(
        Arc::clone(&context.discovery),
        context.config.bool("allow_registration"),
        context.instance_id.clone(),
        registration::AddressPolicy::new(&context.endpoint, networks(context)),
    );
    let local = control::routes(
        Arc::clone(&directory),
        Arc::clone(&tasks),
        Arc::new(registration),
    )?;
    let max_message_bytes = u64::try_from(context.config.size("max_message_bytes"))?;
    let server = Server {
        mesh: context.mesh.clone(),
        directory: Arc::clone(&directory),
        tasks: Arc::clone(&tasks),
        local,
        max_message_bytes,
        bounds: context.call_limits(),
    };
    let mut served = Services::new().raw(server);
    for name in ["AgentService", "ToolService", "TaskWorker"] {
        served = served.name(&format!("agentplatform.{name}"));
    }
    if context.config.text("data_plane") == "relay" {
        let context = context.clone();
        served = served.listener(move |backend, listener| {
            relay::Relay::start(&context, directory, tasks, backend, &listener)
        });
    }
    Ok(served)
}

#[cfg(test)]
mod testing;
