//! What goes wrong in a mesh, done to a real one under load.

use std::{error::Error, time::Duration};

use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::{Load, Mesh, Signal, load::Call};

/// Each call works so long, so that some are always in flight.
const WORK: &str = "25ms";
/// A router or agent that was asked to leave is gone by then.
const LEAVE: Duration = Duration::from_secs(30);

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
}

/// Every row.
pub const FAULTS: [Fault; 7] = [
    Fault::None,
    Fault::KillInstance,
    Fault::PauseInstance,
    Fault::StopInstance,
    Fault::RestartConsul,
    Fault::StopRouter,
    Fault::KillRouter,
];

/// What became of the calls.
#[derive(Debug)]
pub struct Report {
    /// What was done.
    pub fault: Fault,
    /// Every call.
    pub calls: Vec<Call>,
    /// When it began to be done.
    pub from: Instant,
    /// When it was done: a killed process was gone.
    pub at: Instant,
    /// When a paused instance went on.
    pub over: Option<Instant>,
    /// The instance it was done to.
    pub victim: Option<String>,
}

impl Fault {
    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::KillInstance => "kill -9 an instance",
            Self::PauseInstance => "SIGSTOP an instance, later SIGCONT",
            Self::StopInstance => "SIGTERM an instance",
            Self::RestartConsul => "restart Consul, which forgets all",
            Self::StopRouter => "SIGTERM a router",
            Self::KillRouter => "kill -9 a router",
        }
    }

    /// Does it to a mesh of three instances and two routers, after a quarter of `count` calls at
    /// `rate` a second.
    pub async fn run(self, rate: u32, count: usize) -> Report {
        let mut mesh = Mesh::start(3, 2, &[("ECHO_DELAY", WORK.to_owned())]).await;
        let whole = Duration::from_secs(1) * u32::try_from(count).expect("few calls") / rate;
        let load = Load::start(mesh.address(), rate, count);
        sleep(whole / 4).await;
        let from = Instant::now();
        let victim = self.strike(&mut mesh).await;
        let at = Instant::now();
        let mut over = None;
        if self == Self::PauseInstance {
            sleep(whole / 2).await;
            mesh.echoes[0].signal(Signal::Continue);
            over = Some(Instant::now());
        }
        let calls = load.end().await;
        self.aftermath(&mut mesh).await;
        Report {
            fault: self,
            calls,
            from,
            at,
            over,
            victim,
        }
    }

    async fn strike(self, mesh: &mut Mesh) -> Option<String> {
        let (target, signal) = match self {
            Self::None => return None,
            Self::RestartConsul => {
                mesh.consul.restart().await;
                return None;
            }
            Self::KillInstance => (&mut mesh.echoes[0], Signal::Kill),
            Self::PauseInstance => (&mut mesh.echoes[0], Signal::Stop),
            Self::StopInstance => (&mut mesh.echoes[0], Signal::Terminate),
            Self::StopRouter => (&mut mesh.routers[0], Signal::Terminate),
            Self::KillRouter => (&mut mesh.routers[0], Signal::Kill),
        };
        target.signal(signal);
        if signal == Signal::Kill {
            target.process.end(LEAVE).await;
        }
        Some(target.id.clone())
    }

    /// Whoever was not struck is well; whoever was asked to leave has left in order.
    async fn aftermath(self, mesh: &mut Mesh) {
        let gone = match self {
            Self::KillInstance | Self::StopInstance => Some(mesh.echoes.remove(0)),
            Self::KillRouter | Self::StopRouter => Some(mesh.routers.remove(0)),
            Self::None | Self::PauseInstance | Self::RestartConsul => None,
        };
        if let Some(mut program) = gone {
            let status = program.process.end(LEAVE).await;
            let asked = matches!(self, Self::StopInstance | Self::StopRouter);
            assert_eq!(status.success(), asked, "{}: {status}", self.name());
        }
        if self == Self::RestartConsul {
            mesh.consul.wait_passing("agent-echo", 3).await;
            mesh.consul.wait_passing("mcp-router", 2).await;
        }
        for program in mesh.echoes.iter_mut().chain(&mut mesh.routers) {
            program.assert_well();
        }
    }
}

impl Report {
    /// How many calls succeeded.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.calls
            .iter()
            .filter(|call| call.outcome.is_ok())
            .count()
    }

    /// The calls that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.outcome.is_err())
    }

    /// How many calls were in flight when it was done.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls
            .iter()
            .filter(|call| self.was_in_flight(call))
            .count()
    }

    /// Whether a call was in flight when it was done.
    #[must_use]
    pub fn was_in_flight(&self, call: &Call) -> bool {
        call.sent <= self.at && call.ended >= self.from
    }

    /// The calls that were sent later than `after` the fault, while it lasted, and went to the
    /// instance it was done to.
    pub fn misled(&self, after: Duration) -> impl Iterator<Item = &Call> {
        let end = self
            .over
            .unwrap_or_else(|| self.at + Duration::from_secs(3600));
        let late = move |call: &&Call| call.sent > self.at + after && call.sent < end;
        self.calls
            .iter()
            .filter(late)
            .filter(|call| call.outcome.as_ref().ok() == self.victim.as_ref())
    }

    /// The longest that a call took which was sent later than `after` the fault.
    #[must_use]
    pub fn slowest(&self, after: Duration) -> Duration {
        let late = self.calls.iter().filter(|call| call.sent > self.at + after);
        late.map(|call| call.ended - call.sent)
            .max()
            .unwrap_or_default()
    }

    /// Fails the test, with what is known, unless `holds`.
    pub fn expect(&self, what: &str, holds: bool) {
        assert!(holds, "{}: {what}\n{}", self.fault.name(), self.told());
    }

    /// The calls that failed, a line each; times are since it was done.
    #[must_use]
    pub fn told(&self) -> String {
        let line = |call: &Call| {
            let since = |at: Instant| {
                at.saturating_duration_since(self.at).as_secs_f64()
                    - self.at.saturating_duration_since(at).as_secs_f64()
            };
            let error = call.outcome.as_ref().map_or_else(cause, String::clone);
            format!(
                "sent {:+.3} s, ended {:+.3} s: {error}",
                since(call.sent),
                since(call.ended)
            )
        };
        self.failed().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A status with what is at the bottom of it: the reason of a reset, for example.
fn cause(status: &Status) -> String {
    let mut error: &dyn Error = status;
    while let Some(source) = error.source() {
        error = source;
    }
    format!("{:?} {}: {error}", status.code(), status.message())
}
