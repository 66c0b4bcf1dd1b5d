//! `RegisterAgent` and `RegisterTool`: puts a service that cannot register itself into the registry,
//! and keeps it there while this router runs.
//!
//! Off unless configured, since whoever registers receives calls. A router that leaves does not
//! take the registrations along: the registry's own check ends those of services that are gone.

mod address_policy;
mod request;

use std::{collections::HashMap, sync::Arc, time::Duration};

use directory::DirectorySnapshot;
use discovery::{Discovery, Instance, Registration, Snapshot, first_answer};
use proto::agentplatform::RegistrationResponse;
use proto::error_info::{self, Reason};
use tokio::{sync::Mutex, time::timeout};
use tonic::{Code, Status};
use tracing::info;

pub(crate) use address_policy::AddressPolicy;
pub(crate) use request::Candidate;

/// How many services one router keeps registered.
pub(crate) const MAX_REGISTRATIONS: usize = 256;

/// `Meta` key that tells which router registered an instance.
const REGISTERED_BY: &str = "registered_by";
/// How long the registry may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Registers services on behalf of others.
#[derive(Debug)]
pub(crate) struct RegistrationHandler {
    discovery: Arc<dyn Discovery>,
    allowed: bool,
    router: String,
    addresses: AddressPolicy,
    /// By service ID. One registration at a time, so that two for one ID do not cross.
    kept: Mutex<HashMap<String, (Registration, discovery::Registrar)>>,
}

impl RegistrationHandler {
    /// A registrar of the router with this instance ID; unless `allowed` it refuses everything.
    pub(crate) fn new(
        discovery: Arc<dyn Discovery>,
        allowed: bool,
        router: impl Into<String>,
        addresses: AddressPolicy,
    ) -> Self {
        Self {
            discovery,
            allowed,
            router: router.into(),
            addresses,
            kept: Mutex::default(),
        }
    }

    /// Registers one instance. The same again changes nothing; the same endpoint with another
    /// description replaces it. What somebody removes from the registry stays removed until it is
    /// asked for again.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` when it is switched off, `INVALID_ARGUMENT` naming the field,
    /// `ALREADY_EXISTS` when a name of the service is another's, or it registers itself,
    /// `RESOURCE_EXHAUSTED` above [`MAX_REGISTRATIONS`], `UNAVAILABLE` when the registry is away.
    pub(crate) async fn register(
        &self,
        candidate: Candidate,
        snapshot: &DirectorySnapshot,
    ) -> Result<RegistrationResponse, Status> {
        if !self.allowed {
            let message = "registration through the router is off: allow_registration turns it on";
            let facts = [("key", "allow_registration".to_owned())];
            let (code, reason) = (Code::PermissionDenied, Reason::RegistrationOff);
            return Err(error_info::status(code, reason, message, facts));
        }
        let mut registration = candidate.registration(&self.addresses).await?;
        registration
            .meta
            .insert(REGISTERED_BY.to_owned(), self.router.clone());
        check_names(snapshot, &registration)?;
        let mut kept = self.kept.lock().await;
        forget_gone(&mut kept);
        let is_kept = kept
            .get(&registration.id)
            .is_some_and(|(kept, _)| *kept == registration);
        if !is_kept {
            self.check_address(&registration).await?;
            self.check_owner(&registration, kept.contains_key(&registration.id))
                .await?;
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
            let registrar = discovery::Registrar::start_third_party(
                Arc::clone(&self.discovery),
                registration.clone(),
            );
            kept.insert(registration.id.clone(), (registration.clone(), registrar));
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

    /// A router is no service: calls would go round in circles.
    async fn check_address(&self, it: &Registration) -> Result<(), Status> {
        let routers = self.known(crate::SPEC.service).await?;
        let is_there = |other: &Arc<Instance>| other.host == it.host && other.port == it.port;
        if routers.instances.iter().any(is_there) {
            let message = format!(
                "endpoint {}:{} is a router's: name the service's",
                it.host, it.port
            );
            return Err(request::bad("endpoint", message));
        }
        Ok(())
    }

    /// The instances of a service, once the registry has told them.
    async fn known(&self, service: &str) -> Result<Arc<Snapshot>, Status> {
        let mut told = self.discovery.watch(service);
        let known = first_answer(&mut told, PATIENCE).await;
        known.ok_or_else(|| self.silent())
    }

    /// A service whose instances register themselves is not to be joined by strangers, and an ID that
    /// is another's not to be taken.
    async fn check_owner(&self, it: &Registration, kept: bool) -> Result<(), Status> {
        let known = self.known(&it.service).await?;
        let instances = || known.instances.iter();
        let mut others = instances().filter(|other| !other.meta.contains_key(REGISTERED_BY));
        if let Some(other) = others.next() {
            return Err(owned(&it.service, &other.key.id));
        }
        if known.excluded > 0 {
            return Err(owned(&it.service, "a proxy or gateway"));
        }
        if kept || instances().any(|other| *other.key.id == *it.id) {
            return Ok(());
        }
        let taken = timeout(PATIENCE, self.discovery.is_registered(&it.id)).await;
        let taken = taken.map_err(|_| silent())?;
        if taken.map_err(|error| refused(&error))? {
            return Err(owned(&it.id, &it.id));
        }
        Ok(())
    }

    /// What to say when the registry tells nothing.
    fn silent(&self) -> Status {
        self.discovery.last_error().map_or_else(silent, |trouble| {
            let (reason, text) = (Reason::RegistryUnreachable, trouble.to_string());
            error_info::status(Code::Unavailable, reason, text, [])
        })
    }
}

/// What was removed from the registry is no longer kept there.
fn forget_gone(kept: &mut HashMap<String, (Registration, discovery::Registrar)>) {
    kept.retain(|_, (_, registrar)| !registrar.is_finished());
}

/// By its names a service would be called in place of one that has them already.
fn check_names(snapshot: &DirectorySnapshot, it: &Registration) -> Result<(), Status> {
    let public = it.meta.get("public_id");
    for name in [Some(&it.service), public].into_iter().flatten() {
        if let Some(other) = snapshot
            .by_id(name)
            .filter(|other| *other.name != *it.service)
        {
            return Err(owned(name, &other.name));
        }
    }
    Ok(())
}

fn owned(name: &str, by: &str) -> Status {
    let message = format!("{name} is registered already, by {by:?}: choose another id");
    let facts = [("service", name.to_owned()), ("instance", by.to_owned())];
    error_info::status(Code::AlreadyExists, Reason::ServiceHasOwner, message, facts)
}

fn full() -> Status {
    let message = format!("this router keeps {MAX_REGISTRATIONS} registrations already");
    let (code, facts) = (
        Code::ResourceExhausted,
        [("limit", MAX_REGISTRATIONS.to_string())],
    );
    error_info::status(code, Reason::TooManyRegistrations, message, facts)
}

fn silent() -> Status {
    let message = "the registry does not answer: try again";
    error_info::status(Code::Unavailable, Reason::RegistryUnreachable, message, [])
}

fn refused(error: &discovery::Error) -> Status {
    let (code, reason) = match error {
        discovery::Error::Refused { .. } => (Code::InvalidArgument, Reason::RegistrationRefused),
        _ => (Code::Unavailable, Reason::RegistryUnreachable),
    };
    error_info::status(code, reason, error.to_string(), [])
}

#[cfg(test)]
mod tests;
