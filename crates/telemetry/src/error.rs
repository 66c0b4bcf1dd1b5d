//! What can go wrong with telemetry; none of it stops a service from serving.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// [`init`](crate::init) was called before, or somebody else set a subscriber.
    #[error("logging is set up already: call telemetry::init once, in main")]
    AlreadyInitialised,
    /// There is no log to change the level of.
    #[error("logging is not set up: call telemetry::init first")]
    NotInitialised,
    /// The collector cannot be spoken to as configured.
    #[error("OTLP endpoint {endpoint}: {reason}")]
    Endpoint {
        /// The configured endpoint.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Spans were left unsent at shutdown.
    #[error("traces could not be flushed: {0}")]
    Flush(String),
}
