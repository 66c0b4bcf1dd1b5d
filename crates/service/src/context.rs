//! The context that a service is built from.

use std::{sync::Arc, time::Instant};

use discovery::ServiceKind;
use http::{HeaderMap, StatusCode};
use proto::{
    agentplatform::StatusResponse,
    error_info::{self, Reason},
};
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Code, Status};

use crate::{
    ActiveTasks, Conditions, Reload, Spec, ToolSettings,
    answers::Answer,
    config::Config,
    keys::ChassisKeys,
    scrape::Scrapes,
    settings::LiveSettings,
    web_policy::{WebKeys, WebPolicy},
};

/// One running instance, as its service sees it.
#[derive(Clone, Debug)]
pub struct Context {
    /// The program's description.
    pub spec: Spec,
    /// Consul service ID of this instance.
    pub instance_id: String,
    /// The advertised `host:port`.
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
    /// Its metrics.
    pub registry: telemetry::MetricsRegistry,
    /// Answers the scrapes of its metrics.
    pub(crate) scrapes: Arc<Scrapes>,
    /// The disks that it writes to, for its metrics.
    pub disks: telemetry::Disks,
    /// Measures the threads that it runs beside its runtime.
    pub loop_lag: crate::LoopLag,
    /// Its health conditions, for `/readyz` and `/health`.
    pub conditions: Conditions,
    /// Owns its background tasks; the drain waits for them after `shutdown`.
    pub tracker: TaskTracker,
    /// Cancelled when the drain begins: take no new work of your own.
    pub draining: CancellationToken,
    /// Tells when to read files again (SIGHUP).
    pub reload: Reload,
    /// Cancelled when the drain's time is over: calls that are left are cut.
    pub(crate) cut: CancellationToken,
    /// Cancelled after the last call: background tasks end now.
    pub shutdown: CancellationToken,
}

impl Context {
    /// The id by which clients call its service, such as `echo-agent`.
    #[must_use]
    pub fn public_id(&self) -> String {
        let service = self.spec.service;
        self.spec
            .kind
            .public_id(service)
            .unwrap_or_else(|| service.to_owned())
    }

    /// Whether the filter of a `List*` request matches this service. It is a tag or an id, compared
    /// without case; an empty one matches all.
    #[must_use]
    pub fn matches(&self, filter: &str) -> bool {
        let is = |name: &str| name.eq_ignore_ascii_case(filter.trim());
        filter.trim().is_empty()
            || self.spec.tags.iter().any(|tag| is(tag))
            || is(&self.public_id())
            || is(self.spec.service)
            || is(&self.instance_id)
    }

    /// What `/readyz` answers: 404 while it drains, 503 while a condition hinders it, else 200.
    #[must_use]
    pub fn readiness(&self) -> (StatusCode, String) {
        if self.draining.is_cancelled() {
            return (StatusCode::NOT_FOUND, "draining".to_owned());
        }
        self.conditions.readiness()
    }

    /// The answer to a scrape of its metrics with these headers: in the format and the encoding that
    /// they prefer.
    pub async fn scrape(&self, headers: &HeaderMap) -> Answer {
        self.scrapes.answer(headers).await
    }

    /// The answer to `GetStatus` of an agent with these tasks.
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

    /// The answer to `RegisterAgent` and `RegisterTool`, which only routers serve.
    #[must_use]
    pub fn no_registrar(&self) -> Status {
        let kind = self.spec.kind.name();
        let article = match self.spec.kind {
            ServiceKind::Agent => "an",
            _ => "a",
        };
        let message =
            format!("{article} {kind} registers itself with Consul, not with another {kind}");
        error_info::status(Code::Unimplemented, Reason::RegisterWithConsul, message, [])
    }

    /// Which requests of web pages its HTTP ports answer.
    #[must_use]
    pub fn web_policy(&self) -> WebPolicy {
        WebPolicy::new(&self.endpoint, &WebKeys::from_config(&self.config))
    }

    /// Which methods of a service are tools, where its instances announce `meta`. For programs with the keys
    /// [`crate::TOOLS`].
    #[must_use]
    pub fn tool_settings(&self, service: &str, meta: &channel::Meta<'_>) -> ToolSettings {
        ToolSettings::from_config(&self.settings.of(service, meta))
    }

    /// Changes whenever settings of services may have changed.
    #[must_use]
    pub fn settings_changes(&self) -> watch::Receiver<u64> {
        channel::ServiceConfig::changes(&*self.settings)
    }

    /// The limits for [`crate::with_call_limits`].
    #[must_use]
    pub fn call_limits(&self) -> crate::CallLimits {
        crate::CallLimits {
            message_bytes: self.max_message_bytes(),
            idle: self.keys.connections.body_timeout,
        }
    }

    /// The largest message in bytes, for `max_decoding_message_size` of tonic's servers.
    #[must_use]
    pub fn max_message_bytes(&self) -> usize {
        self.keys.messages.max_message_bytes
    }
}
