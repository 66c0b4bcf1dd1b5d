//! The table of backends. To add one: a file, a `mod`, a row.

mod consul;
mod fixed;
mod kubernetes;
mod memory;
mod outage;
mod percent;
mod stale_grace;

use std::sync::Arc;

pub use consul::{CONSUL_PORT, Consul, ConsulOptions};
pub use fixed::Fixed;
pub use kubernetes::{KUBERNETES_CA_FILE, KUBERNETES_TOKEN_FILE, Kubernetes, KubernetesOptions};
pub use memory::Memory;

use crate::{Discovery, Error};

/// What backends are built from. Each reads its own part.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// For `consul`.
    pub consul: ConsulOptions,
    /// For `fixed`: entries as [`Fixed::parse`] takes them.
    pub fixed: Vec<String>,
    /// For `kubernetes`.
    pub kubernetes: KubernetesOptions,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct DiscoveryBackend {
    /// Its name in configuration.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Builds it. Inside a tokio runtime, since a backend may start tasks of its own.
    pub build: fn(&BackendOptions) -> Result<Arc<dyn Discovery>, Error>,
}

/// Every backend; the first is the default.
pub const BACKENDS: &[DiscoveryBackend] = &[
    DiscoveryBackend {
        name: "consul",
        about: "the Consul agent of this host: blocking queries, registration with a gRPC check",
        build: |settings| Ok(Arc::new(Consul::new(settings.consul.clone())?)),
    },
    DiscoveryBackend {
        name: "fixed",
        about: "a list of instances from configuration; registrations change nothing",
        build: |settings| Ok(Arc::new(Fixed::parse(&settings.fixed)?)),
    },
    DiscoveryBackend {
        name: "kubernetes",
        about: "the API server of the cluster: Services, EndpointSlices and a ConfigMap; programs \
                register nothing",
        build: |settings| Ok(Arc::new(Kubernetes::new(settings.kubernetes.clone())?)),
    },
    DiscoveryBackend {
        name: "memory",
        about: "a registry inside this process, for tests and for a mesh in one process",
        build: |_| Ok(Arc::new(Memory::new())),
    },
];

/// Builds the backend of this name.
///
/// # Errors
/// When no row has this name, or the backend finds its settings unusable.
pub fn build(name: &str, settings: &BackendOptions) -> Result<Arc<dyn Discovery>, Error> {
    let Some(row) = BACKENDS.iter().find(|row| row.name == name) else {
        let known: Vec<_> = BACKENDS.iter().map(|row| row.name).collect();
        return Err(Error::Config {
            key: "discovery",
            reason: format!("{name:?} is no backend; choose one of {}", known.join(", ")),
        });
    };
    (row.build)(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> BackendOptions {
        BackendOptions {
            consul: ConsulOptions::at("127.0.0.1"),
            fixed: Vec::new(),
            kubernetes: KubernetesOptions::at("127.0.0.1"),
        }
    }

    #[tokio::test]
    async fn every_row_builds_from_default_settings() {
        for row in BACKENDS {
            let built = build(row.name, &options());
            assert!(built.is_ok(), "{}: {:?}", row.name, built.err());
            assert!(!row.about.is_empty());
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = build("etcd", &options())
            .expect_err("no such row")
            .to_string();
        assert!(
            error.contains("consul, fixed, kubernetes, memory"),
            "{error}"
        );
    }
}
