//! When a request is sent again, and after how long.

use std::time::Duration;

use backoff::Backoff;
use chrono::{DateTime, Utc};
use rand::{Rng, RngExt as _};
use reqwest::header::HeaderMap;

/// The pauses without a `Retry-After`.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(20), 0.5);
/// The longest `Retry-After` that is read, s: a year.
const MAX_SECONDS: f64 = 31_536_000.0;

/// Whether a retry may succeed after this status.
pub(crate) fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..600)
}

/// The pause after a number of failures: the endpoint's, else an exponential one. Its random part
/// spreads callers that failed together.
pub(crate) fn pause(failures: u32, asked: Option<Duration>, rng: &mut impl Rng) -> Duration {
    match asked {
        // Never earlier than asked.
        Some(asked) => asked.mul_f64(rng.random_range(1.0..1.1)),
        None => BACKOFF.after(failures, rng),
    }
}

/// The pause that the endpoint asks for: `retry-after-ms` of OpenAI and Azure, else `Retry-After`.
pub(crate) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let ms = text("retry-after-ms").and_then(|ms| seconds(ms)?.checked_div(1000));
    ms.or_else(|| parse_retry_after(text("retry-after")?, now))
}

/// Seconds, also with a fraction; `None` for any other text.
fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.trim().parse::<f64>().ok()?;
    Duration::try_from_secs_f64(seconds.min(MAX_SECONDS)).ok()
}

/// `Retry-After`, which is seconds or a date of HTTP (RFC 9110, 10.2.3).
fn parse_retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Some(wait) = seconds(value) {
        return Some(wait);
    }
    let date = DateTime::parse_from_rfc2822(value.trim()).ok()?;
    Some(
        (date.with_timezone(&Utc) - now)
            .to_std()
            .unwrap_or(Duration::ZERO),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_endpoint_asks_for_is_waited_for() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        let seconds = |value| parse_retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("1.5"), Some(1));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("1e300"), Some(31_536_000));
        let both = [("retry-after-ms", "1500"), ("retry-after", "7")];
        let both = both.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        let both: HeaderMap = both.into_iter().collect();
        assert_eq!(retry_after(&both, now), Some(Duration::from_millis(1500)));
        assert_eq!(seconds("Sat, 21 Nov 2026 10:00:30 GMT"), Some(30));
        assert_eq!(seconds("Sat, 21 Nov 2026 09:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        let asked = Duration::from_secs(7);
        assert!(pause(1, Some(asked), &mut rand::rng()) >= asked);
    }

    #[test]
    fn our_own_waits_double_and_end() {
        let backoff = Backoff {
            jitter: 0.0,
            ..BACKOFF
        };
        let pause = |failures| backoff.after(failures, &mut rand::rng()).as_millis();
        assert_eq!([1, 2, 3, 4].map(pause), [500, 1000, 2000, 4000]);
        assert_eq!(pause(29), 20_000);
    }

    #[test]
    fn mistakes_are_not_sent_again() {
        for (status, again) in [
            (429, true),
            (500, true),
            (503, true),
            (400, false),
            (401, false),
        ] {
            assert_eq!(is_retryable(status), again);
        }
    }
}
