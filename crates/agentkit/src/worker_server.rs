//! A worker as an `agentplatform.TaskWorker`.

use std::{sync::Arc, time::Instant};

use proto::agentplatform::{
    ListWorkersRequest, ListWorkersResponse, TaskRequest, TaskResponse, TaskStatusRequest,
    TaskStatusResponse,
    task_worker_server::{TaskWorker, TaskWorkerServer},
};
use service::{Context, Services};
use tonic::{Request, Response, Status};

use crate::{
    About, Task, Worker,
    status_board::{StatusBoard, TaskState},
    task::respond,
};

struct WorkerServer {
    context: Context,
    about: About,
    worker: Arc<dyn Worker>,
    board: StatusBoard,
}

/// Serves `worker` as an `agentplatform.TaskWorker` that lists itself as `about` says.
#[must_use]
pub fn serve(context: &Context, about: About, worker: impl Worker) -> Services {
    let server = TaskWorkerServer::new(WorkerServer {
        context: context.clone(),
        about,
        worker: Arc::new(worker),
        board: StatusBoard::default(),
    });
    Services::new()
        .service(server.max_decoding_message_size(context.max_message_bytes()))
        .descriptors(proto::DESCRIPTORS)
}

#[async_trait::async_trait]
impl TaskWorker for WorkerServer {
    async fn process_task(
        &self,
        request: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        let task = Task::from(request.into_inner());
        let handle = self.board.begin(&task.id, Instant::now());
        let result = self.worker.run(&task, &handle).await;
        handle.finish(match &result {
            Ok(outcome) => Ok(&outcome.output),
            Err(error) => Err(error.to_string()),
        });
        let facts = [("worker_id", self.context.instance_id.clone())];
        respond(task, facts, result)
    }

    async fn get_task_status(
        &self,
        request: Request<TaskStatusRequest>,
    ) -> Result<Response<TaskStatusResponse>, Status> {
        let task_id = request.into_inner().task_id;
        let state = self.board.state(&task_id, Instant::now());
        let parts = state.as_ref().map(TaskState::parts);
        let (status, percent, result) = parts.unwrap_or(("unknown", 0, ""));
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
        let worker = listed.then(|| self.about.worker(&self.context));
        Ok(Response::new(ListWorkersResponse {
            workers: worker.into_iter().collect(),
        }))
    }
}
