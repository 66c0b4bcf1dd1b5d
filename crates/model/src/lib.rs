//! A language model at any endpoint that speaks OpenAI's chat completions: streaming, calls of
//! functions in bounded rounds, token counts, a cache, and retries that obey `Retry-After`.
//!
//! A round of [`Model::converse`] looks into the `cache`, and sends a [`wire`] request with the parameters
//! that the endpoint accepts (`request_params`). It reads the body (`sse`) as an answer (`stream`,
//! `tool_calls`, `reasoning`), and calls functions. A parameter that the endpoint rejects
//! (`error_response`) is left out.
//!
//! ```no_run
//! use mesh_model::{Functions, Model, ModelKeys, wire::Message};
//!
//! # async fn example(functions: &dyn Functions) -> Result<(), mesh_model::Error> {
//! let model = Model::new(ModelKeys::default())?;
//! let question = vec![Message::user("What is a service mesh?")];
//! // `()` takes the text of a caller who does not read along.
//! let reply = model.converse(question, functions, &()).await?;
//! println!("{} for {} tokens", reply.text, reply.usage.completion_tokens);
//! # Ok(())
//! # }
//! ```

mod cache;
mod chat_span;
mod client;
mod converse;
mod error;
mod error_response;
mod keys;
mod metrics;
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
