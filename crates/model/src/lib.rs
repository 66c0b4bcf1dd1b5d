//! A language model at any endpoint that speaks OpenAI's chat completions: streaming, calls of
//! functions in bounded rounds, token counts, a cache, and retries that heed `Retry-After`.
//!
//! [`Model::converse`] reads: cache → [`wire`] request, in the `form` that the endpoint takes → body
//! (`sse`) → answer (`stream`, `calls`, `thought`) → functions called → next round. What an endpoint
//! refuses (`refusal`) is left out and remembered.

mod cache;
mod calls;
mod client;
mod converse;
mod error;
mod form;
mod keys;
mod refusal;
mod retry;
mod sse;
mod stream;
mod thought;
mod url;
pub mod wire;

pub use client::{Model, Settings};
pub use converse::{Functions, Listener, Reply, Usage};
pub use error::Error;
pub use keys::{KEYS, from_config};
