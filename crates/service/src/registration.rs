//! The registration of an instance, and the registry of the configuration.

use std::{collections::BTreeMap, sync::Arc};

use discovery::{
    Check, Discovery, Registration, authority,
    backends::{self, BackendOptions, ConsulOptions, KubernetesOptions},
};

use crate::{
    Context,
    config::Config,
    keys::{CheckKind, RegistryKeys, RegistryKind, WatchKeys},
};

/// The registry that the configuration names.
///
/// # Errors
/// When its settings are invalid.
pub fn registry(config: &Config) -> Result<Arc<dyn Discovery>, discovery::Error> {
    let keys = RegistryKeys::from_config(config);
    let backend = match keys.discovery {
        RegistryKind::Consul => "consul",
        RegistryKind::Fixed => "fixed",
        RegistryKind::Kubernetes => "kubernetes",
        RegistryKind::Memory => "memory",
    };
    let options = BackendOptions {
        consul: consul_options(config),
        fixed: WatchKeys::from_config(config).fixed_instances,
        kubernetes: keys.kubernetes(),
    };
    backends::build(backend, &options)
}

/// How the configuration reaches Consul.
#[must_use]
pub fn consul_options(config: &Config) -> ConsulOptions {
    let keys = RegistryKeys::from_config(config);
    let consul = ConsulOptions::at(keys.consul_address());
    let token = keys.consul_http_token;
    ConsulOptions {
        token: token.map(|token| token.expose().to_owned()),
        ca_file: keys.consul_cacert,
        client_cert: keys.consul_client_cert,
        client_key: keys.consul_client_key,
        cache: WatchKeys::from_config(config).registry_cache,
        ..consul
    }
}

/// The configured address of Consul: `consul_http_addr`, else host and port.
#[must_use]
pub fn consul_address(config: &Config) -> String {
    RegistryKeys::from_config(config).consul_address()
}

impl RegistryKeys {
    /// Consul's address, `consul_http_addr` before host and port.
    pub(crate) fn consul_address(&self) -> String {
        let Self {
            consul_host,
            consul_port,
            ..
        } = self;
        let address = self.consul_http_addr.clone();
        address.unwrap_or_else(|| format!("{consul_host}:{consul_port}"))
    }

    /// How the API of Kubernetes is reached: `kubernetes_api` before host and port.
    fn kubernetes(&self) -> KubernetesOptions {
        let address = self.kubernetes_api.clone().unwrap_or_else(|| {
            let host = self.kubernetes_service_host.trim_matches(['[', ']']);
            authority(host, self.kubernetes_service_port)
        });
        let of_pod = KubernetesOptions::at(address);
        let (token_file, ca_file) = (&self.kubernetes_token_file, &self.kubernetes_ca_file);
        KubernetesOptions {
            namespace: self.kubernetes_namespace.clone(),
            token_file: token_file.clone().unwrap_or(of_pod.token_file),
            ca_file: ca_file.clone().unwrap_or(of_pod.ca_file),
            address: of_pod.address,
        }
    }
}

/// The registration of one instance, by its description and configuration.
pub(crate) fn registration(
    context: &Context,
    host: String,
    port: u16,
    admin_port: u16,
    grpc_services: &[String],
) -> Registration {
    let (spec, keys) = (&context.spec, &context.keys.registration);
    let mut meta = BTreeMap::from([
        ("kind".to_owned(), spec.kind.name().to_owned()),
        ("public_id".to_owned(), context.public_id()),
        ("version".to_owned(), spec.version.to_owned()),
        ("admin_port".to_owned(), admin_port.to_string()),
        ("grpc_services".to_owned(), grpc_services.join(",")),
        ("idempotent".to_owned(), spec.idempotent.join(",")),
    ]);
    meta.retain(|_, value| !value.is_empty());
    Registration {
        id: context.instance_id.clone(),
        service: spec.service.to_owned(),
        host,
        port,
        tags: spec.tags.iter().map(|tag| (*tag).to_owned()).collect(),
        meta,
        weight_passing: keys.weight,
        weight_warning: keys.weight_warning,
        check: match keys.check_kind {
            CheckKind::Grpc => Check::Grpc,
            CheckKind::Tcp => Check::Tcp,
        },
        check_interval: keys.check_interval,
        deregister_after: keys.deregister_after,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tests::{SPEC, running};

    #[test]
    fn consul_is_where_the_most_exact_key_says() {
        let address = |set: &[(&str, &str)]| {
            let loader = set.iter().fold(SPEC.loader(), |it, (k, v)| it.set(k, *v));
            consul_address(&loader.load().unwrap())
        };
        let (host, port) = (("consul_host", "consul"), ("consul_port", "1"));
        assert_eq!(address(&[]), "127.0.0.1:8500");
        assert_eq!(address(&[host, port]), "consul:1");
        assert_eq!(
            address(&[host, ("consul_http_addr", "https://c")]),
            "https://c"
        );
    }

    #[test]
    fn kubernetes_is_where_the_most_exact_key_says() {
        let options = |set: &[(&str, &str)]| {
            let loader = set.iter().fold(SPEC.loader(), |it, (k, v)| it.set(k, *v));
            RegistryKeys::from_config(&loader.load().unwrap()).kubernetes()
        };
        let (host, port) = (
            ("kubernetes_service_host", "fd00::1"),
            ("kubernetes_service_port", "6443"),
        );
        assert_eq!(
            options(&[]),
            KubernetesOptions::at("kubernetes.default.svc:443")
        );
        assert_eq!(
            options(&[host, port]),
            KubernetesOptions::at("[fd00::1]:6443")
        );
        let exact = options(&[
            host,
            ("kubernetes_api", "https://api"),
            ("kubernetes_namespace", "mesh"),
            ("kubernetes_token_file", "/t"),
            ("kubernetes_ca_file", "/c"),
        ]);
        assert_eq!(
            exact,
            KubernetesOptions {
                address: "https://api".to_owned(),
                namespace: Some("mesh".to_owned()),
                token_file: "/t".into(),
                ca_file: "/c".into(),
            }
        );
    }

    #[tokio::test]
    async fn the_registration_is_as_the_keys_say() {
        let set = [
            ("check_kind", "tcp"),
            ("check_interval", "7s"),
            ("deregister_after", "2m"),
            ("weight", "70"),
            ("weight_warning", "7"),
        ];
        let (running, _) = running(&set).await;
        let it = registration(running.context(), "host".to_owned(), 1, 2, &[]);
        assert_eq!(it.check, Check::Tcp);
        assert_eq!(it.check_interval, Duration::from_secs(7));
        assert_eq!(it.deregister_after, Duration::from_secs(120));
        assert_eq!((it.weight_passing, it.weight_warning), (70, 7));
    }
}
