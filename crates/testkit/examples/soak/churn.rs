//! Instances that come and go.

use std::time::Duration;

use mesh_testkit::{Consul, Program, Signal};
use tokio::time::sleep;

const INSTANCES: usize = 3;
/// Between a departure and the next.
const EVERY: Duration = Duration::from_secs(5);

/// The echo agents that are there now.
pub(crate) struct Churn {
    agents: Vec<Program>,
    leaving: Vec<Program>,
    /// How many were killed.
    pub(crate) killed: usize,
    /// How many were asked to leave.
    pub(crate) left: usize,
}

impl Churn {
    /// Starts them, and waits until Consul has them.
    pub(crate) async fn start(consul: &Consul) -> Self {
        let agents = Program::several("echo-agent", INSTANCES, &env(consul)).await;
        consul.wait_passing("agent-echo", INSTANCES).await;
        Self {
            agents,
            leaving: Vec::new(),
            killed: 0,
            left: 0,
        }
    }

    /// After a while one ends, in turn killed and asked to leave, and another takes its place.
    pub(crate) async fn next(&mut self, consul: &Consul) {
        sleep(EVERY).await;
        self.leaving
            .retain_mut(|program| program.process.exit_status().is_none());
        let mut oldest = self.agents.remove(0);
        if self.killed > self.left {
            oldest.signal(Signal::Terminate);
            self.left += 1;
            self.leaving.push(oldest);
        } else {
            oldest.signal(Signal::Kill);
            self.killed += 1;
        }
        self.agents
            .push(Program::start("echo-agent", &env(consul)).await);
    }
}

/// Each task and each word takes so long.
fn env(consul: &Consul) -> Vec<(&'static str, String)> {
    [consul.env(), vec![("ECHO_DELAY", "20ms".to_owned())]].concat()
}
