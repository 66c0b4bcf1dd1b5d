//! Every service of the mesh, by all the names that a call can use.
//!
//! One task follows the registry and publishes whole [`DirectorySnapshot`]s; readers load the current one and
//! never wait.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use channel::{Channel, Error, Mesh};
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tonic::Status;

use crate::{Descriptors, DirectorySnapshot, QUERY_TIMEOUT, Service, descriptors, follow};

/// How long fetching all the descriptors of a service may take.
const DESCRIPTORS_PATIENCE: Duration = Duration::from_secs(3);

/// Knows every service of the mesh. Ends its work when dropped.
#[derive(Debug)]
pub struct Directory {
    mesh: Mesh,
    current: Arc<ArcSwap<DirectorySnapshot>>,
    changes: watch::Receiver<Arc<DirectorySnapshot>>,
    /// Owns the task that follows the registry.
    _tasks: JoinSet<()>,
}

impl Directory {
    /// Starts following the registry of `mesh`, on the current tokio runtime.
    #[must_use]
    pub fn start(mesh: Mesh) -> Arc<Self> {
        let current = Arc::new(ArcSwap::from_pointee(DirectorySnapshot::default()));
        let (sender, changes) = watch::channel(Arc::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow::follow(mesh.clone(), Arc::clone(&current), sender));
        Arc::new(Self {
            mesh,
            current,
            changes,
            _tasks: tasks,
        })
    }

    /// What is known now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<DirectorySnapshot> {
        self.current.load_full()
    }

    /// The same, for a look at it.
    #[must_use]
    pub fn current(&self) -> arc_swap::Guard<Arc<DirectorySnapshot>> {
        self.current.load()
    }

    /// Follows what is known.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<Arc<DirectorySnapshot>> {
        self.changes.clone()
    }

    /// The snapshot once the registry has answered: a program that has just started waits for that.
    ///
    /// # Errors
    /// `UNAVAILABLE` when the registry has not answered within `limit`.
    pub async fn ready_snapshot(&self, limit: Duration) -> Result<Arc<DirectorySnapshot>, Status> {
        let snapshot = self.snapshot();
        if snapshot.ready() {
            return Ok(snapshot);
        }
        let mut changes = self.changes();
        let ready = changes.wait_for(|snapshot| snapshot.ready());
        if let Ok(Ok(snapshot)) = timeout(limit, ready).await {
            return Ok(Arc::clone(&snapshot));
        }
        let trouble = self.mesh.discovery().last_error();
        let error = Error::Undiscovered {
            waited: limit,
            trouble: trouble.map(|error| error.to_string()),
        };
        Err(error.status())
    }

    /// Whether the registry has answered once, for every service it knew then. Stays `true`.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.current().ready()
    }

    /// The mesh whose services these are.
    #[must_use]
    pub fn mesh(&self) -> &Mesh {
        &self.mesh
    }

    /// The instances to query about a service, the best first. That is the one that joined last, which may
    /// be of another build; then any that the mesh picks, or one of the most common version if their
    /// versions differ. Empty when none is healthy.
    #[must_use]
    pub fn query_candidates(&self, service: &Service) -> Vec<Channel> {
        let newest = service.newest();
        let Some(instance) = newest.or_else(|| service.representative()) else {
            return Vec::new();
        };
        let any = self.mesh.channel(&service.name);
        let pinned = any.clone().instance(&instance.key.id);
        let is_uniform = service
            .serving()
            .all(|other| other.version() == service.version);
        match (newest.is_some(), is_uniform) {
            (true, true) => vec![pinned, any],
            (false, true) => vec![any],
            (_, false) => vec![pinned],
        }
    }

    /// What a service's reflection tells of its messages, asked of one healthy instance per
    /// generation and remembered. `None` when no healthy instance tells.
    pub async fn descriptors(&self, service: &Service) -> Option<Arc<Descriptors>> {
        self.reflected(service).await.ok()
    }

    /// The same, or why no healthy instance tells. That is remembered for some seconds, so that a silent instance
    /// does not delay each caller.
    ///
    /// # Errors
    /// The status of the last instance that was asked.
    pub async fn reflected(&self, service: &Service) -> Result<Arc<Descriptors>, Status> {
        let query_candidates = self.query_candidates(service);
        let question = async {
            let mut outcome = Err(Status::unavailable("nobody is healthy"));
            for channel in query_candidates {
                // Announced in Meta or not, its reflection lists what it can describe.
                let listed = timeout(QUERY_TIMEOUT, descriptors::list(channel.clone())).await;
                outcome = match listed {
                    Ok(Ok(symbols)) => descriptors::fetch(channel, &symbols).await.map(Arc::new),
                    Ok(Err(status)) => Err(status),
                    Err(_) => Err(Status::deadline_exceeded("reflection is silent")),
                };
                if outcome.is_ok() {
                    break;
                }
            }
            outcome
        };
        if !service.is_serving() {
            return Err(Status::unavailable("no instance is healthy"));
        }
        service
            .self_reported
            .descriptors
            .get(DESCRIPTORS_PATIENCE, question)
            .await
    }
}
