//! What the router answers itself: of `agentplatform` lists, status and registration; `mesh.v1`;
//! reflection.
//!
//! The methods that execute something are forwarded before they come here, as bytes.

use std::sync::Arc;

use directory::{Directory, DirectorySnapshot, list};
use proto::agentplatform::{
    AgentInfo, ListAgentsRequest, ListAgentsResponse, ListToolsRequest, ListToolsResponse,
    ListWorkersRequest, ListWorkersResponse, RegistrationResponse, StatusRequest, StatusResponse,
    TaskChunk, TaskRequest, TaskResponse, TaskStatusRequest, TaskStatusResponse, ToolInfo,
    ToolRequest, ToolResponse,
    agent_service_server::{AgentService, AgentServiceServer},
    task_worker_server::{TaskWorker, TaskWorkerServer},
    tool_service_server::{ToolService, ToolServiceServer},
};
use proto::error_info::{self, Reason};
use proto::mesh::v1::{
    ListInstancesRequest, ListInstancesResponse,
    mesh_service_server::{MeshService, MeshServiceServer},
};
use tonic::{Code, Request, Response, Status, service::Routes};

use crate::{
    instances,
    reflection::Reflection,
    registration::{Candidate, RegistrationHandler},
    routing::{request::SERVICE, route},
    status,
    tasks::TaskLocations,
};

/// The router's own services.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    directory: Arc<Directory>,
    tasks: Arc<TaskLocations>,
    registration: Arc<RegistrationHandler>,
}

/// Everything the router answers itself except health, ready to be served: the three services of
/// `agentplatform`, `mesh.v1`, and reflection v1 and v1alpha for the whole mesh.
///
/// # Errors
/// When the descriptors built into this program cannot be read.
pub(crate) fn routes(
    directory: Arc<Directory>,
    tasks: Arc<TaskLocations>,
    registration: Arc<RegistrationHandler>,
) -> Result<Routes, prost::DecodeError> {
    let reflection = Reflection::new(Arc::clone(&directory))?;
    let control = Control {
        directory,
        tasks,
        registration,
    };
    Ok(Routes::new(AgentServiceServer::new(control.clone()))
        .add_service(ToolServiceServer::new(control.clone()))
        .add_service(TaskWorkerServer::new(control.clone()))
        .add_service(MeshServiceServer::new(control))
        .add_service(reflection.v1())
        .add_service(reflection.v1alpha())
        .prepare())
}

impl Control {
    /// What is known of the mesh, once the registry has answered.
    async fn snapshot(&self) -> Result<Arc<DirectorySnapshot>, Status> {
        let limit = self.directory.mesh().options().queue_timeout;
        self.directory.ready_snapshot(limit).await
    }

    async fn register(
        &self,
        candidate: Candidate,
    ) -> Result<Response<RegistrationResponse>, Status> {
        let snapshot = self.directory.snapshot();
        let registered = self.registration.register(candidate, &snapshot).await;
        registered.map(Response::new)
    }
}

#[tonic::async_trait]
impl AgentService for Control {
    async fn execute_task(
        &self,
        _: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        Err(forwarded("ExecuteTask"))
    }

    type StreamTaskStream = tokio_stream::Empty<Result<TaskChunk, Status>>;

    async fn stream_task(
        &self,
        _: Request<TaskRequest>,
    ) -> Result<Response<Self::StreamTaskStream>, Status> {
        Err(forwarded("StreamTask"))
    }

    async fn get_status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let named = request.metadata().get(SERVICE);
        let named = named.and_then(|name| name.to_str().ok());
        let id = named.unwrap_or(&request.get_ref().agent_id);
        let snapshot = self.snapshot().await?;
        status::of_service(self.directory.mesh(), &snapshot, id).await
    }

    async fn register_agent(
        &self,
        request: Request<AgentInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        self.register(request.into_inner().into()).await
    }

    async fn list_agents(
        &self,
        request: Request<ListAgentsRequest>,
    ) -> Result<Response<ListAgentsResponse>, Status> {
        let snapshot = self.snapshot().await?;
        let agents = list(&self.directory, &snapshot, &request.get_ref().filter).await;
        Ok(Response::new(ListAgentsResponse { agents }))
    }
}

#[tonic::async_trait]
impl ToolService for Control {
    async fn execute_tool(
        &self,
        _: Request<ToolRequest>,
    ) -> Result<Response<ToolResponse>, Status> {
        Err(forwarded("ExecuteTool"))
    }

    async fn list_tools(
        &self,
        request: Request<ListToolsRequest>,
    ) -> Result<Response<ListToolsResponse>, Status> {
        let snapshot = self.snapshot().await?;
        let tools = list(&self.directory, &snapshot, &request.get_ref().filter).await;
        Ok(Response::new(ListToolsResponse { tools }))
    }

    async fn register_tool(
        &self,
        request: Request<ToolInfo>,
    ) -> Result<Response<RegistrationResponse>, Status> {
        self.register(request.into_inner().into()).await
    }
}

#[tonic::async_trait]
impl TaskWorker for Control {
    async fn process_task(
        &self,
        _: Request<TaskRequest>,
    ) -> Result<Response<TaskResponse>, Status> {
        Err(forwarded("ProcessTask"))
    }

    async fn get_task_status(
        &self,
        request: Request<TaskStatusRequest>,
    ) -> Result<Response<TaskStatusResponse>, Status> {
        let snapshot = self.snapshot().await?;
        let task = &request.get_ref().task_id;
        status::of_task(self.directory.mesh(), &snapshot, &self.tasks, task).await
    }

    async fn list_workers(
        &self,
        request: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let snapshot = self.snapshot().await?;
        let workers = list(&self.directory, &snapshot, &request.get_ref().filter).await;
        Ok(Response::new(ListWorkersResponse { workers }))
    }
}

#[tonic::async_trait]
impl MeshService for Control {
    async fn list_instances(
        &self,
        request: Request<ListInstancesRequest>,
    ) -> Result<Response<ListInstancesResponse>, Status> {
        let snapshot = self.snapshot().await?;
        let id = &request.get_ref().service;
        let only = match id.as_str() {
            "" => None,
            id => Some(route::by_id(&snapshot, id)?),
        };
        let mesh = self.directory.mesh();
        let instances = instances::list(mesh, &snapshot, only.as_deref());
        let routers = match only {
            None => instances::routers(mesh, &crate::SPEC).await,
            Some(_) => Vec::new(),
        };
        Ok(Response::new(ListInstancesResponse { instances, routers }))
    }
}

fn forwarded(method: &str) -> Status {
    let message = format!("{method} is for a service behind the router: name one");
    error_info::status(Code::Unimplemented, Reason::NotTheRouters, message, [])
}

#[cfg(test)]
mod tests;
