//! The mesh as the Model Context Protocol has it: which tools there are, what they take, and how they
//! are called. It knows no HTTP and no sessions: those are the gateway's.
//!
//! A [`MeshTool`] is an agent, a worker, an operation of a tool, a method of a gRPC service, or a tool
//! of a foreign MCP server. [`ToolCaller`] calls one. Long calls become durable jobs ([`Tasks`]).

#![expect(
    clippy::result_large_err,
    reason = "a result that says what is wrong is the answer itself, made once by a call that failed"
)]

pub mod builtin;
mod call;
pub mod catalog;
mod context;
mod json;
mod keys;
pub mod mounted;
pub mod names;
pub mod pins;
mod result;
pub mod rpc;
mod rules;
pub mod schema;
pub mod search;
mod status;
mod tasks;
#[cfg(test)]
mod testing;
pub mod text;
mod tool;
pub mod validate;

pub use builtin::Builtin;
pub use call::ToolCaller;
pub use catalog::{
    Catalog, CatalogKeys, CatalogService, CatalogSnapshot, CatalogView, LeftOut, MeshPrompt,
    MeshResource, prompts, resources,
};
pub use context::{CallContext, Progress, ProgressSink};
pub use dynamic::PreparedCall;
pub use keys::ToolKeys;
pub use mounted::MountClient;
pub use result::{CallError, CallOutcome, Content, JsonText, ToolResult};
pub use tasks::{TaskFollower, TaskView, Tasks};
pub use tool::{Annotations, MeshTool, ToolDefinition, ToolTarget};
