//! When a request is sent again, and after how long.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::HeaderMap;

/// The first pause without a `Retry-After`; it doubles each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
/// The longest `Retry-After` that is read, s: a year.
const MAX_SECONDS: f64 = 31_536_000.0;
/// The longest pause without a `Retry-After`.
const MAX_BACKOFF: Duration = Duration::from_secs(20);

/// Whether a retry may succeed after this status.
pub(crate) fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..600)
}

/// The pause before attempt `next` (2 is the first retry): the endpoint's, else an exponential one.
/// `chance`, in 0..1, spreads callers that failed together.
pub(crate) fn backoff(next: u32, asked: Option<Duration>, chance: f64) -> Duration {
    match asked {
        // Never earlier than asked.
        Some(asked) => asked.mul_f64(1.0 + 0.1 * chance),
        None => {
            let doubled = FIRST_BACKOFF * 2_u32.saturating_pow(next.saturating_sub(2).min(10));
            doubled.min(MAX_BACKOFF).mul_f64(0.5 + chance)
        }
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
        assert!(backoff(2, Some(Duration::from_secs(7)), 0.9) >= Duration::from_secs(7));
    }

    #[test]
    fn our_own_waits_double_and_end() {
        let waits: Vec<_> = (2..6)
            .map(|next| backoff(next, None, 0.5).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000]);
        assert_eq!(backoff(30, None, 0.5), MAX_BACKOFF);
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
