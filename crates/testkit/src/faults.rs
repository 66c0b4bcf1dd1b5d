//! What goes wrong in a mesh, done to a real one under load.

mod report;
mod scene;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use report::Report;
use scene::Scene;

use crate::{Load, Signal, faulty::Manner};

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: what the others are compared with.
    None,
    /// `kill -9` an instance.
    KillInstance,
    /// SIGSTOP an instance, and SIGCONT when three quarters of the calls were sent.
    PauseInstance,
    /// SIGTERM an instance.
    StopInstance,
    /// Restart Consul, which forgets everything.
    RestartConsul,
    /// SIGTERM a router.
    StopRouter,
    /// `kill -9` a router.
    KillRouter,
    /// An instance misbehaves from now on.
    Misbehave(Manner),
    /// The same, of a service that does not declare that its calls may run twice.
    MisbehaveUndeclared(Manner),
    /// No packet passes between the routers and Consul until three quarters of the calls were
    /// sent. Meanwhile an instance is killed and two are started.
    PartitionConsul,
    /// SIGSTOP Consul, so that its HTTP and DNS are silent, and SIGCONT when three quarters of the
    /// calls were sent.
    PauseConsul,
    /// `kill -9` Consul for good, and have HAProxy read its file again without it.
    KillConsul,
    /// Start a new instance and SIGTERM an old one, until all are new.
    RedeployInstances,
    /// The same with the routers.
    RedeployRouters,
}

/// Every row.
pub const FAULTS: &[Fault] = &[
    Fault::None,
    Fault::KillInstance,
    Fault::PauseInstance,
    Fault::StopInstance,
    Fault::RestartConsul,
    Fault::StopRouter,
    Fault::KillRouter,
    Fault::Misbehave(Manner::BlackHole),
    Fault::Misbehave(Manner::HalfOpen),
    Fault::Misbehave(Manner::Unavailable),
    Fault::Misbehave(Manner::Slow),
    Fault::Misbehave(Manner::Reset),
    Fault::Misbehave(Manner::Cut),
    Fault::Misbehave(Manner::GoAway),
    Fault::PartitionConsul,
    Fault::PauseConsul,
    Fault::KillConsul,
    Fault::RedeployInstances,
    Fault::RedeployRouters,
    Fault::MisbehaveUndeclared(Manner::BlackHole),
    Fault::MisbehaveUndeclared(Manner::Unavailable),
    Fault::MisbehaveUndeclared(Manner::Reset),
    Fault::MisbehaveUndeclared(Manner::Cut),
    Fault::MisbehaveUndeclared(Manner::GoAway),
];

impl Fault {
    /// Its name in the table.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::None => "nothing",
            Self::KillInstance => "kill -9 an instance",
            Self::PauseInstance => "SIGSTOP an instance, later SIGCONT",
            Self::StopInstance => "SIGTERM an instance",
            Self::RestartConsul => "restart Consul, which forgets all",
            Self::StopRouter => "SIGTERM a router",
            Self::KillRouter => "kill -9 a router",
            Self::Misbehave(manner) => return format!("an instance {}", manner.does()),
            Self::MisbehaveUndeclared(manner) => {
                return format!("the same, not declared idempotent: it {}", manner.does());
            }
            Self::PartitionConsul => "Consul out of reach; one instance dies, two come",
            Self::PauseConsul => "Consul's HTTP and DNS are silent",
            Self::KillConsul => "Consul is gone, and HAProxy is reloaded",
            Self::RedeployInstances => "rolling redeploy of all instances",
            Self::RedeployRouters => "rolling redeploy of all routers",
        }
        .to_owned()
    }

    /// Whether a call may run twice: then none needs to be lost.
    #[must_use]
    pub const fn declared(self) -> bool {
        !matches!(self, Self::MisbehaveUndeclared(_))
    }

    /// Does it to a mesh of three instances and two routers, after a quarter of `count` calls at
    /// `rate` a second.
    pub async fn run(self, rate: u32, count: usize) -> Report {
        let mut scene = Scene::set(self).await;
        let whole = Duration::from_secs(1) * u32::try_from(count).expect("few calls") / rate;
        let load = Load::for_agent(scene.agent(), scene.mesh.address(), rate, count);
        sleep(whole / 4).await;
        let from = Instant::now();
        let victim = self.strike(&mut scene).await;
        let at = Instant::now();
        let over = self.later(&mut scene, from + whole / 2).await;
        let calls = load.end().await;
        scene.check().await;
        Report {
            fault: self,
            calls,
            from,
            at,
            over,
            victim,
            newcomers: scene.newcomers,
        }
    }

    /// The beginning; gives the instance or router it is done to.
    async fn strike(self, scene: &mut Scene) -> Option<String> {
        match self {
            Self::None | Self::RedeployInstances | Self::RedeployRouters => None,
            Self::RestartConsul => {
                scene.mesh.consul.restart().await;
                None
            }
            Self::PauseConsul => {
                scene.mesh.consul.signal(Signal::Stop);
                None
            }
            Self::KillConsul => {
                scene.mesh.consul.signal(Signal::Kill);
                scene.mesh.haproxy.reload();
                None
            }
            Self::KillInstance => Some(scene.end_instance(Signal::Kill).await),
            Self::StopInstance => Some(scene.end_instance(Signal::Terminate).await),
            Self::PauseInstance => {
                let paused = &mut scene.mesh.echoes[0];
                paused.signal(Signal::Stop);
                Some(paused.id.clone())
            }
            Self::StopRouter => Some(scene.end_router(Signal::Terminate).await),
            Self::KillRouter => Some(scene.end_router(Signal::Kill).await),
            Self::Misbehave(manner) | Self::MisbehaveUndeclared(manner) => {
                scene.faulty[0].turn(manner);
                Some(scene.faulty[0].id.clone())
            }
            Self::PartitionConsul => {
                scene.cable().cut();
                Some(scene.end_instance(Signal::Kill).await)
            }
        }
    }

    /// What comes after it; gives the time at which it was over, when it is.
    async fn later(self, scene: &mut Scene, end: Instant) -> Option<Instant> {
        match self {
            Self::PauseInstance => {
                tokio::time::sleep_until(end).await;
                scene.mesh.echoes[0].signal(Signal::Continue);
            }
            Self::PartitionConsul => {
                scene.add_instances(2).await;
                tokio::time::sleep_until(end).await;
                scene.cable().mend();
            }
            Self::PauseConsul => {
                tokio::time::sleep_until(end).await;
                scene.mesh.consul.signal(Signal::Continue);
            }
            Self::RedeployInstances => scene.redeploy_instances().await,
            Self::RedeployRouters => scene.redeploy_routers().await,
            Self::None
            | Self::KillInstance
            | Self::StopInstance
            | Self::RestartConsul
            | Self::KillConsul
            | Self::StopRouter
            | Self::KillRouter
            | Self::Misbehave(_)
            | Self::MisbehaveUndeclared(_) => return None,
        }
        Some(Instant::now())
    }
}

impl Manner {
    const fn does(self) -> &'static str {
        match self {
            Self::Well => "is well",
            Self::Slow => "is 100 times slower",
            Self::Unavailable => "answers UNAVAILABLE, its health passes",
            Self::Reset => "resets two streams of three",
            Self::Cut => "drops each connection after five calls",
            Self::GoAway => "sends GOAWAY after each five calls",
            Self::BlackHole => "is a black hole: all packets are dropped",
            Self::HalfOpen => "has half-open connections, new ones are well",
        }
    }
}
