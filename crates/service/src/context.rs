//! What a service is given to build itself from.

use std::{sync::Arc, time::Instant};

use discovery::ServiceKind;
use proto::{agentplatform::StatusResponse, error_info};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use crate::{ActiveTasks, Conditions, Reload, Spec, config::Config, keys::ChassisKeys, settings::LiveSettings};

/// One running instance, as its own code sees it.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the program says of itself.
    pub spec: Spec,
    /// Consul service ID of this instance.
    pub instance_id: String,
    /// `host:port` as announced.
    pub endpoint: String,
    /// When it started.
    pub started: Instant,
    /// The effective configuration, for the keys of the service itself.
    pub config: Arc<Config>,
    /// The keys of the chassis.
    pub keys: Arc<ChassisKeys>,
    /// The registry of instances.
    pub discovery: Arc<dyn discovery::Discovery>,
    /// The settings of the services that it calls.
    pub(crate) settings: Arc<LiveSettings>,
    /// Calls other services.
    pub mesh: channel::Mesh,
    /// Where its metrics are registered.
    pub registry: telemetry::MetricsRegistry,
    /// What it needs and what does not work of it now, for `/readyz` and `/health`.
    pub conditions: Conditions,
    /// Owns its background tasks; the drain waits for them after `shutdown`.
    pub tracker: TaskTracker,
    /// Cancelled when the drain begins: stop taking new work on your own account.
    pub draining: CancellationToken,
    /// Tells when files are to be read again.
    pub reload: Reload,
    /// Cancelled when the last call is over: background tasks end now.
    pub shutdown: CancellationToken,
}

impl Context {
    /// What clients call its service, such as `echo-agent`.
    #[must_use]
    pub fn public_id(&self) -> String {
        let service = self.spec.service;
        self.spec
            .kind
            .public_id(service)
            .unwrap_or_else(|| service.to_owned())
    }

    /// Whether the filter of a `List*` request means this service: an exact tag or id, whatever
    /// its case; an empty one means all.
    #[must_use]
    pub fn matches(&self, filter: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(filter.trim());
        filter.trim().is_empty()
            || self.spec.tags.iter().any(|tag| is(tag))
            || is(&self.public_id())
            || is(self.spec.service)
            || is(&self.instance_id)
    }

    /// The answer of an agent that is busy with those tasks to `GetStatus`.
    #[must_use]
    pub fn status(&self, tasks: &ActiveTasks) -> StatusResponse {
        let uptime = self.started.elapsed().as_secs();
        StatusResponse {
            agent_id: self.instance_id.clone(),
            status: "healthy".to_owned(),
            active_tasks: tasks.count(),
            uptime_seconds: i64::try_from(uptime).unwrap_or(i64::MAX),
        }
    }

    /// The answer to `RegisterAgent` and `RegisterTool`, which are for routers to serve.
    #[must_use]
    pub fn no_registrar(&self) -> Status {
        let kind = self.spec.kind.name();
        let article = match self.spec.kind {
            ServiceKind::Agent => "an",
            _ => "a",
        };
        let message =
            format!("{article} {kind} registers itself with Consul, not with another {kind}");
        error_info::status(Code::Unimplemented, "REGISTER_WITH_CONSUL", message, [])
    }

    /// What [`crate::with_call_limits`] lets through.
    #[must_use]
    pub fn call_limits(&self) -> crate::CallLimits {
        crate::CallLimits {
            message_bytes: self.max_message_bytes(),
            idle: self.keys.connections.body_timeout,
        }
    }

    /// The largest message a service takes, for `max_decoding_message_size` of tonic's servers.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.keys.messages.max_message_bytes
    }
}
