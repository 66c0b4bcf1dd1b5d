//! Starts an instance and drains it. Nothing is global: several run in one process.

use std::{fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration, time::Instant};

use discovery::{Check, Discovery, Registrar, ServiceKind, authority};
use telemetry::rpc::ServerCalls;
use tokio::time::{sleep, timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};
use tracing::{info, warn};

use crate::{
    Conditions, Context, LoopLag, Reload, Services, Spec, admin, advertise,
    call_log::{AccessLog, CallLog, tap::Taps},
    clients::Clients,
    config::Config,
    health::{self, Health},
    keys::ChassisKeys,
    limits::Limits,
    metrics::ChassisMetrics,
    port::Port,
    pprof, registration,
    scrape::Scrapes,
    server::{App, Server},
    settings::LiveSettings,
    socket,
};

/// How long background tasks may take to end after `shutdown`.
const TASKS_TIMEOUT: Duration = Duration::from_secs(5);

/// A running instance. Dropping it stops it at once, and its registration stays until the
/// registry's check fails; [`ServerHandle::drain`] shuts it down in order.
pub struct ServerHandle {
    /// The address of its port: gRPC, or HTTP for an HTTP program.
    pub grpc_addr: SocketAddr,
    /// The address of its admin listener.
    pub admin_addr: SocketAddr,
    /// The address of its profiles, where they are served.
    pub pprof_addr: Option<SocketAddr>,
    /// Its ID in the registry.
    pub instance_id: String,
    context: Arc<Context>,
    health: Health,
    server: Server,
    registrar: Registrar,
    _stop: DropGuard,
}

/// How a drain went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainReport {
    /// Calls that were in flight at `drain_timeout`, and were aborted.
    pub cut: usize,
}

/// Starts an instance within this process.
///
/// # Errors
/// When an address cannot be bound, or `build` fails. An unreachable registry is not an error: the
/// instance serves and keeps trying to register.
pub async fn start(
    spec: &Spec,
    config: Config,
    discovery: Arc<dyn Discovery>,
    build: impl FnOnce(&Context) -> anyhow::Result<Services>,
) -> anyhow::Result<ServerHandle> {
    let instance_id = advertise::instance_id(spec, &config);
    start_as(instance_id, spec, config, discovery, build).await
}

/// [`start`] with a given instance ID.
pub(crate) async fn start_as(
    instance_id: String,
    spec: &Spec,
    config: Config,
    discovery: Arc<dyn Discovery>,
    build: impl FnOnce(&Context) -> anyhow::Result<Services>,
) -> anyhow::Result<ServerHandle> {
    let keys = Arc::new(ChassisKeys::from_config(&config));
    let grpc = socket::bind(
        "listen_address",
        &keys.listen.listen_address,
        spec.port_env,
        keys.listen.port,
    )?;
    let admin = socket::bind(
        "admin_address",
        &keys.admin.admin_address,
        "METRICS_PORT",
        keys.admin.metrics_port,
    )?;
    let (grpc_addr, admin_addr) = (grpc.local_addr()?, admin.local_addr()?);
    let host = advertise::address(&config, grpc_addr).await;
    let registry = telemetry::MetricsRegistry::new();
    let metrics = ChassisMetrics::start(spec, &registry);
    let config = Arc::new(config);
    let (tracker, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let reload = Reload::default();
    let settings = LiveSettings::start(
        spec,
        Arc::clone(&config),
        &discovery,
        &registry,
        &reload,
        &tracker,
        &shutdown,
    )
    .await;
    let mesh = channel::Mesh::with_service_config(
        discovery.clone(),
        channel::ClusterOptions::from_config(&config),
        Arc::clone(&settings) as Arc<dyn channel::ServiceConfig>,
        &registry,
    );
    let context = Arc::new(Context {
        spec: *spec,
        instance_id: instance_id.clone(),
        endpoint: authority(&host, grpc_addr.port()),
        started: Instant::now(),
        mesh,
        config,
        keys,
        settings,
        discovery: discovery.clone(),
        scrapes: Arc::new(Scrapes::new(&registry)),
        disks: telemetry::Disks::new(&registry),
        loop_lag: LoopLag::new(&registry),
        registry: registry.clone(),
        tracker,
        conditions: Conditions::default(),
        draining: CancellationToken::new(),
        cut: CancellationToken::new(),
        reload,
        shutdown,
    });
    let stop = context.shutdown.clone().drop_guard();
    let hiding = Arc::clone(&context.discovery);
    context.conditions.add_warning("registry", move || {
        let hidden = hiding.status().hidden;
        (!hidden.is_empty()).then(|| {
            let names = hidden.join(", ");
            format!("the registry names {names} and shows no instance: give the token node:read")
        })
    });
    let (mut served, health) = health::add(build(&context)?)?;
    let (names, listener) = (served.names.clone(), served.listener.take());
    let answers_all = served.raw.is_some() || listener.is_some();
    let speaks_http = served.speaks_http;
    let limits = Limits::new(&context.keys);
    let leave = CancellationToken::new();
    let port = Port::new(
        limits.connection,
        Clients::new(limits.client, &registry),
        TaskTracker::new(),
        leave.clone(),
        context.cut.clone(),
    );
    let calls = &context.keys.calls;
    let to = calls.access_log.as_deref();
    let access = AccessLog::open(to, calls.access_log_filter, &registry)?;
    if let Some(access) = &access {
        let follow = Arc::clone(access).follow(context.reload.subscribe());
        let stop = context.shutdown.clone();
        context
            .tracker
            .spawn(async move { stop.run_until_cancelled(follow).await });
    }
    let taps = Arc::<Taps>::default();
    let app = App {
        own: own_paths(&served),
        services: (!answers_all).then(|| names.clone()),
        handler: served.raw,
        routes: served.routes.prepare(),
        calls: ServerCalls::new(&registry, own_service(spec)),
        call_limits: limits.call,
        context: Arc::clone(&context),
        leave,
        header_bytes: limits.connection.header_bytes,
        call_log: CallLog::new(access, Arc::clone(&taps)),
    };
    if let Some(file) = access_log_file(&context) {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        context.disks.watch(folder.unwrap_or(Path::new(".")));
    }
    let server = Server::start(grpc, app, listener, port.clone())?;
    let taps = (!speaks_http).then_some(taps);
    admin::start(admin, &context, &port, taps, served.admin_pages);
    let pprof_addr = pprof::start(&context, &port)?;
    if !context.conditions.is_unchecked() {
        let conditions = context.conditions.clone();
        let publish = conditions.publish(health.clone(), context.draining.clone());
        context.tracker.spawn(publish);
    }
    info!(grpc = %grpc_addr, admin = %admin_addr, announced = %context.endpoint,
        instance = %instance_id, service = spec.service, version = spec.version, "serving");
    for warning in context.config.warnings() {
        warn!("{warning}");
    }
    let mut registration =
        registration::registration(&context, host, grpc_addr.port(), admin_addr.port(), &names);
    if speaks_http && registration.check == Check::Grpc {
        registration.check = Check::Http;
    }
    let registrar = Registrar::start(discovery, registration);
    metrics.follow(&context, &registrar);
    Ok(ServerHandle {
        grpc_addr,
        admin_addr,
        pprof_addr,
        instance_id,
        context,
        health,
        server,
        registrar,
        _stop: stop,
    })
}

impl ServerHandle {
    /// The context of its service.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// How many calls are in flight, health and reflection left out.
    #[must_use]
    pub fn active_calls(&self) -> usize {
        self.server.active()
    }

    /// Waits until the registry knows the instance.
    pub async fn registered(&self) {
        let mut known = self.registrar.registered();
        // The sender lives in the registrar's task, which ends only with the registrar.
        known.wait_for(|known| *known).await.ok();
    }

    /// Shuts down in order:
    ///
    /// 1. becomes not ready and `NOT_SERVING`,
    /// 2. deregisters,
    /// 3. serves for `drain_delay` more, since callers learn of it late,
    /// 4. stops accepting and sends GOAWAY,
    /// 5. lets calls finish for `drain_timeout`,
    /// 6. ends background tasks.
    pub async fn drain(self) -> DrainReport {
        let keys = self.context.keys.drain.clone();
        info!(instance = %self.instance_id, calls = self.server.active(), "draining");
        self.context.draining.cancel();
        self.health.not_serving();
        if let Err(error) = self.registrar.deregister().await {
            warn!(%error, "cannot deregister: the registration stays until the registry's check fails");
        }
        sleep(keys.drain_delay).await;
        let cut = self.server.drain(keys.drain_timeout).await;
        self.context.shutdown.cancel();
        self.context.tracker.close();
        if timeout(TASKS_TIMEOUT, self.context.tracker.wait())
            .await
            .is_err()
        {
            warn!(
                tasks = self.context.tracker.len(),
                "background tasks did not end"
            );
        }
        if cut == 0 {
            info!(instance = %self.instance_id, cut, "drained");
        } else {
            warn!(instance = %self.instance_id, cut, "drained");
        }
        DrainReport { cut }
    }
}

/// The name that a router counts its own calls by. Other programs serve nobody's calls but theirs.
fn own_service(spec: &Spec) -> &'static str {
    match spec.kind {
        ServiceKind::Router => spec.service,
        _ => "",
    }
}

/// The file that the access log is written to, if it is one.
fn access_log_file(context: &Context) -> Option<&Path> {
    let to = context.keys.calls.access_log.as_deref()?;
    (!["stdout", "stderr"].contains(&to)).then_some(Path::new(to))
}

/// The path prefixes that the chassis answers even if there is a raw service.
fn own_paths(served: &Services) -> Vec<&'static str> {
    let reflection = (!served.descriptors.is_empty()).then_some(health::REFLECTION);
    std::iter::once(health::HEALTH).chain(reflection).collect()
}

impl fmt::Debug for ServerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerHandle")
            .field("instance_id", &self.instance_id)
            .field("grpc_addr", &self.grpc_addr)
            .field("admin_addr", &self.admin_addr)
            .finish_non_exhaustive()
    }
}
