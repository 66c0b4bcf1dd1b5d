//! What a process says of itself when it registers.

use std::{collections::BTreeMap, time::Duration};

/// How the registry finds out whether an instance is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// `grpc.health.v1.Health/Check` on the instance's own port.
    Grpc,
    /// A TCP connection to the instance's own port.
    Tcp,
}

/// One instance to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Consul service ID, unique per process.
    pub id: String,
    /// Consul service name.
    pub service: String,
    /// Address to announce.
    pub host: String,
    /// TCP port to announce.
    pub port: u16,
    /// Tags.
    pub tags: Vec<String>,
    /// `Meta`: a value is at most 512 bytes.
    pub meta: BTreeMap<String, String>,
    /// Relative weight while passing, ≥ 1.
    pub weight_passing: u32,
    /// Relative weight while warning, ≥ 1.
    pub weight_warning: u32,
    /// Kind of check.
    pub check: Check,
    /// Time between two checks.
    pub check_interval: Duration,
    /// After how long in critical the registry removes it; Consul's least is one minute.
    pub deregister_after: Duration,
}
