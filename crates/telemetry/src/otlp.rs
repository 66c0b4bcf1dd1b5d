//! Sends spans to a collector by OTLP. What is sent is encoded where it happens and waits in a queue of
//! a fixed size; a thread of its own sends it. A collector that is away or slow costs no call anything:
//! the queue fills, and what does not fit is counted and dropped.

mod connection;
mod destination;
mod dropped;
mod export;
mod protobuf;
mod queue;

pub(crate) use destination::Destination;
pub use destination::{OtlpOptions, OtlpProtocol, otlp_headers};
pub use dropped::{Signal, otlp_dropped};
pub(crate) use export::Exporter;
pub(crate) use protobuf::{Resource, write};
pub(crate) use queue::Queue;
