//! A job that was accepted.

use jobs::Submitted;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{job_view::StatusWord, state::Gateway};

/// An accepted job.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"job_id": "default.0.0193a7c0f2b1f00d5e1f8a3c2d4", "status": "queued"}))]
pub(crate) struct Accepted {
    /// Its id.
    job_id: String,
    /// Its status; null for a job that was submitted before under the same key and is no longer kept.
    status: Option<StatusWord>,
    /// Why it may wait for long, where that is known: no runner serves its queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warning: Option<String>,
}

impl From<&Submitted> for Accepted {
    fn from(submitted: &Submitted) -> Self {
        Self {
            job_id: submitted.id.to_string(),
            status: submitted.status.map(Into::into),
            warning: None,
        }
    }
}

impl Accepted {
    pub(crate) async fn with_warning(app: &Gateway, submitted: &Submitted) -> Self {
        let warning = app.warning(submitted.id.queue(), submitted.status).await;
        Self {
            warning,
            ..Self::from(submitted)
        }
    }
}
