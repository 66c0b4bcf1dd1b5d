//! The description of a program.

use crate::config::Group;

/// One service of the mesh.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The program's name, the first part of its instance ID, such as `echo-agent`.
    pub program: &'static str,
    /// Its Consul name, such as `agent-echo`.
    pub service: &'static str,
    /// Its kind, such as agent or tool.
    pub kind: discovery::ServiceKind,
    /// Its Consul tags.
    pub tags: &'static [&'static str],
    /// The environment variable of its gRPC port.
    pub port_env: &'static str,
    /// Its gRPC port when that is not given.
    pub default_port: u16,
    /// Its version: `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// Its purpose, in one line.
    pub about: &'static str,
    /// Methods that are safe to run twice, as `pkg.Service/Method`, or `*`.
    pub idempotent: &'static [&'static str],
    /// The keys that it obeys beside those of every program: tables such as [`crate::GRPC`] and
    /// [`crate::CALLS`], and groups of its own.
    pub keys: &'static [&'static [Group]],
}

impl Spec {
    /// An instance ID, unique per process, such as `echo-agent-1f9c03ab`. A router's has its host,
    /// too.
    pub(crate) fn instance_id(&self, host: &str) -> String {
        let suffix: u32 = rand::random();
        match self.kind {
            discovery::ServiceKind::Router => format!("{}-{host}-{suffix:08x}", self.program),
            _ => format!("{}-{suffix:08x}", self.program),
        }
    }
}
