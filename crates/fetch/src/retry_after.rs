//! When a server wants to be asked again: `Retry-After`, RFC 9110, section 10.2.3.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, header};

/// How long a server wants to be left alone, up to `most`; `None` when it does not say.
pub(crate) fn retry_after(
    headers: &HeaderMap,
    now: SystemTime,
    most: Duration,
) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let asked = match digits {
        // What is too long for a number is too long anyway.
        true => text.parse().map_or(Duration::MAX, Duration::from_secs),
        false => {
            let until = httpdate::parse_http_date(text).ok()?;
            // Its clock may go otherwise than ours, and it says so.
            let date = headers.get(header::DATE).map(HeaderValue::to_str);
            let date = date.and_then(|date| httpdate::parse_http_date(date.ok()?).ok());
            let from = date.unwrap_or(now);
            until.duration_since(from).unwrap_or_default()
        }
    };
    Some(asked.min(most)).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn read(pairs: &[(header::HeaderName, &str)], now: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value.parse().unwrap());
        }
        let now = httpdate::parse_http_date(now).unwrap();
        retry_after(&headers, now, HOUR).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_every_form_of_a_date_are_read_within_the_limit() {
        let now = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (text, expected) in [
            ("6", Some(6)),
            (" 120 ", Some(120)),
            ("0", None),
            ("3600", Some(3600)),
            ("3601", Some(3600)),
            ("99999999999999999999999999", Some(3600)),
            ("Sun, 06 Nov 1994 08:49:57 GMT", Some(20)),
            ("Sunday, 06-Nov-94 08:49:57 GMT", Some(20)),
            ("Sun Nov  6 08:49:57 1994", Some(20)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(3600)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", None),
            ("-6", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let seen = read(&[(header::RETRY_AFTER, text)], now);
            assert_eq!(seen, expected, "{text:?}");
        }
        assert_eq!(read(&[], now), None);
    }

    #[test]
    fn a_date_is_measured_by_the_servers_own_clock() {
        let pairs = [
            (header::RETRY_AFTER, "Sun, 06 Nov 1994 08:49:57 GMT"),
            (header::DATE, "Sun, 06 Nov 1994 08:49:47 GMT"),
        ];
        for now in [
            "Sun, 06 Nov 1994 07:00:00 GMT",
            "Sun, 06 Nov 1994 10:00:00 GMT",
        ] {
            assert_eq!(read(&pairs, now), Some(10));
        }
    }
}
