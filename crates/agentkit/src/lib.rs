//! What agents, tools and workers share: an [`Agent`], a [`Tool`] or a [`Worker`] behind its gRPC service,
//! a [`Toolbox`] to call tools through the mesh, the words of a text, and how sources are cited.

mod about;
mod agent;
mod agent_server;
mod artifacts;
mod document_agent;
mod functions;
mod genai_span;
mod json_api;
mod output_stream;
mod parameters;
mod schema;
pub mod sources;
mod state;
mod status_board;
mod task;
pub mod text;
mod tool;
mod tool_server;
mod toolbox;
mod worker;
mod worker_server;

pub use about::{About, Operation, Parameter};
pub use agent::{AGENT, Agent};
pub use agent_server::serve as serve_agent;
pub use artifacts::{Artifact, DESIGN, NOTES};
pub use document_agent::{DOCUMENT_AGENT, DocumentAgent, Draft, serve as serve_document_agent};
pub use json_api::{ApiError, JsonApi};
pub use output_stream::OutputStream;
pub use parameters::{InvalidParameter, Parameters};
pub use schema::{parameter_type, parameters_schema};
pub use status_board::TaskHandle;
pub use task::{Task, TaskError, TaskOutcome};
pub use tool::{Invocation, InvocationError, TOOL, Tool};
pub use tool_server::serve as serve_tool;
pub use toolbox::{ToolError, Toolbox};
pub use worker::{WORKER, Worker};
pub use worker_server::serve as serve_worker;
