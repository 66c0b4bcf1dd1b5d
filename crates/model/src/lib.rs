//! A language model at any endpoint that speaks OpenAI's chat completions: streaming, calls of
//! functions in bounded rounds, token counts, a cache, and retries that heed `Retry-After`.
//!
//! [`Model::converse`] reads: cache → [`wire`] request → stream → functions called → next round.

mod cache;
mod client;
mod converse;
mod error;
mod keys;
mod retry;
mod stream;
pub mod wire;

pub use client::{Model, Settings};
pub use converse::{Functions, Listener, Reply, Usage};
pub use error::Error;
pub use keys::{KEYS, from_config};
