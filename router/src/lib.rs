//! The MCP router: whom a call is for, and the mesh's own answers. Calls are forwarded as they came.

mod compression;
mod control;
mod hedging;
mod instances;
mod local;
mod reflection;
mod registration;
mod relay;
mod routing;
pub mod scanner;
mod scrape_targets;
mod status;
mod tasks;

use std::{convert::Infallible, sync::Arc};

use config::{checked, integer, keys, size, switch};
use directory::Directory;
use service::{
    Context, ServiceKind, Services, Spec,
    clients::{Network, is_network, networks},
};

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
    keys: &[service::GRPC, service::CALLS, &[RouterKeys::GROUP]],
};

keys! {
    /// The router.
    #[derive(Clone, Debug)]
    pub(crate) struct RouterKeys: "Router" {
        /// Threads of the relay, each with connections of its own.
        relay_threads: u64 = integer(1, 1..=256, "threads"),
        /// Memory that the calls of one client connection may keep because nobody reads them.
        client_memory: usize = size("32MiB").bounded_by(64 << 10),
        /// Memory that all calls of one relay thread may keep because nobody reads them.
        relay_memory: usize = size("256MiB").bounded_by(1 << 20),
        /// Let `RegisterAgent` and `RegisterTool` write into the registry.
        allow_registration: bool = switch("false"),
        /// Networks that `RegisterAgent` takes although they are loopback, link-local or special.
        registration_networks: Vec<Network> = checked("", networks, is_network, "networks such as 10.0.0.0/8, fd00::/8"),
        /// Workers that are asked at once for a task that this router did not send.
        task_lookup_workers: usize = integer(32, 1..=10_000, "workers"),
    }
    removed {
        "data_plane" => "remove it: the relay carries the port",
    }
}

/// Builds the router.
///
/// # Errors
/// When the descriptors built into this program cannot be read.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let keys = RouterKeys::from_config(&context.config);
    let directory = Directory::start(context.mesh.clone());
    let (known, discovery) = (Arc::downgrade(&directory), Arc::clone(&context.discovery));
    context.conditions.add_check("registry", move || {
        // Without a directory the router is about to end.
        let known = known.upgrade()?;
        if known.ready() {
            // A registry that shows a part of its services is of use for that part.
            let hidden = discovery.status().hidden;
            let sees_nothing = !hidden.is_empty() && !known.current().has_instances();
            return sees_nothing.then(|| {
                let names = hidden.join(", ");
                format!("the registry names {names} and shows no instance of any service")
            });
        }
        Some(match discovery.last_error() {
            Some(trouble) => format!("who is in the mesh is not known: {trouble}"),
            None => "waiting for the registry to say who is in the mesh".to_owned(),
        })
    });
    let tasks = Arc::new(tasks::TaskLocations::new(keys.task_lookup_workers));
    let registration = registration::RegistrationHandler::new(
        Arc::clone(&context.discovery),
        keys.allow_registration,
        context.instance_id.clone(),
        registration::AddressPolicy::new(&context.endpoint, keys.registration_networks.clone()),
    );
    let routes = control::routes(
        Arc::clone(&directory),
        Arc::clone(&tasks),
        Arc::new(registration),
    )?;
    let hedged = Arc::default();
    let local = local::LocalService {
        mesh: context.mesh.clone(),
        tasks: Arc::clone(&tasks),
        hedged: Arc::clone(&hedged),
        routes,
        limits: context.call_limits(),
    };
    let mut served = Services::new().raw(tower::service_fn(move |request| {
        let local = local.clone();
        async move { Ok::<_, Infallible>(local.answer(request).await) }
    }));
    for name in ["AgentService", "ToolService", "TaskWorker"] {
        served = served.name(&format!("agentplatform.{name}"));
    }
    let targets = scrape_targets::ScrapeTargets::new(Arc::clone(&context.discovery));
    let targets = Arc::new(targets);
    served = served.admin_page("/sd/prometheus", move || {
        let targets = Arc::clone(&targets);
        async move { targets.answer().await }
    });
    let context = context.clone();
    Ok(served.listener(move |backend, listener| {
        relay::Relay::start(&context, directory, tasks, hedged, backend, &listener)
    }))
}
