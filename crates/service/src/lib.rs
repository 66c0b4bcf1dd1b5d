//! The chassis of every program of the mesh: configuration, registration, health, reflection, the
//! admin listener and the drain. A service is a [`Spec`] and a function that builds what it serves:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     service::main(SPEC, build)
//! }
//! ```

pub mod access;
mod active;
mod admin;
mod announce;
mod bounds;
mod calling;
pub mod clients;
mod coding;
pub mod config;
mod connection;
mod context;
mod front;
mod health;
mod healthcheck;
mod http;
mod keys;
mod listener;
mod notes;
mod observe;
mod probes;
mod program;
mod registration;
mod reply;
mod run;
mod served;
mod server;
mod settings;
mod signals;
mod spec;
mod stranger;
#[cfg(test)]
mod tests;
mod tidy;
mod upload;
mod web;

pub use self::http::{HttpFront, Peer};
pub use active::{Active, Task};
pub use bounds::{Bounds, bounded};
pub use config::{Config, Key, Loader, Type};
pub use context::Context;
pub use discovery::ServiceKind;
pub use front::{Behind, Front};
pub use listener::bind;
pub use notes::{Notes, Weight};
pub use probes::{is_grpc, is_method, is_probe};
pub use program::main;
pub use registration::{consul_address, registry};
pub use run::{Drained, Running, start};
pub use served::Served;
pub use signals::Reload;
pub use spec::Spec;
pub use stranger::Stranger;
pub use upload::{Silent, Upload};
pub use web::{Refusal, WEB_KEYS, Web};
