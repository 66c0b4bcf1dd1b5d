//! When a call has failed, whatever the mesh says then.

use std::time::Duration;

use proto::error_info::{self, Reason};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status};

/// The moment at which a call has failed, whatever the mesh says then.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// The moment after `timeout`, from now on; `None` is never.
    #[must_use]
    pub fn after(timeout: Option<Duration>) -> Self {
        let at = |given| (channel::deadline::after(Instant::now(), given), given);
        Self(timeout.map(at))
    }

    pub(crate) fn left(self) -> Option<Duration> {
        let (at, _) = self.0?;
        Some(at.saturating_duration_since(Instant::now()))
    }

    /// Awaits a step of the call until then. tonic's own timer says `CANCELLED`, and ends with the
    /// headers of the answer.
    ///
    /// # Errors
    /// What the step says, or `DEADLINE_EXCEEDED`.
    pub async fn keep<T>(self, step: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
        let Some((at, given)) = self.0 else {
            return step.await;
        };
        let over = || {
            let text = format!("no answer within {given:?}");
            error_info::status(Code::DeadlineExceeded, Reason::DeadlineExceeded, text, [])
        };
        match timeout_at(at, step).await {
            Ok(Err(status)) if status.code() == Code::Cancelled && Instant::now() >= at => {
                Err(over())
            }
            Ok(answer) => answer,
            Err(_) => Err(over()),
        }
    }
}
