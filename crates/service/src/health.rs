//! gRPC health and reflection, which every program answers.

use std::{pin::Pin, sync::Arc};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_check_response::ServingStatus,
    health_server::{self, HealthServer},
};

use crate::Services;

/// The health service: the status of the program ("") and of each service by name.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    serving: Arc<watch::Sender<bool>>,
    names: Arc<[String]>,
}

/// Path prefixes of health, and of both versions of reflection.
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/";
pub(crate) const REFLECTION: &str = "/grpc.reflection.";

/// Adds health, and reflection if there are descriptors.
pub(crate) fn add(mut served: Services) -> anyhow::Result<(Services, Health)> {
    let health = Health {
        serving: Arc::new(watch::Sender::new(true)),
        names: served.names.clone().into(),
    };
    served.routes = served.routes.add_service(HealthServer::new(health.clone()));
    if !served.descriptors.is_empty() {
        let v1 = reflection(&served)
            .build_v1()
            .context("build reflection v1")?;
        let v1alpha = reflection(&served)
            .build_v1alpha()
            .context("build reflection v1alpha")?;
        served.routes = served.routes.add_service(v1).add_service(v1alpha);
    }
    Ok((served, health))
}

/// Lists the services that are served: descriptor sets may describe others too.
fn reflection(served: &Services) -> tonic_reflection::server::Builder<'static> {
    let mut builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name("grpc.health.v1.Health")
        .with_service_name("grpc.reflection.v1.ServerReflection");
    for set in &served.descriptors {
        builder = builder.register_encoded_file_descriptor_set(set);
    }
    served
        .names
        .iter()
        .fold(builder, |builder, name| builder.with_service_name(name))
}

impl Health {
    /// Reports `SERVING`, to watchers too.
    pub(crate) fn serving(&self) {
        self.serving.send_replace(true);
    }

    /// Reports `NOT_SERVING`, to watchers too.
    pub(crate) fn not_serving(&self) {
        self.serving.send_replace(false);
    }

    fn knows(&self, service: &str) -> bool {
        let health = HEALTH.trim_matches('/');
        service.is_empty() || service == health || self.names.iter().any(|name| name == service)
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

const fn status(serving: bool) -> ServingStatus {
    if serving {
        ServingStatus::Serving
    } else {
        ServingStatus::NotServing
    }
}

type Watched = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        if !self.knows(&service) {
            return Err(Status::not_found(format!("`{service}` is not served here")));
        }
        Ok(Response::new(answer(status(*self.serving.borrow()))))
    }

    type WatchStream = Watched;

    /// An unknown service may appear later: health.proto asks for `SERVICE_UNKNOWN` and an open
    /// stream. The drain ends all watches.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Watched>, Status> {
        if !self.knows(&request.into_inner().service) {
            let unknown = tokio_stream::once(Ok(answer(ServingStatus::ServiceUnknown)));
            let open = unknown.chain(tokio_stream::pending());
            return Ok(Response::new(Box::pin(open)));
        }
        let changes = WatchStream::new(self.serving.subscribe());
        let changes = changes.map(|serving| Ok(answer(status(serving))));
        Ok(Response::new(Box::pin(changes)))
    }
}
