//! The gRPC service of the itinerary worker.

use std::{collections::HashMap, fmt, sync::Arc, time::Instant};

use chrono::Utc;
use proto::agentplatform::{
    ListWorkersRequest, ListWorkersResponse, TaskRequest, TaskResponse, TaskStatusRequest,
    TaskStatusResponse, task_worker_server::TaskWorker,
};
use service::Context;
use tonic::{Request, Response, Status};

use crate::{
    Error,
    forecast::Forecaster,
    guide::Guide,
    info,
    plan::plan,
    status_board::{StatusBoard, TaskHandle},
    trip_request::TripRequest,
};

/// One instance of the worker.
pub(crate) struct Worker {
    context: Context,
    guide: Guide,
    forecaster: Arc<dyn Forecaster>,
    board: StatusBoard,
}

/// A finished plan, and what the metadata tells of it.
struct Done {
    output: String,
    destination: &'static str,
    days: u8,
}

impl Worker {
    pub(crate) fn new(context: Context, guide: Guide, forecaster: Arc<dyn Forecaster>) -> Self {
        Self {
            context,
            guide,
            forecaster,
            board: StatusBoard::default(),
        }
    }

    async fn work(
        &self,
        parameters: &HashMap<String, String>,
        handle: &TaskHandle,
    ) -> Result<Done, Error> {
        let trip = TripRequest::parse(parameters, &self.guide, Utc::now().date_naive())?;
        let output = plan(&trip, &*self.forecaster, handle).await?;
        Ok(Done {
            output,
            destination: trip.city.name,
            days: trip.days,
        })
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Worker")
            .field("guide", &self.guide)
            .finish_non_exhaustive()
    }
}

#[async_trait::async_trait]
impl TaskWorker for Worker {
    async fn process_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        let TaskRequest {
            task_id,
            session_id,
            parameters,
            ..
        } = request.into_inner();
        let handle = self.board.begin(&task_id, Instant::now());
        let mut response = TaskResponse {
            task_id,
            session_id,
            ..TaskResponse::default()
        };
        let worker_id = self.context.instance_id.clone();
        response.metadata.insert("worker_id".to_owned(), worker_id);
        match self.work(&parameters, &handle).await {
            Ok(done) => {
                handle.finish(Ok(&done.output));
                let told = [
                    ("destination", done.destination.to_owned()),
                    ("days", done.days.to_string()),
                ];
                response
                    .metadata
                    .extend(told.map(|(key, value)| (key.to_owned(), value)));
                response.success = true;
                response.output = done.output;
            }
            Err(error) => {
                response.error = error.to_string();
                handle.finish(Err(response.error.clone()));
            }
        }
        Ok(Response::new(response))
    }

    async fn get_task_status(
        &self,
        request: Request<TaskStatusRequest>,
    ) -> Result<Response<TaskStatusResponse>, Status> {
        let task_id = request.into_inner().task_id;
        let state = self.board.state(&task_id, Instant::now());
        let (status, percent, result) = match &state {
            Some(state) => (state.name(), state.percent(), state.result()),
            None => ("unknown", 0, ""),
        };
        Ok(Response::new(TaskStatusResponse {
            task_id,
            status: status.to_owned(),
            progress: format!("{percent}%"),
            result: result.to_owned(),
        }))
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let listed = self.context.matches(&request.get_ref().filter);
        let workers = listed
            .then(|| info::info(&self.context, &self.guide))
            .into_iter()
            .collect();
        Ok(Response::new(ListWorkersResponse { workers }))
    }
}
