//! Waiting for what has to happen soon.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Asks until there is an answer, and gives it with the time it took; `None` after `limit`.
pub async fn within<T>(
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> Option<(T, Duration)> {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return Some((answer, begun.elapsed()));
        }
        if begun.elapsed() > limit {
            return None;
        }
        sleep(EVERY).await;
    }
}

/// [`within`], where no answer fails the test: `what` says what was waited for.
pub async fn until<T>(what: &str, limit: Duration, ask: impl AsyncFnMut() -> Option<T>) -> T {
    match within(limit, ask).await {
        Some((answer, _)) => answer,
        None => panic!("not within {limit:?}: {what}"),
    }
}
