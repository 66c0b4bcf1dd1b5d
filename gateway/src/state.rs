//! What every handler works with.

use std::{sync::Arc, time::Duration};

use ::mcp::{Catalog, Tasks, ToolCaller, ToolKeys, mounted::MountClient};
use directory::Directory;
use dynamic::{DynamicClient, DynamicOptions, RouterKeys, Transport};
use jobs::{Error, JobStatus, Jobs, NewJob, Producer, Submitted};
use service::{Context, Severity, WebPolicy, clients::Network};
use work::{QueueKeys, StoreMonitor};

use crate::{
    event_streams::EventStreams, keys::GatewayKeys, mcp, metrics::Metrics, rate_limit::RateLimiter,
    rules::Rules, workflows::Workflows,
};

/// How long an answer waits for its warning.
const WARNING_TIMEOUT: Duration = Duration::from_millis(250);

/// One gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) context: Context,
    pub(crate) keys: GatewayKeys,
    queue_keys: QueueKeys,
    pub(crate) jobs: Jobs,
    pub(crate) store_monitor: Arc<StoreMonitor>,
    pub(crate) producer: Producer,
    pub(crate) calls: DynamicClient,
    pub(crate) directory: Arc<Directory>,
    /// The tools that clients of MCP see.
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) metrics: Metrics,
    pub(crate) proxies: Vec<Network>,
    pub(crate) event_streams: EventStreams,
    pub(crate) workflows: Workflows,
    /// Which hosts and pages are answered.
    pub(crate) web: WebPolicy,
    /// What is checked before a request reaches its endpoint.
    pub(crate) rules: Rules,
    /// The description of the API as JSON.
    pub(crate) document: String,
}

/// As handlers get it.
pub(crate) type App = Arc<Gateway>;

impl Gateway {
    /// A gateway that checks requests by `rules` and shows `document` as its description.
    pub(crate) fn new(context: &Context, rules: Rules, document: String) -> anyhow::Result<Self> {
        let config = &context.config;
        let keys = GatewayKeys::from_config(config);
        let queue_keys = QueueKeys::from_config(config);
        let jobs = queue_keys.open_for(context)?;
        let transport = match RouterKeys::from_config(config).mcp_router_addr {
            Some(address) => Transport::counted_router(&address, &context.mesh)?,
            None => Transport::Mesh(context.mesh.clone()),
        };
        let options = DynamicOptions {
            descriptor_ttl: keys.descriptor_ttl,
            max_message_bytes: context.max_message_bytes(),
        };
        let directory = Directory::start(context.mesh.clone());
        // Calls work without it, and every gateway has the same queue.
        let store_monitor = StoreMonitor::start(context, &jobs, Severity::Degraded);
        Ok(Self {
            store_monitor,
            producer: Producer::new(jobs.clone()),
            jobs,
            calls: DynamicClient::new(transport, options),
            catalog: Catalog::start(&directory, context)?,
            directory,
            workflows: Workflows::new(context, work::open_runs(context)?, keys.store_timeout),
            rate_limiter: RateLimiter::new(keys.request_rate, keys.request_burst),
            metrics: Metrics::new(&context.registry),
            proxies: context.keys.connections.trusted_proxies.clone(),
            event_streams: EventStreams::new(keys.max_event_streams, keys.client_max_event_streams),
            web: context.web_policy(),
            rules,
            document,
            context: context.clone(),
            keys,
            queue_keys,
        })
    }

    /// What the endpoint of MCP works with.
    pub(crate) fn mcp_parts(&self) -> mcp::Parts {
        let keys = ToolKeys::from_config(&self.context.config);
        let (jobs, producer) = (self.jobs.clone(), self.producer.clone());
        let tasks = Tasks::new(jobs, producer, &self.queue(None), &keys);
        mcp::Parts {
            catalog: Arc::clone(&self.catalog),
            caller: ToolCaller::new(self.calls.clone(), Some(tasks), &keys),
            calls: self.calls.clone(),
            mounts: MountClient::new(self.context.mesh.clone()),
            quiet: self.keys.event_wait,
            http: self.metrics.clone(),
        }
    }

    /// The queue that a name means.
    pub(crate) fn queue(&self, name: Option<&str>) -> String {
        self.queue_keys.queue(name)
    }

    /// The functions of a workflow that nobody serves now, in words. Their nodes are skipped.
    pub(crate) async fn unserved(&self, document: &serde_json::Value) -> Vec<String> {
        let functions = crate::workflows::ir::functions(document);
        let Ok(catalog) = dynamic::catalog(&*self.context.discovery).await else {
            return Vec::new();
        };
        let named = |name: &str| catalog.services.get(name);
        let unserved = functions
            .iter()
            .filter(|(_, service)| discovery::resolve(service, named, |_| None).is_none());
        let words = unserved.map(|(node, service)| {
            format!("node {node}: nobody serves {service:?} now, so the node would be skipped")
        });
        words.collect()
    }

    /// Submits a job.
    pub(crate) async fn submit(&self, job: NewJob) -> Result<Submitted, Error> {
        let kind = job.kind.clone();
        let answer = self.with_timeout(self.producer.submit(job)).await;
        self.metrics.submitted(&kind, &answer);
        answer
    }

    /// The warning for a job that waits in a queue without a runner, where that is known.
    pub(crate) async fn warning(&self, queue: &str, status: Option<JobStatus>) -> Option<String> {
        if status != Some(JobStatus::Queued) {
            return None;
        }
        let served = tokio::time::timeout(WARNING_TIMEOUT, self.jobs.is_served(queue)).await;
        (served == Ok(Some(false))).then(|| {
            format!("no runner serves the queue {queue:?}: start a job-runner with QUEUES={queue}")
        })
    }

    /// Asks the queue something, for a bounded time: a Redis that never answers is unavailable too.
    pub(crate) async fn with_timeout<T>(
        &self,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let patience = self.keys.store_timeout;
        tokio::time::timeout(patience, asked)
            .await
            .unwrap_or_else(|_| Err(timed_out(patience)))
    }
}

fn timed_out(patience: Duration) -> Error {
    Error::Unavailable {
        store: "of this gateway".to_owned(),
        reason: format!(
            "no answer within store_timeout = {patience:?}; a job may have been accepted all the \
             same, so send it again with its idempotency key"
        ),
    }
}
