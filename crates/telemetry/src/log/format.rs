//! A line as JSON, or as text: `[timestamp] [LEVEL] message key=value`. Neither has a control character
//! of somebody else's: a client's text ends no line and steers no terminal.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use tracing::Level;

use super::record::{Record, Value};
use crate::json_text;

/// What a line of JSON calls its own fields.
const OURS: [&str; 7] = [
    "timestamp",
    "level",
    "message",
    "suppressed",
    "trace_id",
    "span_id",
    "target",
];

/// Adds a line of JSON.
pub(super) fn json(out: &mut Vec<u8>, record: &Record<'_>) {
    out.extend_from_slice(b"{\"timestamp\":\"");
    out.extend_from_slice(timestamp(record).as_bytes());
    out.extend_from_slice(b"\",\"level\":\"");
    out.extend_from_slice(record.level.as_str().as_bytes());
    out.extend_from_slice(b"\",\"message\":");
    json_text::string(out, record.message.as_bytes());
    for (name, value) in &record.fields {
        // A field of that name would be a second one.
        let ours = OURS.contains(name);
        out.extend_from_slice(if ours { b",\"field_" } else { b",\"" });
        // What is within quotes is an identifier of Rust's, and dots.
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"\":");
        match value {
            Value::Text(text) => json_text::string(out, text.as_bytes()),
            // JSON has no word for what is no number.
            Value::Float(number) if !number.is_finite() => {
                json_text::string(out, number.to_string().as_bytes());
            }
            value => out.extend_from_slice(plain(value).as_bytes()),
        }
    }
    if record.suppressed > 0 {
        out.extend_from_slice(b",\"suppressed\":");
        json_text::number(out, record.suppressed);
    }
    if let Some(trace) = &record.trace {
        let (trace_id, span_id) = (trace.trace_id, trace.span_id);
        let ids = format!(",\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\"");
        out.extend_from_slice(ids.as_bytes());
    }
    out.extend_from_slice(b",\"target\":");
    json_text::string(out, record.target.as_bytes());
    out.extend_from_slice(b"}\n");
}

/// Adds a line of text. `colour`: a terminal shows it.
pub(super) fn text(out: &mut Vec<u8>, record: &Record<'_>, colour: bool) {
    let mut line = format!("[{}] [", timestamp(record));
    let level = record.level.as_str();
    match colour.then(|| paint(record.level)) {
        Some(code) => line += &format!("\x1b[{code}m{level}\x1b[0m"),
        None => line += level,
    }
    line += "] ";
    escaped(&mut line, &record.message);
    for (name, value) in &record.fields {
        line += " ";
        line += name;
        line += "=";
        match value {
            Value::Text(text) => quoted(&mut line, text),
            value => line += &plain(value),
        }
    }
    if record.suppressed > 0 {
        line += &format!(" suppressed={}", record.suppressed);
    }
    if let Some(trace) = &record.trace {
        line += &format!(" trace_id={} span_id={}", trace.trace_id, trace.span_id);
    }
    line += "\n";
    out.extend_from_slice(line.as_bytes());
}

pub(super) fn timestamp(record: &Record<'_>) -> String {
    DateTime::<Utc>::from(record.time).to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn paint(level: Level) -> &'static str {
    match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "34",
    }
}

/// A value that is no text.
fn plain(value: &Value) -> String {
    match value {
        Value::Bool(value) => value.to_string(),
        Value::Unsigned(value) => value.to_string(),
        Value::Signed(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) => value.clone(),
    }
}

/// A text as the value of a key: in quotes where its end would not be seen.
fn quoted(out: &mut String, text: &str) {
    let plain = |c: char| !(c.is_whitespace() || c == '"' || c == '=' || c == '\\' || steers(c));
    if !text.is_empty() && text.chars().all(plain) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            character => push(out, character),
        }
    }
    out.push('"');
}

fn escaped(out: &mut String, text: &str) {
    for character in text.chars() {
        push(out, character);
    }
}

fn push(out: &mut String, character: char) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        character if steers(character) => {
            // Writing to a text cannot fail.
            write!(out, "\\u{{{:x}}}", u32::from(character)).ok();
        }
        character => out.push(character),
    }
}

/// Whether a terminal or an editor does something else with it than to show it: control characters,
/// ends of lines, changes of direction.
fn steers(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::prelude::*;

    use super::*;
    use crate::TraceContext;

    fn record(message: &str, fields: Vec<(&'static str, Value)>) -> Record<'static> {
        Record {
            time: UNIX_EPOCH + Duration::from_micros(1_796_000_000_123_456),
            level: Level::WARN,
            target: "mesh::test",
            message: message.to_owned(),
            fields,
            trace: None,
            suppressed: 0,
        }
    }

    fn as_text(record: &Record<'_>) -> String {
        let mut out = Vec::new();
        text(&mut out, record, false);
        String::from_utf8(out).unwrap()
    }

    fn as_json(record: &Record<'_>) -> serde_json::Value {
        let mut out = Vec::new();
        json(&mut out, record);
        assert_eq!(out.pop(), Some(b'\n'));
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains(char::is_control), "{text:?}");
        serde_json::from_str(&text).unwrap()
    }

    fn value(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    #[test]
    fn a_line_of_text_has_its_time_its_level_its_message_and_its_fields() {
        let fields = vec![
            ("job", value("default/0/7")),
            ("execution_time_ms", Value::Float(12.5)),
            ("error", value("it said \"no\"\nand left")),
            ("none", value("")),
        ];
        let mut record = record("attempt failed", fields);
        record.suppressed = 3;
        assert_eq!(
            as_text(&record),
            "[2026-11-30T00:53:20.123456Z] [WARN] attempt failed job=default/0/7 \
             execution_time_ms=12.5 error=\"it said \\\"no\\\"\\nand left\" none=\"\" suppressed=3\n"
        );
    }

    #[test]
    fn a_line_of_json_has_the_same() {
        let fields = vec![
            ("job", value("default/0/7")),
            ("level", value("debug")),
            ("ratio", Value::Float(f64::NAN)),
            ("count", Value::Signed(-3)),
        ];
        let mut record = record("said", fields);
        let parsed =
            TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        record.trace = parsed;
        let expected = serde_json::json!({
            "timestamp": "2026-11-30T00:53:20.123456Z", "level": "WARN", "message": "said",
            "job": "default/0/7", "field_level": "debug", "ratio": "NaN", "count": -3,
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331",
            "target": "mesh::test",
        });
        assert_eq!(as_json(&record), expected);
    }

    #[test]
    fn what_others_wrote_steers_no_terminal() {
        let record = record("a\x1b[2Jb\r\n\u{9b}c\u{202e}d", vec![("x", value("\x07"))]);
        assert_eq!(
            as_text(&record),
            "[2026-11-30T00:53:20.123456Z] [WARN] a\\u{1b}[2Jb\\r\\n\\u{9b}c\\u{202e}d x=\"\\u{7}\"\n"
        );
    }

    proptest! {
        #[test]
        fn no_text_breaks_a_line(message: String, other: String, number: f64) {
            let fields = vec![("x", value(&other)), ("n", Value::Float(number))];
            let record = record(&message, fields);
            let text = as_text(&record);
            let line = text.strip_suffix('\n').unwrap();
            prop_assert!(!line.contains(char::is_control), "{:?}", line);
            let json = as_json(&record);
            prop_assert_eq!(json["message"].as_str(), Some(&*message));
            prop_assert_eq!(json["x"].as_str(), Some(&*other));
        }
    }
}
