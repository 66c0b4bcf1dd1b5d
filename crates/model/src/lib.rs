//! A language model at any endpoint that speaks OpenAI's chat completions: streaming, calls of
//! functions in bounded rounds, token counts, a cache, and retries that obey `Retry-After`.
//!
//! [`Model::converse`] in order: `cache` → [`wire`] request with the parameters that the endpoint
//! accepts (`request_params`) → body (`sse`) → answer (`stream`, `tool_calls`, `reasoning`) → calls of
//! functions → next round. A parameter that an endpoint rejects (`error_response`) is left out.

mod cache;
mod client;
mod converse;
mod error;
mod error_response;
mod keys;
mod reasoning;
mod request_params;
mod retry;
mod sse;
mod stream;
mod text_sink;
mod tool_calls;
mod url;
pub mod wire;

pub use client::Model;
pub use converse::{Functions, Reply, Usage};
pub use error::Error;
pub use keys::ModelKeys;
pub use text_sink::TextSink;
