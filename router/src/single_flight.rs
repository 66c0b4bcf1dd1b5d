//! Facts about a service from its instances: queried once, then remembered.

use std::{future::Future, time::Duration};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};
use tonic::Status;

/// The time limit of a query to an instance.
pub(crate) const QUERY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a failure is remembered, so that a silent instance delays one caller and not each.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// One fact. Callers that come during its query wait for the same answer.
#[derive(Debug)]
pub(crate) struct SingleFlight<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Unknown,
    Known(T),
    Failed { again: Instant },
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self(Mutex::new(State::Unknown))
    }
}

impl<T: Clone> SingleFlight<T> {
    /// The fact, queried by `question` if it is not known yet; `None` when that failed, or took longer
    /// than `patience`.
    pub(crate) async fn get(
        &self,
        patience: Duration,
        question: impl Future<Output = Result<T, Status>>,
    ) -> Option<T> {
        let mut state = self.0.lock().await;
        match &*state {
            State::Known(fact) => return Some(fact.clone()),
            State::Failed { again } if Instant::now() < *again => return None,
            State::Unknown | State::Failed { .. } => {}
        }
        if let Ok(Ok(fact)) = timeout(patience, question).await {
            *state = State::Known(fact.clone());
            return Some(fact);
        }
        *state = State::Failed {
            again: Instant::now() + RETRY_AFTER,
        };
        None
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
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(1) }).await, Some(1));
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(2) }).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn failure_is_remembered_for_a_while_only() {
        let flight = SingleFlight::default();
        assert_eq!(flight.get(QUERY_TIMEOUT, fails()).await, None);
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(2) }).await, None);
        tokio::time::advance(RETRY_AFTER).await;
        assert_eq!(flight.get(QUERY_TIMEOUT, async { Ok(2) }).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_with_the_patience() {
        let flight: SingleFlight<u8> = SingleFlight::default();
        assert_eq!(
            flight.get(QUERY_TIMEOUT, std::future::pending()).await,
            None
        );
    }
}
