//! What goes wrong in a mesh, done to a real one under load.

mod report;
mod scenario;

use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use report::FaultReport;
use scenario::Scenario;

use crate::{Load, Signal, faulty_instance::FaultMode};

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
    Misbehave(FaultMode),
    /// The same, of a service that does not declare that its calls may run twice.
    MisbehaveUndeclared(FaultMode),
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
    Fault::Misbehave(FaultMode::BlackHole),
    Fault::Misbehave(FaultMode::HalfOpen),
    Fault::Misbehave(FaultMode::Unavailable),
    Fault::Misbehave(FaultMode::Slow),
    Fault::Misbehave(FaultMode::Reset),
    Fault::Misbehave(FaultMode::Cut),
    Fault::Misbehave(FaultMode::GoAway),
    Fault::PartitionConsul,
    Fault::PauseConsul,
    Fault::KillConsul,
    Fault::RedeployInstances,
    Fault::RedeployRouters,
    Fault::MisbehaveUndeclared(FaultMode::BlackHole),
    Fault::MisbehaveUndeclared(FaultMode::Unavailable),
    Fault::MisbehaveUndeclared(FaultMode::Reset),
    Fault::MisbehaveUndeclared(FaultMode::Cut),
    Fault::MisbehaveUndeclared(FaultMode::GoAway),
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
            Self::Misbehave(mode) => return format!("an instance {}", mode.does()),
            Self::MisbehaveUndeclared(mode) => {
                return format!("the same, not declared idempotent: it {}", mode.does());
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
    pub async fn run(self, rate: u32, count: usize) -> FaultReport {
        let mut scenario = Scenario::start(self).await;
        let whole = Duration::from_secs(1) * u32::try_from(count).expect("few calls") / rate;
        let load = Load::for_agent(scenario.agent(), scenario.mesh.address(), rate, count);
        sleep(whole / 4).await;
        let from = Instant::now();
        let victim = self.inject(&mut scenario).await;
        let at = Instant::now();
        let over = self.recover(&mut scenario, from + whole / 2).await;
        let calls = load.finish().await;
        scenario.check().await;
        FaultReport {
            fault: self,
            calls,
            from,
            at,
            over,
            victim,
            newcomers: scenario.newcomers,
        }
    }

    /// The beginning; gives the instance or router it is done to.
    async fn inject(self, scenario: &mut Scenario) -> Option<String> {
        match self {
            Self::None | Self::RedeployInstances | Self::RedeployRouters => None,
            Self::RestartConsul => {
                scenario.mesh.consul.restart().await;
                None
            }
            Self::PauseConsul => {
                scenario.mesh.consul.signal(Signal::Stop);
                None
            }
            Self::KillConsul => {
                scenario.mesh.consul.signal(Signal::Kill);
                scenario.mesh.haproxy.reload();
                None
            }
            Self::KillInstance => Some(scenario.end_instance(Signal::Kill).await),
            Self::StopInstance => Some(scenario.end_instance(Signal::Terminate).await),
            Self::PauseInstance => {
                let paused = &mut scenario.mesh.echoes[0];
                paused.signal(Signal::Stop);
                Some(paused.id.clone())
            }
            Self::StopRouter => Some(scenario.end_router(Signal::Terminate).await),
            Self::KillRouter => Some(scenario.end_router(Signal::Kill).await),
            Self::Misbehave(mode) | Self::MisbehaveUndeclared(mode) => {
                scenario.faulty[0].set_mode(mode);
                Some(scenario.faulty[0].id.clone())
            }
            Self::PartitionConsul => {
                scenario.link().cut();
                Some(scenario.end_instance(Signal::Kill).await)
            }
        }
    }

    /// What comes after it; gives the time at which it was over, when it is.
    async fn recover(self, scenario: &mut Scenario, end: Instant) -> Option<Instant> {
        match self {
            Self::PauseInstance => {
                tokio::time::sleep_until(end).await;
                scenario.mesh.echoes[0].signal(Signal::Continue);
            }
            Self::PartitionConsul => {
                scenario.add_instances(2).await;
                tokio::time::sleep_until(end).await;
                scenario.link().restore();
            }
            Self::PauseConsul => {
                tokio::time::sleep_until(end).await;
                scenario.mesh.consul.signal(Signal::Continue);
            }
            Self::RedeployInstances => scenario.redeploy_instances().await,
            Self::RedeployRouters => scenario.redeploy_routers().await,
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

impl FaultMode {
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
