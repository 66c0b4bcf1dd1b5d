//! When a request is sent again, and after how long.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::StatusCode;

/// The first wait without a word of the endpoint; doubled each time.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait of our own.
const LONGEST: Duration = Duration::from_secs(20);

/// Whether an answer with this status may be another one later.
pub(crate) fn passes(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 425 | 429) || status.is_server_error()
}

/// The wait before attempt `next` (2 is the first retry): what the endpoint asks for, else an
/// exponential one; `chance`, in 0..1, spreads callers who failed together.
pub(crate) fn wait(next: u32, asked: Option<Duration>, chance: f64) -> Duration {
    match asked {
        // Never earlier than asked.
        Some(asked) => asked.mul_f64(1.0 + 0.1 * chance),
        None => {
            let doubled = FIRST * 2_u32.saturating_pow(next.saturating_sub(2).min(10));
            doubled.min(LONGEST).mul_f64(0.5 + chance)
        }
    }
}

/// `Retry-After`, which is seconds or a date of HTTP (RFC 9110, 10.2.3).
pub(crate) fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
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
        let seconds = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("Sat, 21 Nov 2026 10:00:30 GMT"), Some(30));
        assert_eq!(seconds("Sat, 21 Nov 2026 09:00:00 GMT"), Some(0));
        assert_eq!(seconds("soon"), None);
        assert!(wait(2, Some(Duration::from_secs(7)), 0.9) >= Duration::from_secs(7));
    }

    #[test]
    fn our_own_waits_double_and_end() {
        let waits: Vec<_> = (2..6)
            .map(|next| wait(next, None, 0.5).as_millis())
            .collect();
        assert_eq!(waits, [500, 1000, 2000, 4000]);
        assert_eq!(wait(30, None, 0.5), LONGEST);
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
            assert_eq!(passes(StatusCode::from_u16(status).unwrap()), again);
        }
    }
}
