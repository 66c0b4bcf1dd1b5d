//! `RegisterAgent` and `RegisterTool`: puts a service that cannot register itself into the registry,
//! and keeps it there while this router runs.
//!
//! Off unless configured, since whoever registers receives calls. A router that leaves does not
//! take the registrations along: the registry's own check ends those of services that are gone.

mod request;

use std::{collections::HashMap, sync::Arc, time::Duration};

use discovery::{Discovery, Registration, Snapshot, Upkeep};
use proto::agentplatform::RegistrationResponse;
use tokio::{sync::Mutex, time::timeout};
use tonic::{Code, Status};
use tracing::info;

pub use request::Candidate;

/// How many services one router keeps registered.
pub const MAX_REGISTRATIONS: usize = 256;

/// `Meta` key that tells which router registered an instance.
const REGISTERED_BY: &str = "registered_by";
/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Registers services on behalf of others.
#[derive(Debug)]
pub struct Registrar {
    discovery: Arc<dyn Discovery>,
    allowed: bool,
    router: String,
    /// By service ID. One registration at a time, so that two for one ID do not cross.
    kept: Mutex<HashMap<String, (Registration, Upkeep)>>,
}

impl Registrar {
    /// A registrar of the router with this instance ID; unless `allowed` it refuses everything.
    #[must_use]
    pub fn new(discovery: Arc<dyn Discovery>, allowed: bool, router: impl Into<String>) -> Self {
        Self {
            discovery,
            allowed,
            router: router.into(),
            kept: Mutex::default(),
        }
    }

    /// Registers one instance. The same again changes nothing; the same endpoint with another
    /// description replaces it.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when it is switched off, `INVALID_ARGUMENT` naming the field,
    /// `ALREADY_EXISTS` when the service belongs to someone who registers it himself,
    /// `RESOURCE_EXHAUSTED` above [`MAX_REGISTRATIONS`], `UNAVAILABLE` when the registry is away.
    pub async fn register(&self, candidate: Candidate) -> Result<RegistrationResponse, Status> {
        if !self.allowed {
            return Err(proto::error_info::status(
                Code::PermissionDenied,
                "REGISTRATION_OFF",
                "registration through the router is off: allow_registration turns it on",
                [("key", "allow_registration".to_owned())],
            ));
        }
        let mut registration = candidate.registration()?;
        registration
            .meta
            .insert(REGISTERED_BY.to_owned(), self.router.clone());
        let mut kept = self.kept.lock().await;
        let is_kept = kept
            .get(&registration.id)
            .is_some_and(|(kept, _)| *kept == registration);
        if !is_kept {
            self.check_owner(&registration.service).await?;
            if !kept.contains_key(&registration.id) && kept.len() >= MAX_REGISTRATIONS {
                return Err(full());
            }
            let registered = timeout(PATIENCE, self.discovery.register(&registration)).await;
            registered
                .map_err(|_| silent())?
                .map_err(|error| refused(&error))?;
            info!(
                id = registration.id,
                service = registration.service,
                "registered for another"
            );
            let upkeep =
                Upkeep::start_for_another(Arc::clone(&self.discovery), registration.clone());
            kept.insert(registration.id.clone(), (registration.clone(), upkeep));
        }
        let Registration {
            id,
            service,
            host,
            port,
            ..
        } = registration;
        Ok(RegistrationResponse {
            success: true,
            message: format!("{service} is registered at {host}:{port}"),
            service_id: id,
        })
    }

    /// How many instances it keeps registered.
    pub async fn len(&self) -> usize {
        self.kept.lock().await.len()
    }

    /// Whether it keeps none.
    pub async fn is_empty(&self) -> bool {
        self.len().await == 0
    }

    /// A service whose instances register themselves is not to be joined by strangers.
    async fn check_owner(&self, service: &str) -> Result<(), Status> {
        let mut snapshots = self.discovery.watch(service);
        let known = timeout(PATIENCE, snapshots.wait_for(Option::is_some)).await;
        let snapshot: Option<Arc<Snapshot>> =
            known.map_err(|_| silent())?.map_err(|_| silent())?.clone();
        let instances = snapshot.iter().flat_map(|snapshot| &snapshot.instances);
        for instance in instances {
            if !instance.meta.contains_key(REGISTERED_BY) {
                let id = instance.key.id.to_string();
                return Err(proto::error_info::status(
                    Code::AlreadyExists,
                    "SERVICE_HAS_OWNER",
                    format!("{service} registers itself, as {id:?}: choose another id"),
                    [("service", service.to_owned()), ("instance", id)],
                ));
            }
        }
        Ok(())
    }
}

fn full() -> Status {
    proto::error_info::status(
        Code::ResourceExhausted,
        "TOO_MANY_REGISTRATIONS",
        format!("this router keeps {MAX_REGISTRATIONS} registrations already"),
        [("limit", MAX_REGISTRATIONS.to_string())],
    )
}

fn silent() -> Status {
    let message = "the registry does not answer: try again";
    proto::error_info::status(Code::Unavailable, "REGISTRY_UNAVAILABLE", message, [])
}

fn refused(error: &discovery::Error) -> Status {
    let (code, reason) = match error {
        discovery::Error::Refused { .. } => (Code::InvalidArgument, "REGISTRATION_REFUSED"),
        _ => (Code::Unavailable, "REGISTRY_UNAVAILABLE"),
    };
    proto::error_info::status(code, reason, error.to_string(), [])
}

#[cfg(test)]
mod tests;
