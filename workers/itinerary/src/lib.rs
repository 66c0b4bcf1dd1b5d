//! The itinerary worker: plans days in a city from its sights, the caller's interests and the
//! weather, which it asks of the mesh.
//!
//! A task goes through `worker`, `trip_request`, `plan`, `planner` and `schedule`.

mod error;
mod forecast;
mod guide;
mod mesh_forecaster;
mod plan;
mod planner;
mod schedule;
mod trip_request;
mod worker;

use std::time::Duration;

use config::{duration, keys, text};
use service::{Context, Services, Spec};

use error::Error;
use guide::Guide;
use mesh_forecaster::MeshForecaster;
use worker::Itinerary;

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
    keys: &[service::GRPC, service::CALLS, &[ForecastKeys::GROUP]],
    ..agentkit::WORKER
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
    let (service, timeout) = (&keys.weather_service, keys.weather_timeout);
    let forecaster = MeshForecaster::new(context.mesh.clone(), service, timeout);
    let guide = Guide::embedded()?;
    let about = worker::about(&guide);
    let worker = Itinerary { guide, forecaster };
    Ok(agentkit::serve_worker(context, about, worker))
}
