//! What a call brings along beside its arguments, and where its progress goes.

use std::{sync::Arc, time::Duration};

use tonic::metadata::MetadataMap;

/// What a call brings along beside its arguments.
#[derive(Clone, Debug, Default)]
pub struct CallContext {
    /// Longest time for the call, as the client says (`mesh.v1/timeoutMs`).
    pub timeout: Option<Duration>,
    /// Metadata that goes to the service, such as `traceparent`.
    pub metadata: MetadataMap,
    /// Whom the token names. Services get it as `x-mesh-caller`, and tasks belong to it.
    pub caller: Option<Arc<str>>,
    /// The client's name for this call (`mesh.v1/idempotencyKey`).
    pub idempotency_key: Option<String>,
    /// What keeps calls of one client with one instance, where the service's policy does that.
    pub session: Option<String>,
    /// Whether the client takes a task in place of a result.
    pub takes_tasks: bool,
}

/// How far a call has come.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Grows with each report.
    pub progress: f64,
    /// What `progress` grows to, where that is known.
    pub total: Option<f64>,
    /// In words, or a message of a stream as JSON.
    pub message: Option<String>,
}

/// Who wants to know how far a call has come.
pub trait ProgressSink: Send {
    /// Whether anybody does: what is not wanted need not be written.
    fn is_wanted(&self) -> bool;

    /// Takes a report. The call goes on once the future is ready, so a slow reader slows it down.
    fn report(&mut self, progress: Progress) -> impl Future<Output = ()> + Send;
}

/// Nobody.
impl ProgressSink for () {
    fn is_wanted(&self) -> bool {
        false
    }

    async fn report(&mut self, _: Progress) {}
}
