//! The forecast, asked of a weather tool through the mesh.

use std::time::Duration;

use chrono::NaiveDate;
use proto::agentplatform::{ToolRequest, tool_service_client::ToolServiceClient};
use tokio::time::timeout;
use tonic::Request;

use crate::forecast::{Forecast, Forecaster, Unavailable};

/// Asks any healthy instance of one Consul service.
#[derive(Debug)]
pub(crate) struct MeshForecaster {
    mesh: channel::Mesh,
    service: String,
    deadline: Duration,
}

impl MeshForecaster {
    /// A client of the Consul service `service` that waits at most `deadline` for an answer.
    pub(crate) fn new(mesh: channel::Mesh, service: &str, deadline: Duration) -> Self {
        // Watched from now on, so that the first task does not wait for the registry.
        mesh.prepare(service);
        Self {
            mesh,
            service: service.to_owned(),
            deadline,
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
        let mut request = Request::new(ToolRequest {
            tool_id: self.service.clone(),
            operation: "get_forecast".to_owned(),
            parameters: parameters
                .map(|(key, value)| (key.to_owned(), value))
                .into(),
            session_id: String::new(),
        });
        // The tool and whatever it asks learn the deadline too.
        request.set_timeout(self.deadline);
        let mut client = ToolServiceClient::new(self.mesh.channel(&self.service));
        let answer = timeout(self.deadline, client.execute_tool(request)).await;
        let name = &self.service;
        let answer = answer
            .map_err(|_| Unavailable(format!("{name} did not answer within {:?}", self.deadline)))?
            .map_err(|status| Unavailable(format!("{name}: {}", status.message())))?
            .into_inner();
        if !answer.success {
            return Err(Unavailable(format!("{name}: {}", answer.error)));
        }
        Forecast::parse(&answer.result)
    }
}
