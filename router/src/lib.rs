//! The MCP router: whom a call is for, and the mesh's own answers. Calls are forwarded as they came.

mod compression;
pub mod scanner;
