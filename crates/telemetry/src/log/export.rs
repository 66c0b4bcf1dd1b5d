//! A line as a record of OTLP, field by field as `opentelemetry/proto/logs/v1/logs.proto` numbers them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tracing::Level;

use super::record::{Record, Value};
use crate::otlp::{Queue, write};

/// Fields of `LogRecord`.
mod field {
    pub(super) const TIME: u32 = 1;
    pub(super) const SEVERITY_NUMBER: u32 = 2;
    pub(super) const SEVERITY_TEXT: u32 = 3;
    pub(super) const BODY: u32 = 5;
    pub(super) const ATTRIBUTE: u32 = 6;
    pub(super) const TRACE_ID: u32 = 9;
    pub(super) const SPAN_ID: u32 = 10;
    pub(super) const OBSERVED: u32 = 11;
}

/// Passes a line on to the collector.
pub(super) fn send(queue: &Arc<Queue>, record: &Record<'_>) {
    if queue.has_room() {
        queue.push(&encode(record));
    }
}

fn encode(record: &Record<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    let time = nanos(record.time);
    write::fixed64(&mut out, field::TIME, time);
    write::number(&mut out, field::SEVERITY_NUMBER, severity(record.level));
    let level = record.level.as_str().as_bytes();
    write::bytes(&mut out, field::SEVERITY_TEXT, level);
    write::head(
        &mut out,
        field::BODY,
        write::field_size(record.message.len()),
    );
    write::bytes(&mut out, 1, record.message.as_bytes());
    for (name, value) in &record.fields {
        attribute(&mut out, name, value);
    }
    if record.suppressed > 0 {
        attribute(&mut out, "suppressed", &Value::Unsigned(record.suppressed));
    }
    write::text(&mut out, field::ATTRIBUTE, "code.namespace", record.target);
    if let Some(trace) = &record.trace {
        write::bytes(&mut out, field::TRACE_ID, &trace.trace_id.0.to_be_bytes());
        write::bytes(&mut out, field::SPAN_ID, &trace.span_id.0.to_be_bytes());
    }
    write::fixed64(&mut out, field::OBSERVED, time);
    out
}

fn attribute(out: &mut Vec<u8>, name: &str, value: &Value) {
    let field = field::ATTRIBUTE;
    match value {
        Value::Text(text) => write::text(out, field, name, text),
        Value::Bool(value) => write::boolean(out, field, name, *value),
        Value::Signed(value) => write::integer(out, field, name, *value),
        Value::Unsigned(value) => {
            write::integer(out, field, name, i64::try_from(*value).unwrap_or(i64::MAX));
        }
        Value::Float(value) => write::double(out, field, name, *value),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// As OpenTelemetry numbers severities.
fn severity(level: Level) -> u64 {
    match level {
        Level::ERROR => 17,
        Level::WARN => 13,
        Level::INFO => 9,
        Level::DEBUG => 5,
        Level::TRACE => 1,
    }
}
