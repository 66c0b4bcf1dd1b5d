//! Where the chassis notes that it, and not the service, ended a call.

use std::sync::{Arc, OnceLock};

use http::Extensions;
use proto::MeshCause;
use tonic::Status;

/// In the extensions of a request whose end is written down. The first cause stays.
#[derive(Clone, Debug, Default)]
pub(crate) struct CauseSlot(Option<Arc<OnceLock<MeshCause>>>);

impl CauseSlot {
    /// A slot that keeps what is set.
    pub(crate) fn new() -> Self {
        Self(Some(Arc::default()))
    }

    /// The slot of a request; one that keeps nothing where its end is not written down.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or_default()
    }

    /// Notes the cause of a status that the chassis gives.
    pub(crate) fn note(&self, status: &Status) {
        if let Some(slot) = &self.0
            && let Some(cause) = MeshCause::of(status)
        {
            slot.get_or_init(|| cause);
        }
    }

    pub(crate) fn get(&self) -> Option<MeshCause> {
        self.0.as_ref()?.get().copied()
    }
}
