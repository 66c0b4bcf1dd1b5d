//! Whom a call goes to: `x-mesh-service`, else the id in the first message, else the authority,
//! else whoever announces the gRPC service.

use std::{sync::Arc, time::Duration};

use channel::Error;
use http::request::Parts;
use proto::error_info::{Reason, status};
use tonic::{Code, Status};

use crate::{
    directory::{Directory, DirectorySnapshot},
    scanner::Fields,
};

/// Names the service a call is for: a Consul name or a public id.
pub const SERVICE: &str = "x-mesh-service";
/// The session of a call whose messages carry none.
pub const SESSION: &str = "x-mesh-session";

/// What routing reads of a request's head, whatever carries it.
pub trait Head {
    /// `/pkg.Service/Method`.
    fn path(&self) -> &str;
    /// The authority, without its port.
    fn host(&self) -> Option<&str>;
    /// A metadata value.
    fn metadata(&self, key: &str) -> Option<&[u8]>;
}

impl Head for Parts {
    fn path(&self) -> &str {
        self.uri.path()
    }

    fn host(&self) -> Option<&str> {
        self.uri.authority().map(http::uri::Authority::host)
    }

    fn metadata(&self, key: &str) -> Option<&[u8]> {
        self.headers.get(key).map(http::HeaderValue::as_bytes)
    }
}

/// How a call finds its service.
#[derive(Clone, Copy, Debug)]
pub enum Route {
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
#[must_use]
pub fn route(head: &impl Head) -> Route {
    let path = head.path();
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

/// What is known of the mesh; a router that has just started waits for the registry's first answer.
///
/// # Errors
/// `UNAVAILABLE` when the registry has not answered within `patience`.
pub async fn wait_until_ready(
    directory: &Directory,
    patience: Duration,
) -> Result<Arc<DirectorySnapshot>, Status> {
    let snapshot = directory.snapshot();
    if snapshot.ready() {
        return Ok(snapshot);
    }
    let mut changes = directory.changes();
    let ready = changes.wait_for(|snapshot| snapshot.ready());
    match tokio::time::timeout(patience, ready).await {
        Ok(Ok(snapshot)) => Ok(Arc::clone(&snapshot)),
        _ => Err(Error::Undiscovered {
            waited: patience,
            trouble: directory
                .mesh()
                .discovery()
                .last_error()
                .map(|error| error.to_string()),
        }
        .status()),
    }
}

/// The service that an id names.
///
/// # Errors
/// `NOT_FOUND` when it names none.
pub fn by_id(snapshot: &DirectorySnapshot, id: &str) -> Result<Arc<str>, Status> {
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
pub fn by_metadata(snapshot: &DirectorySnapshot, head: &impl Head) -> Result<Arc<str>, Status> {
    if let Some(id) = metadata_text(head, SERVICE)? {
        return by_id(snapshot, id);
    }
    if let Some(service) = by_authority(snapshot, head) {
        return Ok(service);
    }
    by_grpc_service(snapshot, head.path())
}

/// The service that the authority names, without its port.
#[must_use]
pub fn by_authority(snapshot: &DirectorySnapshot, head: &impl Head) -> Option<Arc<str>> {
    let host = head.host()?;
    snapshot
        .by_id(host)
        .map(|service| Arc::clone(&service.name))
}

fn by_grpc_service(snapshot: &DirectorySnapshot, path: &str) -> Result<Arc<str>, Status> {
    let name = path.strip_prefix('/').unwrap_or(path);
    let name = name.split_once('/').map_or(name, |(name, _)| name);
    let candidates = snapshot.by_grpc_service(name);
    match candidates {
        [one] => Ok(Arc::clone(&one.name)),
        [] => Err(status(
            Code::Unimplemented,
            Reason::NoSuchGrpcService,
            format!("nobody in the mesh serves {name}"),
            [("grpc_service", name.to_owned())],
        )),
        many => {
            let names: Vec<&str> = many.iter().map(|service| &*service.name).collect();
            let names = names.join(", ");
            let message =
                format!("{name} is served by {names}: choose one with the metadata {SERVICE}");
            let about = [("grpc_service", name.to_owned()), ("candidates", names)];
            Err(status(
                Code::FailedPrecondition,
                Reason::AmbiguousService,
                message,
                about,
            ))
        }
    }
}

/// The refusal of a message that names nobody.
#[must_use]
pub fn missing_id(fields: &Fields) -> Status {
    let (_, field) = fields.id;
    let message = format!("{field} is missing or empty: it says whom the call is for");
    status(
        Code::InvalidArgument,
        Reason::MissingField,
        message,
        [("field", field.to_owned())],
    )
}

/// A metadata value, when there is one and it is not empty.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is not visible ASCII.
pub fn metadata_text<'a>(head: &'a impl Head, key: &str) -> Result<Option<&'a str>, Status> {
    let Some(value) = head.metadata(key) else {
        return Ok(None);
    };
    let visible = value.iter().all(|b| matches!(b, b' '..=b'~' | b'\t'));
    let text = std::str::from_utf8(value)
        .ok()
        .filter(|_| visible)
        .ok_or_else(|| {
            let message = format!("metadata {key} is not text");
            status(
                Code::InvalidArgument,
                Reason::BadMetadata,
                message,
                [("field", key.to_owned())],
            )
        })?;
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(path: &str, headers: &[(&'static str, &str)]) -> Parts {
        let mut request = http::Request::post(format!("http://localhost:50051{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn health_and_reflection_are_the_routers_own_whatever_the_metadata() {
        for path in [
            "/grpc.health.v1.Health/Check",
            "/grpc.reflection.v1.ServerReflection/Info",
        ] {
            assert!(
                matches!(route(&parts(path, &[(SERVICE, "x")])), Route::Local),
                "{path}"
            );
        }
    }

    #[test]
    fn metadata_comes_before_the_message() {
        let path = "/agentplatform.AgentService/ExecuteTask";
        assert!(matches!(route(&parts(path, &[])), Route::Message(_)));
        assert!(matches!(
            route(&parts(path, &[(SERVICE, "agent-echo")])),
            Route::Metadata
        ));
        let list = "/agentplatform.AgentService/ListAgents";
        assert!(matches!(route(&parts(list, &[])), Route::Local));
        assert!(matches!(
            route(&parts(list, &[(SERVICE, "agent-echo")])),
            Route::Metadata
        ));
    }

    #[test]
    fn any_other_method_is_forwarded() {
        assert!(matches!(
            route(&parts("/pkg.Service/Method", &[])),
            Route::Metadata
        ));
        assert!(matches!(
            route(&parts("/agentplatform.AgentService/New", &[])),
            Route::Metadata
        ));
    }
}
