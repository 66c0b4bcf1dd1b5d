//! A client of MCP endpoints over HTTP, in both eras: modern (2026-07-28, where each request stands
//! alone) and legacy (a handshake, then a session).

mod bridge;
mod client;
mod endpoint;
mod headers;
mod inbox;
mod replies;

pub(crate) use bridge::bridge;
pub(crate) use client::{McpClient, Responder};
pub(crate) use endpoint::{Endpoint, EndpointArgs, Era};

/// The modern revision.
const MODERN: &str = "2026-07-28";
/// The legacy revision that is offered first.
const LEGACY: &str = "2025-11-25";
/// Where a modern request says which revision it is of.
const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CLIENT: &str = "io.modelcontextprotocol/clientInfo";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
/// The extension that makes a task of a long call.
const TASKS: &str = "io.modelcontextprotocol/tasks";

const METHOD_NOT_FOUND: i64 = -32601;
const INTERNAL_ERROR: i64 = -32603;
const PARSE_ERROR: i64 = -32700;
const HEADER_MISMATCH: i64 = -32020;
const UNSUPPORTED_VERSION: i64 = -32022;
