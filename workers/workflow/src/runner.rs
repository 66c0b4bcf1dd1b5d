//! The parts of a runner, put together: its core behind an HTTP port, drained before it.

use std::{
    net::TcpListener,
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use jobs::Jobs;
use runs::RunStore;
use service::{Context, HttpListener, Listener, LocalBackend, Severity};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use work::{AgentSelector, QueueKeys, StoreMonitor};
use workflow::Limits;

use crate::{
    core::{Core, Env},
    dispatch::Dispatcher,
    http_api::{HttpApi, Report},
    keys::WorkflowKeys,
    loaded::Loader,
    metrics::Metrics,
};

/// How long giving shards up may take after the drain.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(7);

/// A runner that has not started.
pub(crate) struct Runner {
    context: Context,
    keys: WorkflowKeys,
    queue: QueueKeys,
    jobs: Jobs,
    store: Arc<dyn RunStore>,
}

impl Runner {
    pub(crate) fn new(context: &Context) -> anyhow::Result<Self> {
        let config = &context.config;
        let queue = QueueKeys::from_config(config);
        Ok(Self {
            keys: WorkflowKeys::from_config(config),
            jobs: queue.open_for(context)?,
            queue,
            store: work::open_runs(context)?,
            context: context.clone(),
        })
    }

    /// Starts the core, and answers on the port.
    pub(crate) fn start(
        self,
        backend: &LocalBackend,
        listener: TcpListener,
    ) -> anyhow::Result<Arc<dyn Listener>> {
        let report = Arc::<Report>::default();
        // Nothing is begun without the queue, so it is not ready without it.
        drop(StoreMonitor::start(
            &self.context,
            &self.jobs,
            Severity::NotReady,
        ));
        tracing::info!(store = self.store.name(), "carrying out workflows");
        let limits = Limits::default();
        let dispatcher = Dispatcher {
            agents: AgentSelector::new(self.context.mesh.clone(), &self.keys.workflow_agent),
            queue: self.queue.clone(),
            discovery: Arc::clone(&self.context.discovery),
        };
        let core = Core::new(Env {
            loader: Loader::new(Arc::clone(&self.store), limits),
            metrics: Metrics::new(&self.context.registry),
            context: self.context.clone(),
            links: work::ApprovalLinkKeys::from_config(&self.context.config),
            keys: self.keys,
            queue: self.queue,
            store: self.store,
            jobs: self.jobs,
            dispatcher,
            limits,
            report: Arc::clone(&report),
        });
        let tasks = TaskTracker::new();
        let shutdown = self.context.shutdown.clone();
        // Dropped, not drained, a runner leaves its shards to their leases.
        tasks.spawn(async move {
            shutdown.run_until_cancelled(core.run()).await;
        });
        tasks.close();
        let http = HttpListener::new(backend);
        let api = HttpApi::new(self.context, Arc::clone(&report));
        http.serve(listener, api.service())?;
        Ok(Arc::new(RunningCore {
            http,
            tasks,
            report,
        }))
    }
}

/// A runner at work. It is drained when what happened to its runs is stored, and its shards are given up.
struct RunningCore {
    http: HttpListener,
    tasks: TaskTracker,
    report: Arc<Report>,
}

impl Listener for RunningCore {
    fn active(&self) -> usize {
        self.report.unstored.load(Relaxed) + self.http.active()
    }

    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async move {
            // What is cut here is not lost: the next owner does it again.
            let waited = timeout(limit.max(RELEASE_TIMEOUT), self.tasks.wait()).await;
            let cut = match waited {
                Ok(()) => 0,
                Err(_) => self.report.unstored.load(Relaxed),
            };
            cut + self.http.drain(RELEASE_TIMEOUT).await
        })
    }
}
