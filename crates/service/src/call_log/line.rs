//! A finished call as a line of JSON, written straight into a buffer: this runs for every call.

use std::{
    fmt::Write as _,
    net::IpAddr,
    time::{SystemTime, UNIX_EPOCH},
};

use chrono::{DateTime, Utc};
use telemetry::{json_text, rpc, write_hex};

use super::{CallHead, FinishedCall, head::cut};

/// Bytes of a method's name, at most: a client makes it up.
const LONGEST_METHOD: usize = 256;

/// What is the same in many lines.
#[derive(Debug, Default)]
pub(super) struct LineCache {
    /// The second since the epoch, and its text without the end.
    second: Option<u64>,
    second_text: String,
    client: Option<IpAddr>,
    client_text: String,
}

/// Adds the line of a call, without its last bracket and its end: see [`end`].
pub(super) fn begin(
    out: &mut Vec<u8>,
    cache: &mut LineCache,
    head: Option<&CallHead>,
    call: &FinishedCall<'_>,
) {
    let time = head.map_or_else(|| SystemTime::now() - call.duration, |head| head.time);
    out.extend_from_slice(b"{\"time\":\"");
    cache.time(out, time);
    out.extend_from_slice(b"\",\"client\":");
    cache.client(out, head.and_then(|head| head.client));
    out.extend_from_slice(b",\"caller\":");
    text(out, head.and_then(CallHead::caller));
    out.extend_from_slice(b",\"method\":");
    text(out, Some(cut(call.method.as_bytes(), LONGEST_METHOD)));
    out.extend_from_slice(b",\"service\":");
    text(out, call.service.map(str::as_bytes));
    out.extend_from_slice(b",\"instance\":");
    text(out, call.instance.map(str::as_bytes));
    out.extend_from_slice(b",\"status\":\"");
    out.extend_from_slice(rpc::code_name(call.status).as_bytes());
    out.extend_from_slice(b"\",\"cause\":");
    match call.cause.map(proto::MeshCause::parts) {
        Some((word, key)) => {
            out.push(b'"');
            out.extend_from_slice(word.as_bytes());
            if let Some(key) = key {
                out.push(b':');
                out.extend_from_slice(key.as_bytes());
            }
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"duration_ms\":");
    let micros = u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX);
    json_text::number(out, micros / 1000);
    out.push(b'.');
    digits(out, micros % 1000);
    for (name, value) in [
        (&b",\"request_bytes\":"[..], call.request_bytes),
        (b",\"response_bytes\":", call.response_bytes),
        (b",\"attempts\":", Some(call.attempts as u64)),
    ] {
        out.extend_from_slice(name);
        match value {
            Some(value) => json_text::number(out, value),
            None => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b",\"request_id\":");
    text(out, head.and_then(CallHead::request_id));
    out.extend_from_slice(b",\"trace_id\":");
    match call.trace.or_else(|| head?.trace()) {
        Some(trace) => {
            out.push(b'"');
            let mut digits = [0; 32];
            write_hex(&mut digits, u128::from_be_bytes(trace.to_bytes()));
            out.extend_from_slice(&digits);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// Ends a line.
pub(super) fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}\n");
}

/// A text, or null.
fn text(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => json_text::string(out, value),
        None => out.extend_from_slice(b"null"),
    }
}

/// Three digits.
fn digits(out: &mut Vec<u8>, number: u64) {
    let digit = |number: u64| b'0' + (number % 10) as u8;
    out.extend([digit(number / 100), digit(number / 10), digit(number)]);
}

impl LineCache {
    /// RFC 3339 in UTC, with milliseconds.
    fn time(&mut self, out: &mut Vec<u8>, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let time = DateTime::<Utc>::from(time);
            self.second_text.clear();
            // Writing to a text cannot fail.
            write!(self.second_text, "{}", time.format("%Y-%m-%dT%H:%M:%S.")).ok();
        }
        out.extend_from_slice(self.second_text.as_bytes());
        digits(out, since.subsec_millis().into());
        out.push(b'Z');
    }

    fn client(&mut self, out: &mut Vec<u8>, client: Option<IpAddr>) {
        let Some(client) = client else {
            return out.extend_from_slice(b"null");
        };
        if self.client != Some(client) {
            self.client = Some(client);
            self.client_text.clear();
            write!(self.client_text, "\"{client}\"").ok();
        }
        out.extend_from_slice(self.client_text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use proto::MeshCause;
    use serde_json::Value;

    use super::*;

    fn line(head: Option<&CallHead>, call: &FinishedCall<'_>) -> Value {
        let mut out = Vec::new();
        begin(&mut out, &mut LineCache::default(), head, call);
        end(&mut out);
        let text = String::from_utf8(out).unwrap();
        let steers = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(steers) && text.ends_with("}\n"), "{text:?}");
        assert_eq!(text.lines().count(), 1, "{text:?}");
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn the_cache_is_right_across_seconds_and_clients() {
        let mut cache = LineCache::default();
        let mut written = |millis: u64, client: Option<&str>| {
            let mut out = Vec::new();
            cache.time(&mut out, UNIX_EPOCH + Duration::from_millis(millis));
            out.push(b' ');
            cache.client(&mut out, client.map(|client| client.parse().unwrap()));
            String::from_utf8(out).unwrap()
        };
        for (millis, client, expected) in [
            (
                1_796_000_000_001,
                Some("10.0.0.1"),
                "2026-11-30T00:53:20.001Z \"10.0.0.1\"",
            ),
            (
                1_796_000_000_999,
                Some("10.0.0.1"),
                "2026-11-30T00:53:20.999Z \"10.0.0.1\"",
            ),
            (
                1_796_000_001_000,
                Some("2001:db8::1"),
                "2026-11-30T00:53:21.000Z \"2001:db8::1\"",
            ),
            (0, None, "1970-01-01T00:00:00.000Z null"),
        ] {
            assert_eq!(written(millis, client), expected);
        }
    }

    proptest! {
        #[test]
        fn a_line_is_json_whatever_a_client_sends(
            request_id: Vec<u8>,
            caller: Vec<u8>,
            method: String,
            service in "\\PC*",
            instance: Option<String>,
            status: i32,
            micros: u64,
            bytes: Option<u64>,
        ) {
            let mut head = CallHead::new(Some([127, 0, 0, 1].into()));
            let fields = [(&b"x-request-id"[..], &request_id[..]), (b"user-agent", &caller)];
            head.read(fields.into_iter(), None);
            let call = FinishedCall {
                method: &method,
                service: Some(&service),
                instance: instance.as_deref(),
                status,
                cause: Some(MeshCause::Limit("client_rate")),
                duration: Duration::from_micros(micros),
                request_bytes: bytes,
                ..FinishedCall::default()
            };
            let line = line(Some(&head), &call);
            prop_assert_eq!(line["instance"].as_str(), instance.as_deref());
            prop_assert_eq!(line["service"].as_str(), Some(&*service));
            prop_assert_eq!(line["cause"].as_str(), Some("limit:client_rate"));
            prop_assert_eq!(line["request_bytes"].as_u64(), bytes);
            prop_assert!(line["duration_ms"].is_number() && line["status"].is_string());
            let text = line["request_id"].as_str().unwrap_or_default();
            prop_assert!(text.chars().count() <= 128);
        }
    }
}
