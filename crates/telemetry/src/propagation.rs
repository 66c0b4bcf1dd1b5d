//! The trace context between processes: W3C `traceparent` and `tracestate`.
//!
//! Without an exporter these do nothing, so that a caller's headers pass through untouched.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::tracing_enabled;

/// Makes `span` a child of the context in `headers`, if there is one. To be called before the
/// span is entered for the first time.
pub fn set_parent(span: &Span, headers: &HeaderMap) {
    if !tracing_enabled() || !headers.contains_key("traceparent") {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&Incoming(headers));
    if span.set_parent(parent).is_err() {
        tracing::debug!("a span that has begun, or is not recorded, keeps its parent");
    }
}

/// Writes the context of `span` into `headers`, over what a caller may have put there; headers are
/// left alone when the span has none.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    if !tracing_enabled() {
        return;
    }
    let context = span.context();
    if context.span().span_context().is_valid() {
        TraceContextPropagator::new().inject_context(&context, &mut Outgoing(headers));
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::from_bytes(key.as_bytes());
        let value = HeaderValue::from_str(&value);
        if let (Ok(name), Ok(value)) = (name, value) {
            // An empty tracestate says nothing, and gRPC peers need not carry it.
            if !value.is_empty() {
                self.0.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_the_callers_context_passes_untouched() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("00-aa-bb-01"));
        let before = headers.clone();
        let span = tracing::info_span!("call");
        set_parent(&span, &headers);
        inject(&span, &mut headers);
        assert_eq!(headers, before);
    }
}
