//! Which service a caller means, as the registry says.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use discovery::{Catalog, Discovery, Snapshot};
use futures_util::future::join_all;
use parking_lot::Mutex;
use proto::error_info::{self, Reason};
use tokio::{sync::watch, time::timeout};
use tonic::{Code, Status};

/// How long the registry may take to answer for the first time.
const PATIENCE: Duration = Duration::from_secs(1);

type Watched = watch::Receiver<Option<Arc<Snapshot>>>;

/// What services are called. Only instances know what they claim in `Meta.public_id`. So all services
/// are watched from the first name on that is no Consul name and stands for none.
#[derive(Debug, Default)]
pub(crate) struct ServiceNames {
    watched: Mutex<BTreeMap<Arc<str>, Watched>>,
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
        let Some(catalog) = first(&mut discovery.catalog()).await else {
            let text = match discovery.last_error() {
                Some(trouble) => format!("who is in the mesh is not known: {trouble}"),
                None => format!("the registry has not answered within {PATIENCE:?}"),
            };
            let reason = Reason::RegistryUnreachable;
            return Err(error_info::status(Code::Unavailable, reason, text, []));
        };
        // What is claimed counts last, so it is asked for only where the catalog knows no better.
        if let Some(known) = by_catalog(&catalog, name) {
            return Ok(known);
        }
        let claimed = self.claimed(discovery, &catalog, name).await;
        claimed.ok_or_else(|| {
            let text = format!("no service of the mesh is called {name:?}");
            let facts = [("id", name.to_owned())];
            error_info::status(Code::NotFound, Reason::NoSuchService, text, facts)
        })
    }

    /// The first service that claims the name.
    async fn claimed(
        &self,
        discovery: &dyn Discovery,
        catalog: &Catalog,
        name: &str,
    ) -> Option<Arc<str>> {
        let watched = {
            let mut watched = self.watched.lock();
            watched.retain(|service, _| catalog.services.contains_key(service));
            for service in catalog.services.keys() {
                let watch = || discovery.watch(service);
                watched.entry(service.clone()).or_insert_with(watch);
            }
            watched.clone()
        };
        let asked = watched.into_iter().map(async |(service, mut watched)| {
            let snapshot = first(&mut watched).await?;
            snapshot.claims(name).then_some(service)
        });
        join_all(asked).await.into_iter().flatten().next()
    }
}

/// The first answer of the registry.
async fn first<T: Clone>(watched: &mut watch::Receiver<Option<T>>) -> Option<T> {
    let known = timeout(PATIENCE, watched.wait_for(Option::is_some)).await;
    known.ok()?.ok()?.clone()
}

/// The service that an id names, as far as the catalog tells.
fn by_catalog(catalog: &Catalog, id: &str) -> Option<Arc<str>> {
    let named = |name: &str| catalog.services.get_key_value(name);
    discovery::resolve(id, named, |_| None).map(|(service, _)| service.clone())
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
            assert_eq!(by_catalog(&catalog, name).as_deref(), found, "{name}");
        }
    }
}
