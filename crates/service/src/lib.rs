//! The chassis of every program of the mesh: configuration, registration, health, reflection, the
//! admin listener and the drain. A service is a [`Spec`] and a function that builds what it serves:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     service::main(SPEC, build)
//! }
//! ```

pub mod access;
mod active_tasks;
mod admin;
mod advertise;
mod call_limits;
mod cli;
pub mod clients;
mod compression;
mod connection;
mod context;
mod listener;
mod health;
mod healthcheck;
mod http;
mod keys;
mod socket;
mod conditions;
mod observe;
mod probes;
mod program;
mod registration;
mod response_body;
mod run;
mod services;
mod server;
mod settings;
mod signals;
mod spec;
mod protocol_mismatch;
#[cfg(test)]
mod tests;
mod authority;
mod request_body;
mod web_policy;

pub use self::http::{HttpListener, PeerAddr};
pub use active_tasks::{ActiveTasks, TaskGuard};
pub use call_limits::{CallLimits, with_call_limits};
pub use ::config::{self, Config, Group, Key, Loader};
pub use keys::{AdminKeys, BASE, CALLS, CallKeys, ChassisKeys, ConnectionKeys, DrainKeys, GRPC, ListenKeys, MESSAGES, MessageKeys, WEB};
pub use context::Context;
pub use discovery::ServiceKind;
pub use listener::{LocalBackend, Listener};
pub use socket::bind;
pub use conditions::{Conditions, Severity};
pub use probes::{is_grpc, is_method, is_probe};
pub use program::main;
pub use registration::{consul_address, registry};
pub use run::{DrainReport, ServerHandle, start};
pub use services::Services;
pub use signals::Reload;
pub use spec::Spec;
pub use protocol_mismatch::ProtocolMismatch;
pub use request_body::{BodyTimeout, RequestBody};
pub use web_policy::{WebPolicy, WebRefusal};
