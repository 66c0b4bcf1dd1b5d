//! What goes along with a call: metadata and the deadline.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

/// One `KEY:VALUE`.
pub(super) type Pair = (HeaderName, HeaderValue);

/// gRPC's limit for `grpc-timeout` is eight digits; the largest unit that is exact here is seconds.
const LONGEST: Duration = Duration::from_secs(99_999_999);

/// Reads `key:value`. The value of a `-bin` key is sent as it is written, which is base64.
pub(super) fn parse(text: &str) -> Result<Pair, String> {
    let (key, value) = text.split_once(':').ok_or("write KEY:VALUE")?;
    let key = key.trim();
    if key.to_ascii_lowercase().starts_with("grpc-") {
        return Err(format!("{key} is gRPC's own (--timeout sets grpc-timeout)"));
    }
    let name = key
        .parse()
        .map_err(|_| format!("{key:?} is no metadata key"))?;
    let value = value
        .trim()
        .parse()
        .map_err(|_| format!("the value of {key} is not text"))?;
    Ok((name, value))
}

/// All of them, repeated keys too.
pub(super) fn build(pairs: &[Pair]) -> MetadataMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.clone(), value.clone());
    }
    MetadataMap::from_headers(headers)
}

/// Reads `500ms`, `5s`, `1.5s` or `2m`.
pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let expected = || "expected a duration above 0 such as 500ms, 5s or 2m".to_owned();
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(expected)?;
    let (number, unit) = text.split_at(end);
    let seconds = match unit.trim() {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(expected()),
    };
    let number: f64 = number.parse().map_err(|_| expected())?;
    let timeout = Duration::try_from_secs_f64(number * seconds).map_err(|_| expected())?;
    if timeout.is_zero() || timeout > LONGEST {
        return Err(expected());
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_a_key_and_a_value() {
        let (name, value) = parse("X-Mesh-Session: a:b").unwrap();
        assert_eq!(
            (name.as_str(), value.to_str().unwrap()),
            ("x-mesh-session", "a:b")
        );
        for wrong in ["x", "two words:x", ":x", "grpc-timeout:1S"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn binary_metadata_is_base64() {
        let metadata = build(&[parse("trace-bin: AAEC").unwrap()]);
        let value = metadata.get_bin("trace-bin").unwrap().to_bytes().unwrap();
        assert_eq!(value.as_ref(), [0, 1, 2]);
    }

    #[test]
    fn a_timeout_needs_a_unit() {
        assert_eq!(timeout("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(timeout("250ms"), Ok(Duration::from_millis(250)));
        for wrong in ["5", "s", "0s", "-1s", "5 years", "999999999s", ""] {
            assert!(timeout(wrong).is_err(), "{wrong}");
        }
    }
}
