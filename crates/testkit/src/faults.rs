//! What goes wrong in a mesh, done to a real one under load.

mod fault;
mod report;
mod scenario;

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

pub use fault::{FAULTS, Fault};
pub use report::FaultReport;
use scenario::Scenario;

use crate::{Load, Signal};

impl Fault {
    /// Does it to a mesh of three instances and two routers, after a quarter of `count` calls at
    /// `rate` a second.
    pub async fn run(self, rate: u32, count: usize) -> FaultReport {
        let mut scenario = Scenario::start(self).await;
        let whole = Duration::from_secs(1) * u32::try_from(count).expect("few calls") / rate;
        let mut load = Load::for_agent(scenario.agent(), scenario.mesh.address(), rate, count);
        load.wait_ended(count / 4).await;
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
                sleep_until(end).await;
                scenario.mesh.echoes[0].signal(Signal::Continue);
            }
            Self::PartitionConsul => {
                scenario.add_instances(2).await;
                sleep_until(end).await;
                scenario.link().restore();
            }
            Self::PauseConsul => {
                sleep_until(end).await;
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
