//! Services as the registry has them now.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use discovery::{Snapshot, first_answer};
use proto::error_info::{self, Reason};
use tonic::{Code, Status};

use crate::Directory;

/// A service as the registry has it.
#[derive(Clone, Debug)]
pub struct RegisteredService {
    /// Consul name.
    pub name: Arc<str>,
    /// The tags of all its instances together.
    pub tags: Vec<String>,
    /// Its instances; `None` when the registry has not told of them in time.
    pub snapshot: Option<Arc<Snapshot>>,
}

impl Directory {
    /// Every service that belongs to the mesh, ordered by name. A name under which there are proxies alone is none.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the registry has not answered within `limit`, and is in trouble.
    pub async fn registered(&self, limit: Duration) -> Result<Vec<RegisteredService>, Status> {
        let discovery = &**self.mesh().discovery();
        let catalog = dynamic::catalog(discovery).await?;
        let until = Instant::now() + limit;
        // All are under way before one is waited for. The directory watches them too, so most are known.
        let watches = catalog.services.iter();
        let watches: Vec<_> = watches.map(|it| (it, discovery.watch(it.0))).collect();
        let mut services = Vec::with_capacity(watches.len());
        for ((name, tags), mut watch) in watches {
            let left = until.saturating_duration_since(Instant::now());
            let snapshot = first_answer(&mut watch, left).await;
            if snapshot.is_none()
                && let Some(error) = discovery.last_error()
            {
                // An empty list would say that nobody serves it.
                let text = format!("the instances of {name} are not known: {error}");
                let reason = Reason::RegistryUnreachable;
                return Err(error_info::status(Code::Unavailable, reason, text, []));
            }
            if snapshot.as_deref().is_none_or(Snapshot::is_service) {
                services.push(RegisteredService {
                    name: Arc::clone(name),
                    tags: tags.clone(),
                    snapshot,
                });
            }
        }
        Ok(services)
    }
}
