//! Facts about a service from its instances: queried once, then remembered.

use std::{future::Future, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::Status;

/// The time limit of a query to an instance.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a failure is remembered, so that a silent instance delays one caller and not each.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One fact. Callers that come during its query wait for the same answer.
#[derive(Debug)]
pub struct SingleFlight<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Unknown,
    Known(T),
    Failed { again: Instant, why: Box<Status> },
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(State::Unknown))
    }
}

impl<T: Clone> SingleFlight<T> {
    /// The fact, queried by `question` if it is not known yet.
    ///
    /// # Errors
    /// Why that failed, now or a short time ago; `DEADLINE_EXCEEDED` when it took longer than `patience`.
    pub async fn get(
        &self,
        patience: Duration,
        question: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let mut state = self.0.lock().await;
        match &*state {
            State::Known(fact) => return Ok(fact.clone()),
            State::Failed { again, why } if Instant::now() < *again => return Err((**why).clone()),
            State::Unknown | State::Failed { .. } => {}
        }
        let silent = || {
            let text = format!("no answer within {patience:?}");
            Err(Status::deadline_exceeded(text))
        };
        let outcome = timeout(patience, question).await;
        let outcome = outcome.unwrap_or_else(|_| silent());
        *state = match &outcome {
            Ok(fact) => State::Known(fact.clone()),
            Err(status) => State::Failed {
                again: Instant::now() + RETRY_AFTER,
                why: Box::new(status.clone()),
            },
        };
        outcome
    }

    /// Forgets that the query failed: the next caller asks at once.
    pub(crate) async fn forget_failure(&self) {
        let mut state = self.0.lock().await;
        if matches!(*state, State::Failed { .. }) {
            *state = State::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fails() -> Result<u8, Status> {
        Err(Status::unavailable("gone"))
    }

    #[tokio::test(start_paused = true)]
    async fn answer_is_asked_for_once() {
        let flight = SingleFlight::default();
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(1) }).await.unwrap(), 1);
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(2) }).await.unwrap(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_is_remembered_for_a_while_only() {
        let flight = SingleFlight::default();
        assert!(flight.get(QUERY_TIMEOUT, fails()).await.is_err());
        let remembered = flight.get(QUERY_TIMEOUT, async { Ok(2) }).await;
        assert_eq!(remembered.unwrap_err().message(), "gone");
        tokio::time::advance(RETRY_AFTER).await;
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(2) }).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn failure_that_is_forgotten_is_asked_again_and_a_fact_is_kept() {
        let flight = SingleFlight::default();
        assert!(flight.get(QUERY_TIMEOUT, fails()).await.is_err());
        flight.forget_failure().await;
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(2) }).await.unwrap(), 2);
        flight.forget_failure().await;
        assert_eq!(flight.get(QUERY_TIMEOUT, fails()).await.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_patience() {
        let flight: SingleFlight<u8> = SingleFlight::default();
        let silent = flight.get(QUERY_TIMEOUT, std::future::pending()).await;
        assert_eq!(silent.unwrap_err().code(), tonic::Code::DeadlineExceeded);
    }
}
