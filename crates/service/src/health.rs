//! gRPC health and reflection, which every program answers.

use anyhow::Context as _;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::Served;

/// What the health service tells: of the whole ("") and of each service by name.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    reporter: HealthReporter,
    names: Vec<String>,
}

/// Path prefixes of health, and of reflection in both versions.
pub(crate) const HEALTH: &str = "/grpc.health.v1.Health/";
pub(crate) const REFLECTION: &str = "/grpc.reflection.";

/// Adds health, and reflection where there are descriptors for it.
pub(crate) async fn add(mut served: Served) -> anyhow::Result<(Served, Health)> {
    let reporter = HealthReporter::new();
    let health = Health {
        reporter: reporter.clone(),
        names: served.names.clone(),
    };
    health.tell(ServingStatus::Serving).await;
    let service = HealthServer::new(HealthService::from_health_reporter(reporter));
    served.routes = served.routes.add_service(service);
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

/// Descriptor sets may describe more than is served: only what is served is listed.
fn reflection(served: &Served) -> tonic_reflection::server::Builder<'static> {
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
    /// Tells everyone, watchers too, that this instance takes calls.
    pub(crate) async fn serving(&self) {
        self.tell(ServingStatus::Serving).await;
    }

    /// Tells everyone, watchers too, that this instance wants no more calls.
    pub(crate) async fn not_serving(&self) {
        self.tell(ServingStatus::NotServing).await;
    }

    async fn tell(&self, status: ServingStatus) {
        self.reporter.set_service_status("", status).await;
        for name in &self.names {
            self.reporter.set_service_status(name, status).await;
        }
    }
}
