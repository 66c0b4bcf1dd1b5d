//! The spans of a call: one for the client's call, one for each request to an instance. Where no spans
//! are exported none are made, and a caller's context passes through untouched.

use http::{HeaderMap, HeaderName, HeaderValue};
use mesh_relay::hpack::{Block, Field};
use telemetry::{propagation, tracing_enabled};
use tracing::{Span, field::Empty};

/// The fields that carry a trace context.
const CONTEXT: [&[u8]; 2] = [b"traceparent", b"tracestate"];

/// Whether a field of a request goes on: a trace context is replaced where spans are made.
pub(super) fn forwards(field: &Field<'_>) -> bool {
    !tracing_enabled() || !is_context(field)
}

/// The span of a call of this method, a child of the caller's context.
pub(super) fn server_span(method: &str, request: &Block) -> Span {
    if !tracing_enabled() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "rpc.server",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.response.status_code = Empty,
    );
    let mut headers = HeaderMap::new();
    for field in request.fields().filter(is_context) {
        let pair = (
            HeaderName::from_bytes(field.name),
            HeaderValue::from_bytes(field.value),
        );
        if let (Ok(name), Ok(value)) = pair {
            headers.append(name, value);
        }
    }
    propagation::set_parent(&span, &headers);
    span
}

/// The span of one request to an instance, whose context is written among the request's fields.
pub(super) fn client_span(
    call: &Span,
    method: &str,
    service: &str,
    instance: &str,
    extra: &mut Block,
) -> Span {
    if !tracing_enabled() {
        return Span::none();
    }
    let span = tracing::info_span!(
        parent: call,
        "call",
        otel.name = method,
        otel.kind = "client",
        rpc.system = "grpc",
        mesh.service = service,
        mesh.instance = instance,
    );
    inject(&span, extra);
    span
}

/// Writes the context of a span among the fields of a request.
pub(super) fn inject(span: &Span, extra: &mut Block) {
    if !tracing_enabled() {
        return;
    }
    let mut headers = HeaderMap::new();
    propagation::inject(span, &mut headers);
    for (name, value) in &headers {
        extra.push(name.as_str().as_bytes(), value.as_bytes());
    }
}

/// The caller's context in a request, where it is replaced: see [`forwards`].
pub(super) fn context(request: &Block) -> Option<Box<Block>> {
    if !tracing_enabled() {
        return None;
    }
    let mut context = Block::new();
    for field in request.fields().filter(is_context) {
        context.push(field.name, field.value);
    }
    Some(Box::new(context))
}

fn is_context(field: &Field<'_>) -> bool {
    CONTEXT.contains(&field.name)
}

/// What a call came to.
pub(super) fn record_status(call: &Span, code: i32) {
    if call.is_disabled() {
        return;
    }
    call.record("rpc.response.status_code", telemetry::rpc::code_name(code));
    if telemetry::rpc::is_server_error(code) {
        call.record("otel.status_code", "ERROR");
    }
}
