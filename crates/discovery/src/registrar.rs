//! Keeps one registration in place, whatever happens to the registry.

use std::{sync::Arc, time::Duration};

use backoff::{Backoff, Pauses};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Discovery, Error, Registration};

/// The time between two checks, and the longest pause between two attempts. A registry that came
/// back empty has the instance again within two of these.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long one request may take, and the whole of [`Registrar::deregister`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Registers an instance, checks each second whether the registry still has it, and registers it
/// again if not. It keeps trying while the registry is unreachable. Dropping it ends the checks and
/// leaves the registration.
#[derive(Debug)]
pub struct Registrar {
    discovery: Arc<dyn Discovery>,
    id: String,
    registered: watch::Receiver<bool>,
    last_error: Arc<Mutex<Option<Error>>>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Registrar {
    /// Keeps this process registered, and removes what an earlier process left at its address.
    /// Starts at once, on the current tokio runtime.
    #[must_use]
    pub fn start(discovery: Arc<dyn Discovery>, registration: Registration) -> Self {
        Self::begin(discovery, registration, true)
    }

    /// Keeps another process registered, which may register itself at the same address too. It is
    /// registered again only in a registry that lost its data. A registration that an operator or
    /// the registry's check removed stays removed, and the registrar ends. Starts at once, on the
    /// current tokio runtime.
    #[must_use]
    pub fn start_third_party(discovery: Arc<dyn Discovery>, registration: Registration) -> Self {
        Self::begin(discovery, registration, false)
    }

    fn begin(discovery: Arc<dyn Discovery>, registration: Registration, own: bool) -> Self {
        let (sender, registered) = watch::channel(false);
        let last_error = Arc::<Mutex<Option<Error>>>::default();
        let stop = CancellationToken::new();
        let id = registration.id.clone();
        let mut task = JoinSet::new();
        let registration_loop = RegistrationLoop {
            discovery: discovery.clone(),
            registration,
            own,
            confirmed: false,
            incarnation: None,
            unreachable: false,
            last_error: Arc::clone(&last_error),
        };
        task.spawn(registration_loop.run(sender, stop.clone()));
        Self {
            discovery,
            id,
            registered,
            last_error,
            stop,
            task,
        }
    }

    /// Why the last check failed; `None` when it did not. Outlives the registrar.
    #[must_use]
    pub fn last_error(&self) -> Arc<Mutex<Option<Error>>> {
        Arc::clone(&self.last_error)
    }

    /// Whether the registry had the instance at the last check. Wait on it for the first success.
    #[must_use]
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.clone()
    }

    /// Whether the registrar ended because the other process's registration was removed.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // The sender lives in the task.
        self.registered.has_changed().is_err()
    }

    /// Ends the checks and removes the registration. Takes at most 2 s.
    ///
    /// # Errors
    /// When the registry cannot be reached, does not answer in time or refuses.
    pub async fn deregister(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let work = async {
            // A registration under way must arrive before its removal.
            while self.task.join_next().await.is_some() {}
            self.discovery.deregister(&self.id).await
        };
        timeout(REQUEST_TIMEOUT, work)
            .await
            .unwrap_or(Err(Error::Silent {
                after: REQUEST_TIMEOUT,
            }))
    }
}

struct RegistrationLoop {
    discovery: Arc<dyn Discovery>,
    registration: Registration,
    /// Whether it is this process's registration.
    own: bool,
    /// Whether the registry's entry under this ID is ours. One that was there before is not: an
    /// earlier process may have left it at another address.
    confirmed: bool,
    /// The run of the registry that it is confirmed in.
    incarnation: Option<String>,
    /// Whether the last check failed.
    unreachable: bool,
    /// How the last check failed.
    last_error: Arc<Mutex<Option<Error>>>,
}

/// What a check found and did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reconciled {
    /// It was registered.
    Unchanged,
    /// It was not registered, and is now.
    Registered,
    /// Somebody removed it, and it stays removed.
    Removed,
}

impl RegistrationLoop {
    async fn run(mut self, registered: watch::Sender<bool>, stop: CancellationToken) {
        let mut pauses = Pauses::new(Backoff::equal_jitter(Duration::from_millis(100), INTERVAL));
        let mut failing = false;
        while !stop.is_cancelled() {
            let reconciled = timeout(REQUEST_TIMEOUT, self.reconcile())
                .await
                .unwrap_or(Err(Error::Silent {
                    after: REQUEST_TIMEOUT,
                }));
            let Registration { id, service, .. } = &self.registration;
            let pause = match &reconciled {
                Ok(Reconciled::Removed) => {
                    info!(
                        id,
                        service, "removed from the registry by somebody else: not registered again"
                    );
                    return;
                }
                Ok(done) => {
                    if failing || *done == Reconciled::Registered {
                        info!(id, service, "registered");
                    }
                    pauses.reset();
                    INTERVAL
                }
                Err(error) => {
                    if !failing {
                        warn!(id, %error, "cannot register: trying again");
                    }
                    pauses.after_failure(&mut rand::rng())
                }
            };
            failing = reconciled.is_err();
            self.unreachable = failing;
            *self.last_error.lock() = reconciled.as_ref().err().cloned();
            // An unreachable registry says nothing new: the last check counts. One that forgot the
            // instance and does not take it again has said that it is not there.
            let is_registered = reconciled.is_ok() || self.confirmed;
            registered
                .send_if_modified(|known| std::mem::replace(known, is_registered) != is_registered);
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Registers the instance unless it is confirmed and still registered.
    async fn reconcile(&mut self) -> Result<Reconciled, Error> {
        let known = self.confirmed && self.discovery.is_registered(&self.registration.id).await?;
        if known {
            return Ok(Reconciled::Unchanged);
        }
        if !self.own {
            let now = self.discovery.incarnation().await?;
            let forgotten = match (&self.incarnation, &now) {
                (Some(before), Some(now)) => before != now,
                _ => self.unreachable,
            };
            if self.confirmed && !forgotten {
                return Ok(Reconciled::Removed);
            }
            self.incarnation = now;
        }
        self.confirmed = false;
        self.discovery.register(&self.registration).await?;
        if self.own {
            // After registering, so that the service is never without an instance.
            self.discovery
                .deregister_duplicates(&self.registration)
                .await?;
        }
        self.confirmed = true;
        Ok(Reconciled::Registered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backends::Memory, registration::tests::registration};

    async fn until_registered(registrar: &Registrar) {
        let mut registered = registrar.registered();
        registered.wait_for(|known| *known).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_instance_is_registered_again_within_two_seconds() {
        let memory = Arc::new(Memory::new());
        let registrar = Registrar::start(memory.clone(), registration("echo-1"));
        until_registered(&registrar).await;
        memory.clear();
        sleep(Duration::from_secs(2)).await;
        assert!(memory.is_registered("echo-1").await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_trying_while_the_registry_is_away() {
        let memory = Arc::new(Memory::new());
        memory.set_reachable(false);
        let registrar = Registrar::start(memory.clone(), registration("echo-1"));
        sleep(Duration::from_secs(60)).await;
        assert!(!*registrar.registered().borrow());
        memory.set_reachable(true);
        sleep(Duration::from_secs(2)).await;
        assert!(*registrar.registered().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_left_under_the_same_id_is_replaced() {
        let memory = Arc::new(Memory::new());
        let left = Registration {
            port: 1,
            ..registration("echo-1")
        };
        memory.register(&left).await.unwrap();
        let registrar = Registrar::start(memory.clone(), registration("echo-1"));
        until_registered(&registrar).await;
        let snapshot = memory.watch("agent-echo").borrow().clone().unwrap();
        assert_eq!(snapshot.instances[0].port, 50052);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_operator_removes_of_another_process_stays_removed() {
        let memory = Arc::new(Memory::new());
        let registrar = Registrar::start_third_party(memory.clone(), registration("echo-1"));
        until_registered(&registrar).await;
        // What it forgot, it gets again.
        memory.clear();
        sleep(Duration::from_secs(3)).await;
        assert!(memory.is_registered("echo-1").await.unwrap());
        // Also when it was away meanwhile.
        memory.set_reachable(false);
        sleep(Duration::from_secs(3)).await;
        memory.clear();
        memory.set_reachable(true);
        sleep(Duration::from_secs(3)).await;
        assert!(memory.is_registered("echo-1").await.unwrap() && !registrar.is_finished());
        memory.deregister("echo-1").await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(!memory.is_registered("echo-1").await.unwrap() && registrar.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_removed_of_this_process_is_registered_again() {
        let memory = Arc::new(Memory::new());
        let registrar = Registrar::start(memory.clone(), registration("echo-1"));
        until_registered(&registrar).await;
        memory.deregister("echo-1").await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(memory.is_registered("echo-1").await.unwrap() && !registrar.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn deregistering_stops_it() {
        let memory = Arc::new(Memory::new());
        let registrar = Registrar::start(memory.clone(), registration("echo-1"));
        until_registered(&registrar).await;
        registrar.deregister().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert!(!memory.is_registered("echo-1").await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_leaves_the_registration() {
        let memory = Arc::new(Memory::new());
        let registrar = Registrar::start(memory.clone(), registration("echo-1"));
        until_registered(&registrar).await;
        drop(registrar);
        assert!(memory.is_registered("echo-1").await.unwrap());
        memory.clear();
        sleep(Duration::from_secs(5)).await;
        assert!(!memory.is_registered("echo-1").await.unwrap());
    }
}
