//! JSON to gRPC and back, by reflection: calls of methods that a program was not built for.
//!
//! [`DynamicClient`] calls services of the mesh, straight or through a router, with JSON in and out; it
//! keeps the descriptors that [`ReflectionClient`] tells. What it has to say itself is a gRPC status with
//! `google.rpc.ErrorInfo`, as everywhere in the mesh; the instance that answered is in its metadata
//! as [`INSTANCE`].

mod address;
mod client;
mod codec;
mod deadline;
mod descriptors;
mod invoke;
mod json;
mod keys;
mod lenient;
mod names;
mod reflection;
mod transport;

pub use address::{InvalidAddress, address};
pub use client::{DynamicCall, DynamicClient, DynamicOptions, MessageStream, UnaryResponse};
pub use deadline::Deadline;
pub use invoke::invoke;
pub use json::{ReceivedMessage, from_json, to_json, to_text};
pub use keys::RouterKeys;
pub use reflection::ReflectionClient;
pub use transport::Transport;

use prost_reflect::MethodDescriptor;

/// Metadata that names the service a call is for.
pub const SERVICE: &str = "x-mesh-service";
/// Metadata that carries the session of a call.
pub const SESSION: &str = "x-mesh-session";
/// Metadata that tells which instance answered.
pub const INSTANCE: &str = "x-mesh-instance";

/// A method as it is written everywhere: `pkg.Service/Method`.
#[must_use]
pub fn path(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().full_name(), method.name())
}
