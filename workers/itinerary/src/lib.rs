//! The itinerary worker: plans days in a city from its sights, the caller's interests and the
//! weather, which it asks of the mesh.
//!
//! A task reads `worker` → [`trip_request`] → [`plan`](mod@plan) → [`planner`] → `schedule`.

mod error;
pub mod forecast;
pub mod guide;
mod mesh_forecaster;
pub mod plan;
pub mod planner;
mod schedule;
pub mod trip_request;
mod worker;

use service::{Context, Key, Services, Spec};

use crate::{guide::Guide, mesh_forecaster::MeshForecaster, worker::Itinerary};

pub use error::Error;

/// The names, tags, port and keys of the itinerary worker.
pub const SPEC: Spec = Spec {
    program: "itinerary-worker",
    service: "worker-itinerary",
    tags: &["worker", "itinerary", "planning"],
    default_port: 50054,
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
    ..agentkit::WORKER
};

/// Builds the service of one instance.
///
/// # Errors
/// When the embedded guide cannot be read.
pub fn build(context: &Context) -> anyhow::Result<Services> {
    let config = &context.config;
    let forecaster = MeshForecaster::new(
        context.mesh.clone(),
        config.text("weather_service"),
        config.duration("weather_timeout"),
    );
    let guide = Guide::embedded()?;
    let about = worker::about(&guide);
    let worker = Itinerary { guide, forecaster };
    Ok(agentkit::serve_worker(context, about, worker))
}
