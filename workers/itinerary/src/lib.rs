//! The itinerary worker: plans days in a city from its sights, the caller's interests and the
//! weather, which it asks of the mesh.
//!
//! A task reads `worker` → [`trip_request`] → [`plan`](mod@plan) → [`planner`] → `schedule`; [`status_board`]
//! says how far it is.

mod error;
pub mod forecast;
pub mod guide;
mod info;
mod mesh_forecaster;
pub mod plan;
pub mod planner;
mod schedule;
pub mod status_board;
pub mod trip_request;
mod worker;

use std::{sync::Arc, time::Duration};

use config::{duration, keys, text};
use proto::agentplatform::task_worker_server::TaskWorkerServer;
use service::{Context, ServiceKind, Services, Spec};

use crate::{guide::Guide, mesh_forecaster::MeshForecaster, worker::Worker};

pub use error::Error;

/// What the itinerary worker says of itself.
pub const SPEC: Spec = Spec {
    program: "itinerary-worker",
    service: "worker-itinerary",
    kind: ServiceKind::Worker,
    tags: &["worker", "itinerary", "planning"],
    port_env: "WORKER_PORT",
    default_port: 50054,
    version: env!("CARGO_PKG_VERSION"),
    about: "The itinerary worker: plans days in a city around its weather",
    idempotent: &[
        "agentplatform.TaskWorker/ProcessTask",
        "agentplatform.TaskWorker/GetTaskStatus",
        "agentplatform.TaskWorker/ListWorkers",
    ],
    keys: &[service::GRPC, service::CALLS, &[ForecastKeys::GROUP]],
};

keys! {
    /// The itinerary worker.
    #[derive(Clone, Debug)]
    pub(crate) struct ForecastKeys: "Itinerary worker" {
        /// Consul service that is asked for forecasts.
        weather_service: String = text("tool-weather"),
        /// Longest wait for a forecast before the days are planned without it.
        weather_timeout: Duration = duration("2s").zero("they are planned without it"),
    }
}

/// Builds the service of one instance.
///
/// # Errors
/// When the embedded guide cannot be read.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let keys = ForecastKeys::from_config(&context.config);
    let weather = MeshForecaster::new(
        context.mesh.clone(),
        &keys.weather_service,
        keys.weather_timeout,
    );
    let worker = Worker::new(context.clone(), Guide::embedded()?, Arc::new(weather));
    let server = TaskWorkerServer::new(worker);
    Ok(Services::new()
        .service(server.max_decoding_message_size(context.max_message_bytes()))
        .descriptors(proto::DESCRIPTORS))
}
