//! What can go wrong: the rows of the table.

use crate::faulty_instance::FaultMode;

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
