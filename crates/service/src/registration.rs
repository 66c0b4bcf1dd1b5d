//! What an instance tells the registry of itself, and how that registry is reached.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use discovery::{
    Check, Discovery, Registration,
    backends::{self, ConsulOptions, BackendOptions},
};

use crate::{Context, config::Config};

/// The registry that the configuration names.
///
/// # Errors
/// When its settings are unusable.
pub fn registry(config: &Config) -> Result<Arc<dyn Discovery>, discovery::Error> {
    let file = |key| config.optional(key).map(PathBuf::from);
    let settings = BackendOptions {
        consul: ConsulOptions {
            address: consul_address(config),
            token: config.optional("consul_http_token").map(str::to_owned),
            ca_file: file("consul_cacert"),
            client_cert: file("consul_client_cert"),
            client_key: file("consul_client_key"),
            cache: file("registry_cache"),
            ..ConsulOptions::default()
        },
        fixed: config.list("fixed_instances"),
    };
    backends::build(config.text("discovery"), &settings)
}

/// Consul's address as configured, `consul_http_addr` before host and port.
#[must_use]
pub fn consul_address(config: &Config) -> String {
    config.optional("consul_http_addr").map_or_else(
        || {
            format!(
                "{}:{}",
                config.text("consul_host"),
                config.port("consul_port")
            )
        },
        str::to_owned,
    )
}

/// The registration of one instance, by its own words and its configuration.
pub(crate) fn registration(
    context: &Context,
    host: String,
    port: u16,
    admin_port: u16,
    grpc_services: &[String],
) -> Registration {
    let (spec, config) = (&context.spec, &context.config);
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
        weight_passing: config.integer("weight"),
        weight_warning: config.integer("weight_warning"),
        check: if config.text("check_kind") == "tcp" {
            Check::Tcp
        } else {
            Check::Grpc
        },
        check_interval: config.duration("check_interval"),
        deregister_after: config.duration("deregister_after"),
    }
}
