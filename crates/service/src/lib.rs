//! The chassis of every program of the mesh: configuration, registration, health, reflection, the
//! admin listener and the drain. A service is a [`Spec`] and a function that builds what it serves:
//!
//! ```ignore
//! fn main() -> std::process::ExitCode {
//!     service::main(SPEC, build)
//! }
//! ```

mod active;
pub mod config;
mod context;
mod keys;
mod run;
mod served;
mod spec;

pub use active::{Active, Task};
pub use config::{Config, Key, Loader, Type};
pub use context::Context;
pub use discovery::Kind;
pub use run::{Drained, Running, main, start};
pub use served::Served;
pub use spec::Spec;
