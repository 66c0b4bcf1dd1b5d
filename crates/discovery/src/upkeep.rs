//! Keeps one registration in place, whatever happens to the registry.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Backoff, Discovery, Error, Registration};

/// Time between two looks, and the longest pause between two attempts: a registry that came back
/// empty knows the instance again within two of these.
const LOOK: Duration = Duration::from_secs(1);
/// The longest a single request may take, and the whole of [`Upkeep::deregister`].
const PATIENCE: Duration = Duration::from_secs(2);

/// Registers an instance, looks each second whether the registry still knows it, and registers it
/// again when not. While the registry is away it keeps trying. Dropping it stops that and leaves
/// the registration as it is.
#[derive(Debug)]
pub struct Upkeep {
    discovery: Arc<dyn Discovery>,
    id: String,
    registered: watch::Receiver<bool>,
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Upkeep {
    /// Keeps this process registered: what an earlier process left at its address is removed. Starts
    /// at once, on the current tokio runtime.
    #[must_use]
    pub fn start(discovery: Arc<dyn Discovery>, registration: Registration) -> Self {
        Self::begin(discovery, registration, true)
    }

    /// Keeps another process registered, which may register itself at the same address too. Only a
    /// registry that forgot everything gets it again: a registration that was removed, by an operator
    /// or by the registry's check, stays so, and the upkeep ends. Starts at once, on the current
    /// tokio runtime.
    #[must_use]
    pub fn start_for_another(discovery: Arc<dyn Discovery>, registration: Registration) -> Self {
        Self::begin(discovery, registration, false)
    }

    fn begin(discovery: Arc<dyn Discovery>, registration: Registration, own: bool) -> Self {
        let (sender, registered) = watch::channel(false);
        let stop = CancellationToken::new();
        let id = registration.id.clone();
        let mut task = JoinSet::new();
        let keeper = Keeper {
            discovery: discovery.clone(),
            registration,
            own,
            settled: false,
            incarnation: None,
            away: false,
        };
        task.spawn(keeper.keep(sender, stop.clone()));
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
    pub fn is_over(&self) -> bool {
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
        timeout(PATIENCE, work)
            .await
            .unwrap_or(Err(Error::Silent { after: PATIENCE }))
    }
}

struct Keeper {
    discovery: Arc<dyn Discovery>,
    registration: Registration,
    /// Whether the registration is of this process.
    own: bool,
    /// Whether what the registry has under our ID is ours. One that is there before is not: it may be
    /// another process's, at an address where nobody is left.
    settled: bool,
    /// The life of the registry that it is settled in.
    incarnation: Option<String>,
    /// Whether the last look failed.
    away: bool,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// It was registered.
    There,
    /// It was not, and is now.
    Registered,
    /// Somebody removed it, and it is not for us to say otherwise.
    Removed,
}

impl Keeper {
    async fn keep(mut self, registered: watch::Sender<bool>, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(100), LOOK);
        let mut failing = false;
        while !stop.is_cancelled() {
            let looked = timeout(PATIENCE, self.look())
                .await
                .unwrap_or(Err(Error::Silent { after: PATIENCE }));
            let Registration { id, service, .. } = &self.registration;
            let pause = match &looked {
                Ok(Look::Removed) => {
                    info!(
                        id,
                        service, "somebody removed it from the registry: no longer kept there"
                    );
                    return;
                }
                Ok(look) => {
                    if failing || *look == Look::Registered {
                        info!(id, service, "registered");
                    }
                    backoff.reset();
                    LOOK
                }
                Err(error) => {
                    if !failing {
                        warn!(id, %error, "cannot register: trying on");
                    }
                    backoff.next()
                }
            };
            failing = looked.is_err();
            self.away = failing;
            // What an unreachable registry knows is not known: the last look stands.
            registered.send_if_modified(|known| looked.is_ok() && !std::mem::replace(known, true));
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Registers the instance unless it is settled and still known.
    async fn look(&mut self) -> Result<Look, Error> {
        let known = self.settled && self.discovery.is_registered(&self.registration.id).await?;
        if known {
            return Ok(Look::There);
        }
        if !self.own {
            let now = self.discovery.incarnation().await?;
            let forgotten = match (&self.incarnation, &now) {
                (Some(before), Some(now)) => before != now,
                _ => self.away,
            };
            if self.settled && !forgotten {
                return Ok(Look::Removed);
            }
            self.incarnation = now;
        }
        self.settled = false;
        self.discovery.register(&self.registration).await?;
        if self.own {
            // Afterwards, so that the service is not without an instance in between.
            self.discovery.displace(&self.registration).await?;
        }
        self.settled = true;
        Ok(Look::Registered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{backends::Memory, registration::tests::registration};

    #[tokio::test(start_paused = true)]
    async fn a_forgotten_instance_is_registered_again_within_two_seconds() {
        let memory = Arc::new(Memory::new());
        let upkeep = Upkeep::start(memory.clone(), registration("echo-1"));
        upkeep.registered().wait_for(|known| *known).await.unwrap();
        memory.clear();
        sleep(Duration::from_secs(2)).await;
        assert!(memory.is_registered("echo-1").await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn it_keeps_trying_while_the_registry_is_away() {
        let memory = Arc::new(Memory::new());
        memory.set_reachable(false);
        let upkeep = Upkeep::start(memory.clone(), registration("echo-1"));
        sleep(Duration::from_secs(60)).await;
        assert!(!*upkeep.registered().borrow());
        memory.set_reachable(true);
        sleep(Duration::from_secs(2)).await;
        assert!(*upkeep.registered().borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_process_left_under_the_same_id_is_replaced() {
        let memory = Arc::new(Memory::new());
        let left = Registration {
            port: 1,
            ..registration("echo-1")
        };
        memory.register(&left).await.unwrap();
        let upkeep = Upkeep::start(memory.clone(), registration("echo-1"));
        upkeep.registered().wait_for(|known| *known).await.unwrap();
        let snapshot = memory.watch("agent-echo").borrow().clone().unwrap();
        assert_eq!(snapshot.instances[0].port, 50052);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_operator_removes_of_another_process_stays_removed() {
        let memory = Arc::new(Memory::new());
        let upkeep = Upkeep::start_for_another(memory.clone(), registration("echo-1"));
        upkeep.registered().wait_for(|known| *known).await.unwrap();
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
        assert!(memory.is_registered("echo-1").await.unwrap() && !upkeep.is_over());
        memory.deregister("echo-1").await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(!memory.is_registered("echo-1").await.unwrap() && upkeep.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_removed_of_this_process_is_registered_again() {
        let memory = Arc::new(Memory::new());
        let upkeep = Upkeep::start(memory.clone(), registration("echo-1"));
        upkeep.registered().wait_for(|known| *known).await.unwrap();
        memory.deregister("echo-1").await.unwrap();
        sleep(Duration::from_secs(3)).await;
        assert!(memory.is_registered("echo-1").await.unwrap() && !upkeep.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn deregistering_stops_it() {
        let memory = Arc::new(Memory::new());
        let upkeep = Upkeep::start(memory.clone(), registration("echo-1"));
        upkeep.registered().wait_for(|known| *known).await.unwrap();
        upkeep.deregister().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert!(!memory.is_registered("echo-1").await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_leaves_the_registration() {
        let memory = Arc::new(Memory::new());
        let upkeep = Upkeep::start(memory.clone(), registration("echo-1"));
        upkeep.registered().wait_for(|known| *known).await.unwrap();
        drop(upkeep);
        assert!(memory.is_registered("echo-1").await.unwrap());
        memory.clear();
        sleep(Duration::from_secs(5)).await;
        assert!(!memory.is_registered("echo-1").await.unwrap());
    }
}
