//! Gets the forecast from a weather tool of the mesh.

use std::time::Duration;

use agentkit::Toolbox;
use chrono::NaiveDate;

use crate::forecast::{Forecast, Forecaster, Unavailable};

/// Asks any healthy instance of one Consul service.
#[derive(Debug)]
pub(crate) struct MeshForecaster {
    service: String,
    toolbox: Toolbox,
}

impl MeshForecaster {
    /// A client of the Consul service `service` that waits at most `timeout` for an answer.
    pub(crate) fn new(mesh: channel::Mesh, service: &str, timeout: Duration) -> Self {
        // The registry is watched from now on: the first task does not wait for it.
        mesh.prepare(service);
        Self {
            service: service.to_owned(),
            toolbox: Toolbox::new(mesh, vec![service.to_owned()], "", timeout),
        }
    }
}

#[async_trait::async_trait]
impl Forecaster for MeshForecaster {
    async fn forecast(
        &self,
        location: &str,
        start: NaiveDate,
        days: u8,
    ) -> Result<Forecast, Unavailable> {
        let parameters = [
            ("location", location.to_owned()),
            ("days", days.to_string()),
            ("start_date", start.to_string()),
        ];
        let call = self.toolbox.call(&self.service, "get_forecast", parameters);
        let result = call.await.map_err(|error| Unavailable(error.to_string()))?;
        Forecast::parse(&result)
    }
}
