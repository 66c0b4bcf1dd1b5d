//! Times and durations as protojson has them, of any value: what a service sends may be out of the range.

const NANOS: i128 = 1_000_000_000;
const DAY: i128 = 86_400;

/// `2026-01-02T03:04:05.678Z`.
pub(super) fn timestamp(seconds: i64, nanos: i64) -> String {
    let total = i128::from(seconds) * NANOS + i128::from(nanos);
    let (seconds, nanos) = (total.div_euclid(NANOS), total.rem_euclid(NANOS));
    let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Seconds of an `i64` are far fewer days than one holds.
    let days = i64::try_from(days).unwrap_or(0);
    let (year, month, day) = calendar::civil_from_days(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    let fraction = fraction(nanos);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// `-1.500s`.
pub(super) fn duration(seconds: i64, nanos: i64) -> String {
    let total = i128::from(seconds) * NANOS + i128::from(nanos);
    let sign = if total < 0 { "-" } else { "" };
    let total = total.abs();
    format!("{sign}{}{}s", total / NANOS, fraction(total % NANOS))
}

/// With three, six or nine digits; empty for none.
fn fraction(nanos: i128) -> String {
    match nanos {
        0 => String::new(),
        _ if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        _ if nanos % 1_000 == 0 => format!(".{:06}", nanos / 1_000),
        _ => format!(".{nanos:09}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_protojson_has_them() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00Z"),
            (1_767_323_045, 678_000_000, "2026-01-02T03:04:05.678Z"),
            (951_782_399, 999_999_999, "2000-02-28T23:59:59.999999999Z"),
            (951_782_400, 1_000, "2000-02-29T00:00:00.000001Z"),
            (-62_135_596_800, 0, "0001-01-01T00:00:00Z"),
            (253_402_300_799, 0, "9999-12-31T23:59:59Z"),
            (-1, 0, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(timestamp(seconds, nanos), text);
        }
        for (seconds, nanos) in [(i64::MIN, i64::MIN), (i64::MAX, i64::MAX)] {
            assert!(timestamp(seconds, nanos).ends_with('Z'));
            assert!(duration(seconds, nanos).ends_with('s'));
        }
        for (seconds, nanos, text) in [
            (1, 500_000_000, "1.500s"),
            (-1, -500_000_000, "-1.500s"),
            (0, -1, "-0.000000001s"),
            (1, -500_000_000, "0.500s"),
            (3, 0, "3s"),
        ] {
            assert_eq!(duration(seconds, nanos), text);
        }
    }
}
