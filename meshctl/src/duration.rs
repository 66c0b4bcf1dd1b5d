//! Durations as people write and read them.

use std::time::Duration;

use service::config::parse_duration;

/// gRPC's limit for `grpc-timeout` is eight digits; the largest unit that is exact here is seconds.
const LONGEST: Duration = Duration::from_secs(99_999_999);

/// Reads `500ms`, `5s`, `1.5s`, `2m`, `3h` or `7d`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let parsed = match text.strip_suffix('d') {
        Some(days) => parse_duration(&format!("{days}h")).and_then(|hours| hours.checked_mul(24)),
        None => parse_duration(text),
    };
    parsed
        .filter(|duration| !duration.is_zero() && *duration <= LONGEST)
        .ok_or_else(|| "expected a duration above 0 such as 500ms, 5s, 2m or 7d".to_owned())
}

/// The two largest units: `4s`, `3m 12s`, `2d 5h`.
pub(crate) fn shown(seconds: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = seconds.max(0);
    let mut parts = Vec::new();
    for (unit, name) in UNITS {
        if rest >= unit || (unit == 1 && parts.is_empty()) {
            parts.push(format!("{}{name}", rest / unit));
            rest %= unit;
        } else if !parts.is_empty() {
            break;
        }
    }
    parts.truncate(2);
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (192, "3m 12s"),
            (3600, "1h"),
            (3605, "1h"),
            (190_000, "2d 4h"),
        ] {
            assert_eq!(shown(seconds), text);
        }
    }

    #[test]
    fn a_duration_needs_a_unit() {
        assert_eq!(parse("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for wrong in ["5", "s", "0s", "-1s", "5 years", "999999999s", ""] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
