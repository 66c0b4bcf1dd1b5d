//! The chassis at work: real sockets on ports of the system's choice, a registry in memory.

use crate::{Kind, Spec};

pub(crate) const SPEC: Spec = Spec {
    program: "test-agent",
    service: "agent-test",
    kind: Kind::Agent,
    tags: &["agent", "test"],
    port_env: "AGENT_PORT",
    default_port: 50052,
    version: "1.2.3",
    about: "A service of the tests",
    idempotent: &["agentplatform.AgentService/GetStatus"],
    keys: &[],
};
