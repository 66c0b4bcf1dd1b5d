//! A whole mesh in this process: the same services and routers as the programs, side by side.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context as _;
use programs::{Build, Program};
use service::{DrainReport, ServerHandle, Spec};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};

use crate::registry::Registry;

/// Longest wait for the registry to know an instance.
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How many of each to start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InstanceCounts {
    /// Whether to take jobs and workflows: a gateway, their runners, and the agents and tools of the
    /// pipeline.
    pub(crate) jobs: bool,
    /// Whether to carry out workflows without the rest of `jobs`: the runners alone.
    pub(crate) workflows: bool,
    /// Whether to have a gateway without the rest of `jobs`.
    pub(crate) gateway: bool,
    pub(crate) echo: u16,
    pub(crate) weather: u16,
    pub(crate) itinerary: u16,
    pub(crate) routers: u16,
}

/// Where the first router and the gateway listen; 0 lets the system choose.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ports {
    pub(crate) router: u16,
    pub(crate) gateway: u16,
}

/// The mesh. Dropping it stops it at once; [`LocalMesh::drain`] leaves in order.
#[derive(Debug)]
pub(crate) struct LocalMesh {
    services: Vec<ServerHandle>,
    /// Does jobs by calling the services.
    runner: Option<ServerHandle>,
    /// Makes jobs of the nodes of workflows.
    workflows: Option<ServerHandle>,
    routers: Vec<ServerHandle>,
    gateway: Option<ServerHandle>,
}

/// Who a run of the pipeline calls.
const PIPELINE: [Program; 6] = [
    (fs_tool::SPEC, fs_tool::build),
    (web_tool::SPEC, web_tool::build),
    (docs_tool::SPEC, docs_tool::build),
    (research_agent::SPEC, research_agent::build),
    (code_agent::SPEC, code_agent::build),
    (review_agent::SPEC, review_agent::build),
];

impl LocalMesh {
    /// Starts the services, and those who call them when the services are registered, so that
    /// they see the whole mesh from the first. Routers after the first listen where the system
    /// chooses.
    pub(crate) async fn start(
        counts: InstanceCounts,
        ports: Ports,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        ensure_port_is_free(&router::SPEC, ports.router, registry).await?;
        if counts.jobs || counts.gateway {
            ensure_port_is_free(&gateway::SPEC, ports.gateway, registry).await?;
        }
        let mut local = Self {
            services: Vec::new(),
            runner: None,
            workflows: None,
            routers: Vec::new(),
            gateway: None,
        };
        match local.start_all(counts, ports, registry).await {
            Ok(()) => Ok(local),
            Err(error) => {
                local.drain(|_, _| {}).await;
                Err(error)
            }
        }
    }

    async fn start_all(
        &mut self,
        counts: InstanceCounts,
        ports: Ports,
        registry: &Registry,
    ) -> anyhow::Result<()> {
        let itinerary = (itinerary_worker::SPEC, itinerary_worker::build as Build);
        let services = [
            ((echo_agent::SPEC, echo_agent::build as Build), counts.echo),
            ((weather_tool::SPEC, weather_tool::build), counts.weather),
            (itinerary, counts.itinerary),
        ];
        let pipeline = PIPELINE.map(|service| (service, counts.jobs.into()));
        for ((spec, build), count) in services.into_iter().chain(pipeline) {
            for _ in 0..count {
                self.services
                    .push(start(&spec, build, 0, false, registry).await?);
            }
        }
        await_registration(&self.services).await;
        if counts.jobs || counts.workflows {
            let (jobs, workflows) = (job_runner::build, workflow_runner::build);
            self.runner = Some(start(&job_runner::SPEC, jobs, 0, false, registry).await?);
            let spec = workflow_runner::SPEC;
            self.workflows = Some(start(&spec, workflows, 0, false, registry).await?);
        }
        if counts.jobs || counts.gateway {
            let http = gateway::build;
            self.gateway = Some(start(&gateway::SPEC, http, ports.gateway, false, registry).await?);
        }
        for number in 0..counts.routers {
            let port = if number == 0 { ports.router } else { 0 };
            let router = start(&router::SPEC, router::build, port, number == 0, registry).await?;
            self.routers.push(router);
        }
        await_registration(&self.routers).await;
        Ok(())
    }

    /// The instances, those that clients call first.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &ServerHandle> {
        let front_ends = self.routers.iter().chain(&self.gateway);
        let runners = self.workflows.iter().chain(&self.runner);
        front_ends.chain(runners).chain(&self.services)
    }

    /// The gateway's address, as a client on this machine reaches it; `None` without jobs.
    pub(crate) fn gateway(&self) -> Option<SocketAddr> {
        Some(reachable(self.gateway.as_ref()?.grpc_addr))
    }

    /// The runner of workflows, where there is one.
    pub(crate) fn workflow_runner(&self) -> Option<&ServerHandle> {
        self.workflows.as_ref()
    }

    /// The first router's address, as a client on this machine reaches it; `None` without routers.
    pub(crate) fn router(&self) -> Option<SocketAddr> {
        Some(reachable(self.routers.first()?.grpc_addr))
    }

    /// Lets routers and gateway finish their calls, then the runner of workflows store what happened, then
    /// the runner its jobs, then the services their calls. `done` gets the report of each.
    pub(crate) async fn drain(self, mut done: impl FnMut(&str, DrainReport)) {
        let front_ends = self.routers.into_iter().chain(self.gateway).collect();
        let workflows = self.workflows.into_iter().collect();
        let runner = self.runner.into_iter().collect();
        for tier in [front_ends, workflows, runner, self.services] {
            let mut leaving = JoinSet::new();
            for running in tier {
                let id = running.instance_id.clone();
                leaving.spawn(async move { (id, running.drain().await) });
            }
            while let Some(left) = leaving.join_next().await {
                if let Ok((id, drained)) = left {
                    done(&id, drained);
                }
            }
        }
    }
}

async fn await_registration(services: &[ServerHandle]) {
    for running in services {
        // One that is not registered yet keeps trying.
        timeout(REGISTRATION_TIMEOUT, running.registered())
            .await
            .ok();
    }
}

/// An address to connect to: one that listens on every interface is reached on loopback.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}

async fn start(
    spec: &Spec,
    build: Build,
    port: u16,
    profiled: bool,
    registry: &Registry,
) -> anyhow::Result<ServerHandle> {
    let loader = spec
        .loader()
        .env(registry.environment.clone())
        .set("port", port.to_string())
        // The variable is for one process with one instance.
        .set("metrics_port", "0");
    // Profiles are of the process: one of its instances serves them.
    let loader = match profiled {
        true => loader,
        false => loader.set("enable_pprof", "false"),
    };
    let config = loader.load()?;
    let discovery = registry.discovery.clone();
    let started = Box::pin(service::start(spec, config, discovery, build)).await;
    started
        .map_err(|error| explain_port_in_use(error, spec, port))
        .with_context(|| format!("start {}", spec.program))
}

/// Checks that before anything is started and registered.
async fn ensure_port_is_free(spec: &Spec, port: u16, registry: &Registry) -> anyhow::Result<()> {
    let config = spec.loader().env(registry.environment.clone()).load()?;
    let host = service::ListenKeys::from_config(&config).listen_address;
    TcpListener::bind((&*host, port))
        .await
        .map(drop)
        .with_context(|| format!("listen on {host}:{port}"))
        .map_err(|error| explain_port_in_use(error, spec, port))
}

fn explain_port_in_use(error: anyhow::Error, spec: &Spec, port: u16) -> anyhow::Error {
    let option = match spec.program == gateway::SPEC.program {
        true => "--http-port",
        false => "--port",
    };
    let in_use = error.chain().any(|cause| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::AddrInUse)
    });
    if in_use {
        return anyhow::anyhow!(
            "port {port} is taken: choose another with `{option} N` (0 lets the system choose), or \
             end the program that listens there"
        );
    }
    error
}
