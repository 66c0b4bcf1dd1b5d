//! The service of a call: `x-mesh-service`, else the id in the first message, else the authority,
//! else whoever announces the gRPC service.

use std::sync::Arc;

use directory::DirectorySnapshot;
use proto::error_info::{Reason, status};
use tonic::{Code, Status};

use super::{
    head::RequestHead,
    request::{SERVICE, metadata_text},
};
use crate::scanner::Fields;

/// How a call finds its service.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Route {
    /// The router answers it itself.
    Local,
    /// By metadata: nothing has to be read.
    Metadata,
    /// By the id in the first message.
    Message(&'static Fields),
}

/// Methods that are forwarded by the id in their first message.
const ROUTED_BY_MESSAGE: [(&str, &Fields); 4] = [
    (
        "/agentplatform.AgentService/ExecuteTask",
        &Fields::TASK_REQUEST,
    ),
    (
        "/agentplatform.AgentService/StreamTask",
        &Fields::TASK_REQUEST,
    ),
    (
        "/agentplatform.ToolService/ExecuteTool",
        &Fields::TOOL_REQUEST,
    ),
    (
        "/agentplatform.TaskWorker/ProcessTask",
        &Fields::TASK_REQUEST,
    ),
];

/// Methods that the router answers from all instances together, unless `x-mesh-service` names one.
const AGGREGATED: [&str; 6] = [
    "/agentplatform.AgentService/ListAgents",
    "/agentplatform.AgentService/RegisterAgent",
    "/agentplatform.ToolService/ListTools",
    "/agentplatform.ToolService/RegisterTool",
    "/agentplatform.TaskWorker/GetTaskStatus",
    "/agentplatform.TaskWorker/ListWorkers",
];

const GET_STATUS: &str = "/agentplatform.AgentService/GetStatus";

/// gRPC services that are the router's own on its port.
const LOCAL_SERVICES: [&str; 4] = [
    "/grpc.health.v1.Health/",
    "/grpc.reflection.v1.ServerReflection/",
    "/grpc.reflection.v1alpha.ServerReflection/",
    "/mesh.v1.MeshService/",
];

/// How the call with this head finds its service.
pub(crate) fn route(head: RequestHead<'_>) -> Route {
    let path = head.path();
    if !head.is_grpc() {
        return Route::Local;
    }
    if LOCAL_SERVICES.iter().any(|prefix| path.starts_with(prefix)) {
        return Route::Local;
    }
    if path == GET_STATUS {
        // Of a service it is the sum over all instances, by whichever way the service is named.
        return Route::Local;
    }
    if head.metadata(SERVICE).is_some() {
        return Route::Metadata;
    }
    if AGGREGATED.contains(&path) {
        return Route::Local;
    }
    let message = ROUTED_BY_MESSAGE.iter().find(|(method, _)| *method == path);
    message.map_or(Route::Metadata, |(_, fields)| Route::Message(fields))
}

/// The service that an id names.
///
/// # Errors
/// `NOT_FOUND` when it names none.
pub(crate) fn by_id(snapshot: &DirectorySnapshot, id: &str) -> Result<Arc<str>, Status> {
    snapshot.by_id(id).map(|service| Arc::clone(&service.name)).ok_or_else(|| {
        let message = format!("`{id}` names no service of the mesh; `ListAgents`, `ListTools` and `ListWorkers` tell who is there");
        status(Code::NotFound, Reason::NoSuchService, message, [("id", id.to_owned())])
    })
}

/// The service that metadata names, or that announces the gRPC service of the path.
///
/// # Errors
/// `NOT_FOUND` for an `x-mesh-service` that names none, `FAILED_PRECONDITION` when several
/// announce the gRPC service, `UNIMPLEMENTED` when nobody does.
pub(crate) fn by_metadata(
    snapshot: &DirectorySnapshot,
    head: RequestHead<'_>,
) -> Result<Arc<str>, Status> {
    if let Some(id) = metadata_text(head, SERVICE)? {
        return by_id(snapshot, id);
    }
    if let Some(service) = by_host(snapshot, head.host()) {
        return Ok(service);
    }
    by_grpc_service(snapshot, head.path())
}

/// The service that an authority without its port names.
pub(crate) fn by_host(snapshot: &DirectorySnapshot, host: Option<&str>) -> Option<Arc<str>> {
    snapshot
        .by_id(host?)
        .map(|service| Arc::clone(&service.name))
}

fn by_grpc_service(snapshot: &DirectorySnapshot, path: &str) -> Result<Arc<str>, Status> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.split_once('/').map_or(name, |(name, _)| name);
    let candidates = snapshot.by_grpc_service(name);
    match candidates {
        [one] => Ok(Arc::clone(&one.name)),
        [] => {
            let message = format!("nobody in the mesh serves {name}");
            let facts = [("grpc_service", name.to_owned())];
            Err(status(
                Code::Unimplemented,
                Reason::NoSuchGrpcService,
                message,
                facts,
            ))
        }
        many => {
            let names: Vec<&str> = many.iter().map(|service| &*service.name).collect();
            let names = names.join(", ");
            let message =
                format!("{name} is served by {names}: choose one with the metadata {SERVICE}");
            let facts = [("grpc_service", name.to_owned()), ("candidates", names)];
            Err(status(
                Code::FailedPrecondition,
                Reason::AmbiguousService,
                message,
                facts,
            ))
        }
    }
}

/// The status of a message without an id.
pub(crate) fn missing_id(fields: &Fields) -> Status {
    let (_, field) = fields.id;
    let message = format!("{field} is missing or empty: it says whom the call is for");
    let facts = [("field", field.to_owned())];
    status(Code::InvalidArgument, Reason::MissingField, message, facts)
}

#[cfg(test)]
mod tests {
    use mesh_relay::hpack::Block;

    use super::*;

    const EXECUTE: &str = "/agentplatform.AgentService/ExecuteTask";
    const LIST: &str = "/agentplatform.AgentService/ListAgents";

    #[test]
    fn a_path_and_its_metadata_tell_how_the_service_is_found() {
        for (path, service, expected) in [
            ("/grpc.health.v1.Health/Check", Some("x"), "local"),
            (
                "/grpc.reflection.v1.ServerReflection/Info",
                Some("x"),
                "local",
            ),
            ("/mesh.v1.MeshService/ListInstances", None, "local"),
            ("/agentplatform.AgentService/GetStatus", Some("x"), "local"),
            (EXECUTE, None, "message"),
            (EXECUTE, Some("agent-echo"), "metadata"),
            (LIST, None, "local"),
            (LIST, Some("agent-echo"), "metadata"),
            ("/pkg.Service/Method", None, "metadata"),
            ("/agentplatform.AgentService/New", None, "metadata"),
            ("/readyz", None, "local"),
        ] {
            let mut block = Block::new();
            block.push(b":method", b"POST");
            block.push(b":path", path.as_bytes());
            block.push(b"content-type", b"application/grpc");
            if let Some(service) = service {
                block.push(SERVICE.as_bytes(), service.as_bytes());
            }
            let found = match route(RequestHead::new(&block)) {
                Route::Local => "local",
                Route::Metadata => "metadata",
                Route::Message(_) => "message",
            };
            assert_eq!(found, expected, "{path} {service:?}");
        }
    }
}
