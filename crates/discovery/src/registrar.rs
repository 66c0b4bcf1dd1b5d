//! Keeps one registration in place, whatever happens to the registry.

use std::{sync::Arc, time::Duration};

use backoff::{Backoff, Pauses};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Discovery, Error, Registration};

/// Time between two looks, and the longest pause between two attempts: a registry that came back
/// empty knows the instance again within two of these.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest a single request may take, and the whole of [`Registrar::deregister`].
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// Registers an instance, looks each second whether the registry still knows it, and registers it
/// again when not. While the registry is away it keeps trying. Dropping it stops that and leaves
/// the registration as it is.
#[derive(Debug)]
pub struct Registrar {
    discovery: Arc<dyn Discovery>,
    id: String,
    registered: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Registrar {
    /// Keeps this process registered: what an earlier process left at its address is removed. Starts
    /// at once, on the current tokio runtime.
    #[must_use]
    pub fn start(discovery: Arc<dyn Discovery>, registration: Registration) -> Self {
        Self::begin(discovery, registration, true)
    }

    /// Keeps another process registered, which may register itself at the same address too. Only a
    /// registry that forgot everything gets it again: a registration that was removed, by an operator
    /// or by the registry's check, stays so, and the registrar ends. Starts at once, on the current
    /// tokio runtime.
    #[must_use]
    pub fn start_third_party(discovery: Arc<dyn Discovery>, registration: Registration) -> Self {
        Self::begin(discovery, registration, false)
    }

    fn begin(discovery: Arc<dyn Discovery>, registration: Registration, own: bool) -> Self {
        let (sender, registered) = watch::channel(false);
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
        };
        task.spawn(registration_loop.run(sender, stop.clone()));
        Self {
            discovery,
            id,
            registered,
            stop,
            task,
        }
    }

    /// Whether the registry knew the instance at the last look; wait on it for the first success.
    #[must_use]
    pub fn registered(&self) -> watch::Receiver<bool> {
        self.registered.clone()
    }

    /// Whether somebody removed the registration of another process, which ended this.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        // The sender lives in the task.
        self.registered.has_changed().is_err()
    }

    /// Stops, and removes the registration; takes 2 s at most.
    ///
    /// # Errors
    /// When the registry cannot be reached, does not answer in time, or refuses.
    pub async fn deregister(mut self) -> Result<(), Error> {
        self.stop.cancel();
        let work = async {
            // A registration that is on its way must arrive before its removal does.
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
    /// Whether the registration is of this process.
    own: bool,
    /// Whether what the registry has under our ID is ours. One that is there before is not: it may be
    /// another process's, at an address where nobody is left.
    confirmed: bool,
    /// The life of the registry that it is confirmed in.
    incarnation: Option<String>,
    /// Whether the last look failed.
    unreachable: bool,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reconciled {
    /// It was registered.
    Unchanged,
    /// It was not, and is now.
    Registered,
    /// Somebody removed it, and it is not for us to say otherwise.
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
                        service, "somebody removed it from the registry: no longer kept there"
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
                        warn!(id, %error, "cannot register: trying on");
                    }
                    pauses.after_failure(&mut rand::rng())
                }
            };
            failing = reconciled.is_err();
            self.unreachable = failing;
            // What an unreachable registry knows is not known: the last look stands.
            registered
                .send_if_modified(|known| reconciled.is_ok() && !std::mem::replace(known, true));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Registers the instance unless it is confirmed and still known.
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
            // Afterwards, so that the service is not without an instance in between.
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
