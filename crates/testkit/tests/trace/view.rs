//! A trace, as Jaeger tells it.

use std::time::Duration;

use serde_json::Value;

/// How long spans may take until Jaeger shows them, on a busy machine.
pub(crate) const EXPORTED: Duration = Duration::from_secs(20);

pub(crate) fn spans(trace: &Value) -> impl Iterator<Item = &Value> {
    trace["spans"].as_array().into_iter().flatten()
}

/// The spans of one service.
pub(crate) fn of<'a>(trace: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    spans(trace).filter(move |span| service(trace, span) == name)
}

pub(crate) fn service<'a>(trace: &'a Value, span: &Value) -> &'a str {
    let process = span["processID"].as_str().expect("as Jaeger tells it");
    trace["processes"][process]["serviceName"]
        .as_str()
        .expect("as Jaeger tells it")
}

pub(crate) fn operation(span: &Value) -> &str {
    span["operationName"].as_str().expect("as Jaeger tells it")
}

pub(crate) fn kind(span: &Value) -> &str {
    tag(span, "span.kind")
}

/// The text of a tag; empty when there is none.
pub(crate) fn tag<'a>(span: &'a Value, key: &str) -> &'a str {
    value(span, key).as_str().unwrap_or_default()
}

/// A tag; null when there is none.
pub(crate) fn value<'a>(span: &'a Value, key: &str) -> &'a Value {
    let tags = span["tags"].as_array().expect("as Jaeger tells it");
    let tag = tags.iter().find(|tag| tag["key"] == key);
    tag.map_or(&Value::Null, |tag| &tag["value"])
}

pub(crate) fn parent(span: &Value) -> Option<&str> {
    let references = span["references"].as_array()?;
    references.iter().find(|r| r["refType"] == "CHILD_OF")?["spanID"].as_str()
}

/// A span, if it has been exported.
pub(crate) fn by_id<'a>(trace: &'a Value, id: &str) -> Option<&'a Value> {
    spans(trace).find(|span| span["spanID"] == id)
}

/// Whether the parents of all its spans have been exported: each program exports when it wants.
pub(crate) fn is_whole(trace: &Value) -> bool {
    spans(trace).all(|span| parent(span).is_none_or(|id| by_id(trace, id).is_some()))
}

/// The services and operations of a span and its ancestors.
pub(crate) fn ancestry(trace: &Value, from: &Value) -> Vec<String> {
    let mut chain = Vec::new();
    let mut span = Some(from);
    while let Some(current) = span {
        chain.push(format!(
            "{} {}",
            service(trace, current),
            operation(current)
        ));
        span = parent(current).and_then(|id| by_id(trace, id));
    }
    chain
}
