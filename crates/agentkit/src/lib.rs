//! What agents and tools share, so that each is only what it does: a [`Tool`] or an
//! [`Agent`] behind its gRPC face, a [`Toolbox`] to call tools through the mesh, the words of a
//! text, and the form in which sources are cited.

mod about;
mod agent;
mod agent_server;
mod artifacts;
mod functions;
mod output_stream;
pub mod sources;
mod state;
pub mod text;
mod tool;
mod toolbox;

pub use about::{About, Operation, Parameter};
pub use agent::{Agent, Task, TaskError, TaskOutcome};
pub use agent_server::serve as serve_agent;
pub use artifacts::artifact;
pub use functions::MeshFunctions;
pub use output_stream::OutputStream;
pub use state::{AGENT_KEYS, AgentState, ToolKeys};
pub use tool::{Invocation, InvocationError, Tool, serve as serve_tool};
pub use toolbox::{ToolError, Toolbox, consul_name};
