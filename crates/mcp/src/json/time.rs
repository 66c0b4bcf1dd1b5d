//! Times and durations as protojson has them, of any value: what a service sends may be out of the range.

const NANOS: i128 = 1_000_000_000;
const DAY: i128 = 86_400;

/// `2026-01-02T03:04:05.678Z`.
pub(super) fn timestamp(seconds: i64, nanos: i64) -> String {
    let total = i128::from(seconds) * NANOS + i128::from(nanos);
    let (seconds, nanos) = (total.div_euclid(NANOS), total.rem_euclid(NANOS));
    let (days, of_day) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
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

/// Year, month and day of the days since 1970-01-01, by Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: i128) -> (i128, i128, i128) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i128::from(month <= 2);
    (year, month, day)
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
