//! An HTTP/2 relay engine without I/O: bytes in, bytes out, timers.
//!
//! Read it in this order: [`frame`] and [`settings`] (the wire), [`hpack`] (header blocks whose fields
//! carry their bytes ready to be written again), [`parser`] (a connection's bytes become steps), and
//! [`Engine`], which takes the steps of clients' and instances' connections and moves calls between
//! them. What is the host's to decide — routing, retries, statistics — it asks of a [`Host`].
//! [`driver`] is the only part that knows of sockets and of tokio.

pub mod abuse_score;
mod call;
mod config;
mod conn;
pub mod driver;
mod engine;
pub mod first_bytes;
pub mod frame;
mod half;
mod hash;
mod host;
pub mod hpack;
mod message;
pub mod parser;
pub mod settings;
mod slab;
pub mod tap;
pub mod timeout;

pub use config::Config;
pub use engine::Engine;
pub use hash::Map;
pub use host::{Cause, Ended, Endpoint, Failure, Host, PeerProtocol, Verdict};
pub use slab::Id;
