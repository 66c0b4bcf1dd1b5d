//! Which service a caller means: its Consul name, or what its instances or its kind call it.

use std::{sync::Arc, time::Duration};

use discovery::{Catalog, Discovery, ServiceKind, ServiceWatches, first_answer};
use proto::error_info::{self, Reason};
use tonic::{Code, Status};

/// How long the registry may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(1);

/// What services are called. Only instances know the ids that they were given in `Meta.public_id`, so
/// from the first name on that neither Consul nor a kind explains all services are watched.
#[derive(Debug, Default)]
pub(crate) struct ServiceNames {
    watches: ServiceWatches,
}

impl ServiceNames {
    /// The Consul name of the service that is called so.
    ///
    /// # Errors
    /// `NOT_FOUND` when none is, `UNAVAILABLE` when the registry has not answered yet.
    pub(crate) async fn find(
        &self,
        discovery: &dyn Discovery,
        name: &str,
    ) -> Result<Arc<str>, Status> {
        let mut told = discovery.catalog();
        let Some(catalog) = first_answer(&mut told, PATIENCE).await else {
            let text = match discovery.last_error() {
                Some(trouble) => format!("who is in the mesh is not known: {trouble}"),
                None => format!("the registry has not answered within {PATIENCE:?}"),
            };
            let reason = Reason::RegistryUnreachable;
            return Err(error_info::status(Code::Unavailable, reason, text, []));
        };
        if let Some(known) = derived(&catalog, name) {
            return Ok(known);
        }
        // The first service of which an instance announces the name.
        let known = self.watches.snapshots(discovery, &catalog, PATIENCE).await;
        let given = known.into_iter().find_map(|(service, snapshot)| {
            let mut instances = snapshot.as_ref()?.instances.iter();
            let is_called = instances.any(|instance| instance.public_id() == name);
            is_called.then_some(service)
        });
        given.ok_or_else(|| {
            let text = format!("no service of the mesh is called {name:?}");
            let facts = [("id", name.to_owned())];
            error_info::status(Code::NotFound, Reason::NoSuchService, text, facts)
        })
    }
}

/// A service's Consul name, or the id that its kind makes of it.
fn derived(catalog: &Catalog, name: &str) -> Option<Arc<str>> {
    let services = &catalog.services;
    if let Some((known, _)) = services.get_key_value(name) {
        return Some(known.clone());
    }
    let is_called = |service: &str, tags: &[String]| {
        ServiceKind::from_tags(tags).public_id(service).as_deref() == Some(name)
    };
    let found = services
        .iter()
        .find(|(service, tags)| is_called(service, tags));
    found.map(|(service, _)| service.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_consul_name_and_its_public_id() {
        let tags = |tag: &str| vec![tag.to_owned()];
        let catalog = Catalog {
            services: [
                ("agent-echo".into(), tags("agent")),
                ("tool-echo".into(), tags("tool")),
                ("shop".into(), tags("grpc")),
            ]
            .into(),
        };
        for (name, found) in [
            ("agent-echo", Some("agent-echo")),
            ("echo-agent", Some("agent-echo")),
            ("echo-tool", Some("tool-echo")),
            ("shop", Some("shop")),
            ("echo", None),
            ("", None),
        ] {
            assert_eq!(derived(&catalog, name).as_deref(), found, "{name}");
        }
    }
}
