//! The itinerary worker: plans days in a city from its sights, the caller's interests and the
//! weather, which it asks of the mesh.
//!
//! A task reads `worker` → [`trip_request`] → [`plan`](mod@plan) → [`planner`] → `schedule`; [`status_board`]
//! says how far it is.

pub mod status_board;
pub mod trip_request;
mod error;
pub mod forecast;
pub mod guide;
mod info;
mod mesh_forecaster;
pub mod plan;
pub mod planner;
mod schedule;
mod worker;

use std::sync::Arc;

use proto::agentplatform::task_worker_server::TaskWorkerServer;
use service::{Context, Key, ServiceKind, Services, Spec};

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
    keys: &[
        Key::text(
            "weather_service",
            "tool-weather",
            "Consul service that is asked for forecasts",
        ),
        Key::duration(
            "weather_timeout",
            "2s",
            "longest wait for a forecast before planning without",
        ),
    ],
};

/// Builds the service of one instance.
///
/// # Errors
/// When the embedded guide cannot be read.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let weather = MeshForecaster::new(
        context.mesh.clone(),
        config.text("weather_service"),
        config.duration("weather_timeout"),
    );
    let worker = Worker::new(context.clone(), Guide::embedded()?, Arc::new(weather));
    let server = TaskWorkerServer::new(worker);
    Ok(Services::new()
        .service(server.max_decoding_message_size(context.max_message_bytes()))
        .descriptors(proto::DESCRIPTORS))
}
