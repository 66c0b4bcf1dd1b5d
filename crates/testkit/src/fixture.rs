//! A small mesh in this process: a registry in memory, and real servers on ports of their own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use channel::Mesh;
use directory::{Directory, DirectorySnapshot};
use discovery::{Discovery as _, Registration, backends::Memory};
use prost_types::{
    DescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    ServiceDescriptorProto,
};
use tokio::{net::TcpListener, task::JoinSet, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{service::Routes, transport::Server};

use crate::local;

/// A directory over a registry in memory. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Fixture {
    /// The registry.
    pub memory: Arc<Memory>,
    /// What is known of it.
    pub directory: Arc<Directory>,
    servers: JoinSet<()>,
}

impl Fixture {
    /// An empty mesh.
    #[must_use]
    pub fn new() -> Self {
        let memory = Arc::new(Memory::new());
        let options = channel::ClusterOptions::default();
        let mesh = Mesh::new(memory.clone(), options, &telemetry::MetricsRegistry::new());
        Self {
            memory,
            directory: Directory::start(mesh),
            servers: JoinSet::new(),
        }
    }

    /// Serves on a port of its own.
    pub async fn serve(&mut self, routes: Routes) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Server::builder().add_routes(routes);
        self.servers.spawn(async move {
            server
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .expect("a server that serves");
        });
        address
    }

    /// Registers one instance.
    pub async fn register(&self, registration: Registration) {
        let registered = self.memory.register(&registration).await;
        registered.expect("a registry in memory");
    }

    /// Waits until the directory shows something.
    pub async fn until(&self, what: impl Fn(&DirectorySnapshot) -> bool) -> Arc<DirectorySnapshot> {
        let mut changes = self.directory.changes();
        let seen = timeout(
            Duration::from_secs(3),
            changes.wait_for(|snapshot| what(snapshot)),
        )
        .await;
        let seen = seen.expect("the directory shows it in time");
        Arc::clone(&seen.expect("a directory that lives"))
    }
}

impl Default for Fixture {
    fn default() -> Self {
        Self::new()
    }
}

/// A registration of `service` at `address`, tagged with its kind.
#[must_use]
pub fn registration(id: &str, service: &str, address: SocketAddr) -> Registration {
    let kind = service.split('-').next().unwrap_or_default();
    let is_kind = ["agent", "tool", "worker"].contains(&kind);
    Registration {
        tags: vec![if is_kind { kind.into() } else { "grpc".into() }],
        ..local::registration(id, service, address)
    }
}

/// The same with an entry of its Meta.
#[must_use]
pub fn with_meta(mut registration: Registration, key: &str, value: &str) -> Registration {
    registration.meta.insert(key.into(), value.into());
    registration
}

/// Descriptors of a service `name` (as `shop.Orders`) with one method, whose message has a field
/// called after the service and imports `common.proto`.
#[must_use]
pub fn descriptors(name: &str) -> FileDescriptorSet {
    let (package, service) = name.rsplit_once('.').expect("a full name");
    let message = |name: &str| DescriptorProto {
        name: Some(name.into()),
        ..Default::default()
    };
    let common = FileDescriptorProto {
        name: Some("common.proto".into()),
        package: Some(package.into()),
        message_type: vec![message("Common")],
        ..Default::default()
    };
    let file = FileDescriptorProto {
        name: Some(format!("{package}.proto")),
        package: Some(package.into()),
        dependency: vec!["common.proto".into()],
        message_type: vec![message("Order")],
        service: vec![ServiceDescriptorProto {
            name: Some(service.into()),
            method: vec![MethodDescriptorProto {
                name: Some("Place".into()),
                input_type: Some(format!(".{package}.Order")),
                output_type: Some(format!(".{package}.Common")),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    };
    FileDescriptorSet {
        file: vec![common, file],
    }
}

/// A server that has reflection, v1 only, for a gRPC service of this name.
#[must_use]
pub fn foreign(name: &str) -> Routes {
    let builder = tonic_reflection::server::Builder::configure();
    let builder = builder.register_file_descriptor_set(descriptors(name));
    Routes::new(builder.build_v1().expect("descriptors"))
}

/// The same with reflection v1alpha only.
#[must_use]
pub fn foreign_alpha(name: &str) -> Routes {
    let builder = tonic_reflection::server::Builder::configure();
    let builder = builder.register_file_descriptor_set(descriptors(name));
    Routes::new(builder.build_v1alpha().expect("descriptors"))
}

/// A connection to a server of this process.
#[must_use]
pub fn dial(url: &str) -> tonic::transport::Channel {
    tonic::transport::Endpoint::new(url.to_owned())
        .expect("a URL")
        .connect_lazy()
}
