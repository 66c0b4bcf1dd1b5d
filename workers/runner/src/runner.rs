//! The parts of a runner, put together: workers behind an HTTP port, drained before it.

use std::{net::TcpListener, pin::Pin, sync::Arc, time::Duration};

use anyhow::Context as _;
use dynamic::{RouterKeys, Transport};
use jobs::{Jobs, Worker};
use service::{Context, HttpListener, Listener, LocalBackend, Severity};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use work::{AgentSelector, QueueKeys, QueueMetrics, Runtime, StoreMonitor};

use crate::{handler::AttemptHandler, host, http_api::HttpApi, keys::RunnerKeys, metrics::Metrics};

/// How long handing jobs back may take after the drain.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// A runner that has not started.
pub(crate) struct Runner {
    context: Context,
    keys: RunnerKeys,
    queue_keys: QueueKeys,
    jobs: Jobs,
    handler: Arc<AttemptHandler>,
}

impl Runner {
    pub(crate) fn new(context: &Context) -> anyhow::Result<Self> {
        let config = &context.config;
        let (keys, queue) = (
            RunnerKeys::from_config(config),
            QueueKeys::from_config(config),
        );
        let jobs = queue.open_for(context)?;
        let transport = match RouterKeys::from_config(config).mcp_router_addr {
            Some(address) => {
                Transport::counted_router(&address, &context.mesh).context("mcp_router_addr")?
            }
            None => Transport::Mesh(context.mesh.clone()),
        };
        let options = dynamic::DynamicOptions {
            max_message_bytes: context.max_message_bytes(),
            ..dynamic::DynamicOptions::default()
        };
        let runtime = Runtime {
            calls: dynamic::DynamicClient::new(transport, options),
            http: fetch::client(config).context("set up requests to the outside")?,
            mesh: context.mesh.clone(),
            jobs: jobs.clone(),
            agents: AgentSelector::new(context.mesh.clone(), &keys.task_agent),
            task_look: keys.task_look,
        };
        let handler = AttemptHandler {
            runtime,
            metrics: Metrics::new(&context.registry),
            host: host::facts(&context.instance_id),
        };
        Ok(Self {
            context: context.clone(),
            keys,
            queue_keys: queue,
            jobs,
            handler: Arc::new(handler),
        })
    }

    /// Starts the workers, and answers on the port.
    pub(crate) fn start(
        self,
        backend: &LocalBackend,
        listener: TcpListener,
    ) -> anyhow::Result<Arc<dyn Listener>> {
        let named = self.keys.queues.iter();
        let mut queues: Vec<String> = named
            .map(|queue| self.queue_keys.queue(Some(queue)))
            .collect();
        if queues.is_empty() {
            queues.push(self.queue_keys.queue(None));
        }
        queues.sort_unstable();
        queues.dedup();
        let room = self.keys.workers;
        let tasks = TaskTracker::new();
        let mut workers = Vec::new();
        for queue in &queues {
            jobs::Lane::new(queue, 0).context("queues")?;
            let (jobs, name) = (self.jobs.clone(), &self.context.instance_id);
            let worker = Worker::new(jobs, queue, name, room, self.handler.clone());
            workers.push(worker.clone());
            let (stop, shutdown) = (self.context.draining.clone(), self.context.shutdown.clone());
            let drain = self.context.keys.drain.drain_timeout;
            // Dropped, not drained, a runner leaves its jobs to their leases.
            tasks.spawn(async move {
                shutdown.run_until_cancelled(worker.run(stop, drain)).await;
            });
        }
        tasks.close();
        tracing::info!(?queues, workers = room, "taking jobs");
        let queue_metrics = QueueMetrics::new(&self.context.registry, &self.context.config);
        let jobs = self.jobs.clone();
        let shutdown = self.context.shutdown.clone();
        self.context.tracker.spawn(async move {
            shutdown.run_until_cancelled(queue_metrics.run(&jobs)).await;
        });
        // Without its store it cannot work.
        let store_monitor = StoreMonitor::start(&self.context, &self.jobs, Severity::NotReady);
        let places = room * queues.len();
        let api = HttpApi::new(self.context, store_monitor, places, self.handler.clone());
        let http = HttpListener::new(backend);
        http.serve(listener, api.service())?;
        Ok(Arc::new(RunningWorkers {
            http,
            tasks,
            workers,
        }))
    }
}

/// A runner at work. It is drained when its jobs are done or handed back.
struct RunningWorkers {
    http: HttpListener,
    tasks: TaskTracker,
    workers: Vec<Worker>,
}

impl Listener for RunningWorkers {
    fn active(&self) -> usize {
        let running: usize = self.workers.iter().map(Worker::running).sum();
        running + self.http.active()
    }

    fn drain(&self, limit: Duration) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        Box::pin(async move {
            // The workers stopped taking jobs when the drain began, and hand back what they do
            // not finish within the same limit.
            let cut = match timeout(limit + RELEASE_TIMEOUT, self.tasks.wait()).await {
                Ok(()) => 0,
                Err(_) => self.workers.iter().map(Worker::running).sum(),
            };
            cut + self.http.drain(RELEASE_TIMEOUT).await
        })
    }
}
