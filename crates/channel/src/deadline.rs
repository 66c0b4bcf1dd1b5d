//! The caller's deadline: reads, shortens and writes gRPC's `grpc-timeout` header.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use mesh_relay::timeout;
use tokio::time::Instant;

/// When a call has to end, and the timeout that its caller gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    pub(crate) at: Instant,
    pub(crate) given: Duration,
}

const HEADER: &str = "grpc-timeout";

/// A malformed `grpc-timeout`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("grpc-timeout is `{0}`: expected up to 8 digits and a unit of H, M, S, m, u or n")]
pub struct InvalidTimeout(String);

/// The caller's timeout; `None` without one.
///
/// # Errors
/// When the header is malformed.
pub fn read(headers: &HeaderMap) -> Result<Option<Duration>, InvalidTimeout> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let time = timeout::read(value.as_bytes());
    time.map(Some)
        .ok_or_else(|| InvalidTimeout(String::from_utf8_lossy(value.as_bytes()).into_owned()))
}

/// Writes the time that is left. It is rounded up, so that the instance does not give up before its
/// caller.
pub fn write(headers: &mut HeaderMap, left: Duration) {
    // Never an error: digits and a letter are a header value.
    if let Ok(value) = HeaderValue::from_bytes(&timeout::write(left)) {
        headers.insert(HEADER, value);
    }
}

/// When a call that arrived `now` has to end.
#[must_use]
pub fn after(now: Instant, timeout: Duration) -> Instant {
    // The clock cannot hold centuries, which a caller may ask for.
    now.checked_add(timeout)
        .unwrap_or_else(|| now + Duration::from_secs(86_400 * 365))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<Duration>, InvalidTimeout> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_str(text).unwrap());
        read(&headers)
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse("1H"), Ok(Some(Duration::from_secs(3600))));
        assert_eq!(parse("2M"), Ok(Some(Duration::from_secs(120))));
        assert_eq!(parse("3S"), Ok(Some(Duration::from_secs(3))));
        assert_eq!(parse("4m"), Ok(Some(Duration::from_millis(4))));
        assert_eq!(parse("5u"), Ok(Some(Duration::from_micros(5))));
        assert_eq!(parse("6n"), Ok(Some(Duration::from_nanos(6))));
        assert_eq!(read(&HeaderMap::new()), Ok(None));
    }

    #[test]
    fn what_is_not_a_timeout_is_refused() {
        for bad in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "é"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_never_shorter_than_what_is_left() {
        for nanos in [1, 999, 99_999_999, 100_000_000, 3_000_000_001, u64::MAX] {
            let left = Duration::from_nanos(nanos);
            let mut headers = HeaderMap::new();
            write(&mut headers, left);
            let again = read(&headers).unwrap().unwrap();
            assert!(again >= left, "{left:?} became {again:?}");
            assert!(again.as_secs_f64() <= left.as_secs_f64() * 1.0001 + 1e-9);
        }
    }
}
