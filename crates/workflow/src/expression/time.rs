//! Times and durations as texts.

const SECOND: i128 = 1_000_000_000;

/// Nanoseconds since 1970 of a time as of RFC 3339, such as `2026-01-31T12:00:00.5+01:00`.
pub(crate) fn parse_time(text: &str) -> Option<i128> {
    let bytes = text.as_bytes();
    let digits = |from: usize, to: usize| -> Option<i64> {
        let part = text.get(from..to)?;
        part.bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let well_formed = separators
        .iter()
        .all(|(at, byte)| bytes.get(*at) == Some(byte))
        && matches!(bytes.get(10), Some(b'T' | b't' | b' '));
    well_formed.then_some(())?;
    let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
    let (hour, minute, second) = (digits(11, 13)?, digits(14, 16)?, digits(17, 19)?);
    let fits = (1..=12).contains(&month)
        && (1..=calendar::days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    fits.then_some(())?;
    let mut rest = text.get(19..)?;
    let mut nanos = 0_i128;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        (1..=9).contains(&length).then_some(())?;
        nanos = format!("{:0<9}", fraction.get(..length)?).parse().ok()?;
        rest = fraction.get(length..)?;
    }
    let offset = match rest.as_bytes() {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let length = text.len();
            let (hours, minutes) = (digits(length - 5, length - 3)?, digits(length - 2, length)?);
            (hours < 24 && minutes < 60).then_some(())?;
            let offset = hours * 3600 + minutes * 60;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds =
        calendar::days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(i128::from(seconds - offset) * SECOND + nanos)
}

/// The text of a time, as of RFC 3339 in UTC.
pub(super) fn time_text(nanos: i128) -> String {
    let seconds = i64::try_from(nanos.div_euclid(SECOND)).unwrap_or(0);
    let fraction = nanos.rem_euclid(SECOND);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = calendar::civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    let fraction = match format!(".{fraction:09}").trim_end_matches('0') {
        "." => String::new(),
        fraction => fraction.to_owned(),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Nanoseconds of a text such as `1h30m`, `2.5s` or `10ms`.
pub(super) fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    (!rest.is_empty()).then_some(())?;
    let mut total = 0_i128;
    while !rest.is_empty() {
        let length = rest
            .bytes()
            .take_while(|byte| byte.is_ascii_digit() || *byte == b'.')
            .count();
        let (number, after) = rest.split_at_checked(length)?;
        let unit_length = after.bytes().take_while(|byte| byte.is_ascii_alphabetic());
        let (unit, after) = after.split_at_checked(unit_length.count())?;
        let unit = match unit {
            "h" => 3600 * SECOND,
            "m" => 60 * SECOND,
            "s" => SECOND,
            "ms" => SECOND / 1_000,
            "us" => SECOND / 1_000_000,
            "ns" => 1,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        (whole.len() <= 12 && fraction.len() <= 9).then_some(())?;
        total += whole.parse::<i128>().ok()? * unit;
        if !fraction.is_empty() {
            total += format!("{fraction:0<9}").parse::<i128>().ok()? * unit / SECOND;
        }
        rest = after;
    }
    Some(if negative { -total } else { total })
}

/// The text of a duration, in seconds.
pub(super) fn duration_text(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.abs();
    let text = format!("{sign}{}.{:09}", nanos / SECOND, nanos % SECOND);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_rfc_3339_has_it() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-01-02T03:04:05+01:30", 1_767_317_645),
            ("2026-01-02T03:04:05-23:59", 1_767_409_385),
            ("0001-01-01t00:00:00z", -62_135_596_800_i64),
        ] {
            assert_eq!(
                parse_time(text),
                Some(i128::from(seconds) * SECOND),
                "{text}"
            );
            assert_eq!(
                parse_time(&time_text(i128::from(seconds) * SECOND)),
                parse_time(text)
            );
        }
        for bad in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05+01:60",
            "2026-01-02T03:04:05+-1:+3",
            "2026-01-02T03:04:05+1é00",
            "2026-01-02T03:04:05.Z",
            "é026-01-02T03:04:05Z",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
