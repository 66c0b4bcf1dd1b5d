//! The chassis of every program of the mesh: configuration, registration, health, reflection, the
//! admin listener and the drain.
//!
//! A service is a [`Spec`] and a function that builds its [`Services`]:
//!
//! ```no_run
//! use mesh_service::{Context, ServiceKind, Services, Spec};
//!
//! const SPEC: Spec = Spec {
//!     program: "hello-agent",
//!     service: "agent-hello",
//!     kind: ServiceKind::Agent,
//!     tags: &["agent"],
//!     port_env: "AGENT_PORT",
//!     default_port: 50055,
//!     version: env!("CARGO_PKG_VERSION"),
//!     about: "Says hello",
//!     idempotent: &[],
//!     keys: &[],
//! };
//!
//! /// Adds tonic services with `Services::service`; health and reflection are there already.
//! fn build(_context: &Context) -> anyhow::Result<Services> {
//!     Ok(Services::new())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     mesh_service::main(SPEC, build)
//! }
//! ```

mod active_tasks;
mod admin;
mod advertise;
pub mod answers;
mod call_limits;
pub mod call_log;
mod cause_slot;
mod cli;
pub mod clients;
mod compression;
mod conditions;
mod connection;
mod context;
mod health;
mod healthcheck;
mod http;
mod idle_timer;
mod keys;
mod limits;
mod listener;
mod loop_lag;
mod metrics;
mod network;
mod observe;
mod port;
mod pprof;
mod probes;
mod program;
mod protocol_mismatch;
mod registration;
mod request_body;
mod response_body;
mod run;
mod scrape;
mod server;
mod services;
mod settings;
mod signals;
mod socket;
mod spec;
#[cfg(test)]
mod tests;
mod token_bucket;
mod tool_settings;
mod web_policy;

pub use self::http::{HttpBody, HttpListener, HttpService, PeerAddr};
pub use ::config::{self, Config, Group, Key, Loader};
pub use active_tasks::{ActiveTasks, TaskGuard};
pub use call_limits::{CallLimits, with_call_limits};
pub use conditions::{Conditions, Severity};
pub use context::Context;
pub use discovery::ServiceKind;
pub use keys::{
    AdminKeys, BASE, CALLS, CallKeys, ChassisKeys, ConnectionKeys, DrainKeys, GRPC, ListenKeys,
    MESSAGES, MessageKeys, TOOLS, WEB,
};
pub use listener::{Listener, LocalBackend};
pub use loop_lag::LoopLag;
pub use probes::{is_grpc, is_method, is_probe};
pub use profile::{release_memory, track_tasks};
pub use program::{main, main_as};
pub use protocol_mismatch::wrong_protocol_reply;
pub use registration::{consul_address, consul_options, registry};
pub use request_body::{BodyTimeout, RequestBody};
pub use run::{DrainReport, ServerHandle, start};
pub use services::Services;
pub use signals::{Hangup, Reload, Signals};
pub use socket::bind;
pub use spec::Spec;
pub use token_bucket::{TokenBucket, TokenRate};
pub use tool_settings::{Listed, MethodList, ToolSettings};
pub use web_policy::{WebPolicy, WebRefusal};
