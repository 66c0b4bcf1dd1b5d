//! The metadata of a call.

use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;

/// One `KEY:VALUE`.
pub(super) type Pair = (HeaderName, HeaderValue);

/// Reads `key:value`. The value of a `-bin` key is sent as it is written, which is base64.
pub(super) fn parse(text: &str) -> Result<Pair, String> {
    let (key, value) = text.split_once(':').ok_or("write KEY:VALUE")?;
    let key = key.trim();
    if key.to_ascii_lowercase().starts_with("grpc-") {
        return Err(format!("{key} is gRPC's own (--timeout sets grpc-timeout)"));
    }
    let name = key
        .parse()
        .map_err(|_| format!("{key:?} is not a metadata key"))?;
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
}
