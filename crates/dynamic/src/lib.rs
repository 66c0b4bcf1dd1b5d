//! JSON to gRPC and back, by reflection: calls of methods that a program was not built for.
//!
//! [`DynamicClient`] calls services of the mesh, straight or through a router, with JSON in and out. It
//! gets their descriptors by [`ReflectionClient`] and keeps them. Its own errors are gRPC statuses with
//! `google.rpc.ErrorInfo`, with the instance that answered in the metadata as [`INSTANCE`].
//!
//! ```no_run
//! use mesh_dynamic::{DynamicCall, DynamicClient, DynamicOptions, Transport};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let router = Transport::router("localhost:50051")?;
//! let client = DynamicClient::new(router, DynamicOptions::default());
//! let call = DynamicCall {
//!     service: "echo-agent".to_owned(),
//!     method: "agentplatform.AgentService/ExecuteTask".to_owned(),
//!     ..DynamicCall::default()
//! };
//! let answer = client.call(&call, json!({"input": "hello"})).await?;
//! assert_eq!(answer.message["output"], "Echo Agent Response: hello");
//! # Ok(())
//! # }
//! ```

mod address;
mod client;
mod codec;
mod deadline;
mod descriptors;
mod exchange;
mod invoke;
mod json;
mod keys;
mod lenient;
mod names;
mod pool;
mod prepared;
mod reflection;
mod strict;
mod transport;

pub use address::{InvalidAddress, address};
pub use client::{
    ByteStream, DynamicCall, DynamicClient, DynamicOptions, MessageStream, UnaryResponse,
};
pub use deadline::Deadline;
pub use invoke::{ReceivedMessages, invoke};
pub use json::{ReceivedMessage, from_json, to_json, to_text};
pub use keys::RouterKeys;
pub use names::catalog;
pub use pool::FilePool;
pub use prepared::{CallHead, MethodRoute, PreparedCall};
pub use reflection::ReflectionClient;
pub use transport::Transport;

use prost_reflect::MethodDescriptor;

/// Metadata that names the service a call is for.
pub const SERVICE: &str = "x-mesh-service";
/// Metadata that carries the session of a call.
pub const SESSION: &str = "x-mesh-session";
/// Metadata that names the instance that answered.
pub const INSTANCE: &str = "x-mesh-instance";

/// The path of a method: `pkg.Service/Method`.
#[must_use]
pub fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}
