//! How long a call takes, with all its attempts, until its status.

use std::{sync::Arc, time::Duration};

use telemetry::{TraceContext, tracing_enabled};
use tokio::time::Instant;
use tonic::Code;

use crate::cluster_client::ClusterClient;

/// A call that has begun. Dropped before its status is known, it was cancelled.
pub(crate) struct CallTimer {
    client: Arc<ClusterClient>,
    /// `/pkg.Service/Method`.
    path: String,
    began: Instant,
    /// The trace that it belongs to, where that is recorded.
    trace: Option<TraceContext>,
    ended: bool,
}

impl CallTimer {
    pub(crate) fn start(client: &Arc<ClusterClient>, path: &str) -> Self {
        Self {
            client: Arc::clone(client),
            path: path.to_owned(),
            began: Instant::now(),
            trace: TraceContext::current().filter(|it| it.sampled && tracing_enabled()),
            ended: false,
        }
    }

    /// Counts the call with its gRPC status code, once.
    pub(crate) fn end(&mut self, code: i32) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let cluster = &self.client.cluster;
        let service = cluster.had_instances().then(|| &**cluster.service());
        let took: Duration = self.began.elapsed();
        let calls = &self.client.metrics.calls;
        calls.observe(service, &self.path, code, took, self.trace);
    }
}

impl Drop for CallTimer {
    fn drop(&mut self) {
        self.end(Code::Cancelled.into());
    }
}
