//! Which service a caller means, as the registry says.

use std::{sync::Arc, time::Duration};

use discovery::{Catalog, Discovery, ServiceWatches, first_answer};
use proto::error_info::{self, Reason};
use tonic::{Code, Status};

/// How long the registry may take to answer for the first time.
const REGISTRY_TIMEOUT: Duration = Duration::from_secs(1);

/// The services of the mesh.
///
/// # Errors
/// `UNAVAILABLE` when the registry has not answered yet.
pub async fn catalog(discovery: &dyn Discovery) -> Result<Arc<Catalog>, Status> {
    let known = first_answer(&mut discovery.catalog(), REGISTRY_TIMEOUT).await;
    known.ok_or_else(|| {
        let text = match discovery.last_error() {
            Some(error) => format!("the services of the mesh are not known: {error}"),
            None => format!("the registry has not answered within {REGISTRY_TIMEOUT:?}"),
        };
        error_info::status(Code::Unavailable, Reason::RegistryUnreachable, text, [])
    })
}

/// What services are called. Only instances know what they claim in `Meta.public_id`. So all services
/// are watched from the first name on that is no Consul name and stands for none.
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
        let catalog = catalog(discovery).await?;
        // What is claimed counts last, so it is asked for only where the catalog knows no better.
        if let Some(known) = catalog.named(name) {
            return Ok(known);
        }
        let known = self
            .watches
            .snapshots(discovery, &catalog, REGISTRY_TIMEOUT)
            .await;
        let claimed = known
            .into_iter()
            .find(|(_, snapshot)| snapshot.as_ref().is_some_and(|it| it.claims(name)));
        claimed.map(|(service, _)| service).ok_or_else(|| {
            let text = format!("no service of the mesh is called {name:?}");
            let facts = [("id", name.to_owned())];
            error_info::status(Code::NotFound, Reason::NoSuchService, text, facts)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_found_by_its_consul_name_and_its_public_id() {
        let tags = |tag: &str| vec![tag.to_owned()];
        let catalog = Catalog {
            programs: Default::default(),
            services: [
                ("agent-echo".into(), tags("agent")),
                ("tool-echo".into(), tags("tool")),
                ("shop".into(), tags("grpc")),
                ("worker-plain".into(), tags("grpc")),
            ]
            .into(),
        };
        for (name, found) in [
            ("agent-echo", Some("agent-echo")),
            ("echo-agent", Some("agent-echo")),
            ("echo-tool", Some("tool-echo")),
            ("shop", Some("shop")),
            // Its form says so, whatever its tags do.
            ("plain-worker", Some("worker-plain")),
            ("echo", None),
            ("", None),
        ] {
            assert_eq!(catalog.named(name).as_deref(), found, "{name}");
        }
    }
}
