//! The trace of a call. Where its trace is recorded it has a span for the client's call and one for each
//! request to an instance. Where it is not, the caller's context goes on as it came, or a new one does,
//! so that no later hop draws again. Without an exporter nothing is read or written.

use std::{net::IpAddr, time::Instant};

use channel::Timestamp;
use discovery::Instance;
use mesh_relay::{
    Endpoint,
    hpack::{Block, Field, Token},
};
use telemetry::{
    Span, SpanEnd, SpanFields, SpanId, SpanKind, TRACEPARENT, TRACESTATE, TraceContext, TraceId,
    rpc, tracing_enabled,
};

use super::{call::Call, host::LOCAL};

/// The trace of one call.
#[derive(Debug, Default)]
pub(super) struct CallTrace {
    /// The client's call; `None` without an exporter.
    span: Option<Span>,
    /// The request that is on its way, where the trace is recorded.
    attempt: Option<(SpanId, Instant)>,
    /// What becomes of the caller's fields.
    fields: Forwarded,
}

/// Which fields of the caller's context go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Forwarded {
    /// Both, untouched.
    #[default]
    All,
    /// `tracestate`; the `traceparent` is ours.
    State,
    /// None: there was no valid context.
    None,
}

impl CallTrace {
    /// The trace of a call that begins with these fields.
    pub(super) fn begin(request: &Block, now: Timestamp) -> Self {
        if !tracing_enabled() {
            return Self::default();
        }
        let caller = caller(request);
        Self {
            span: Some(Span::begin(caller, now.instant.into_std())),
            attempt: None,
            fields: match caller {
                None => Forwarded::None,
                Some(caller) if caller.sampled => Forwarded::State,
                Some(_) => Forwarded::All,
            },
        }
    }

    /// Its trace, recorded or not; `None` without an exporter.
    pub(super) fn id(&self) -> Option<TraceId> {
        self.span.map(|span| span.context().trace_id)
    }

    /// The context of a call whose trace is recorded.
    pub(super) fn sampled(&self) -> Option<TraceContext> {
        self.span.map(|span| span.context()).filter(|it| it.sampled)
    }

    /// Whether a field of a request goes on.
    pub(super) fn forwards(&self, field: &Field<'_>) -> bool {
        match self.fields {
            Forwarded::All => true,
            _ if field.token != Token::Trace => true,
            Forwarded::State => field.name == TRACESTATE.as_bytes(),
            Forwarded::None => false,
        }
    }

    /// A request is about to be sent: its context is written among its fields.
    pub(super) fn send(&mut self, to: Endpoint, now: Timestamp, extra: &mut Block) {
        let Some(span) = self.span else { return };
        let mut context = span.context();
        // What the router does itself is no call of another.
        if context.sampled && to != LOCAL {
            let id = SpanId::random();
            self.attempt = Some((id, now.instant.into_std()));
            context = context.below(id);
        }
        if self.fields != Forwarded::All {
            extra.push(TRACEPARENT.as_bytes(), &context.traceparent());
        }
    }
}

impl Call {
    /// The request that is on its way, if there is one, ended with this status.
    pub(super) fn end_attempt(&mut self, code: i32, now: Timestamp) {
        let Some((id, began)) = self.trace.attempt.take() else {
            return;
        };
        let (Some(span), Some(attempt)) = (self.trace.span, &self.attempt) else {
            return;
        };
        let span = Span::with_id(span.context(), id, began);
        let method = self.metadata.method.name();
        let end = SpanEnd {
            name: method,
            kind: SpanKind::Client,
            failed: rpc::is_server_error(code),
            at: now.instant.into_std(),
        };
        let instance = attempt.peer().instance();
        span.end(end, |fields| {
            rpc_fields(fields, method, code);
            instance_fields(fields, &instance, self.attempts);
            fields.text("server.address", &instance.host);
            fields.number("server.port", instance.port.into());
        });
    }
}

/// The client's call ended with this status.
pub(super) fn end(call: &Call, client: impl FnOnce() -> Option<IpAddr>, code: i32, now: Timestamp) {
    let Some(span) = call.trace.span else { return };
    let method = call.metadata.method.name();
    let end = SpanEnd {
        name: method,
        kind: SpanKind::Server,
        failed: rpc::is_server_error(code),
        at: now.instant.into_std(),
    };
    span.end(end, |fields| {
        rpc_fields(fields, method, code);
        if let Some(client) = call.address.or_else(client) {
            fields.text("client.address", &client.to_string());
        }
        if let Some(cause) = call.cause() {
            fields.text("mesh.cause", &cause.to_string());
        }
        let (instance, attempts) = call.last_instance();
        match (&instance, &call.target) {
            (Some(instance), _) => instance_fields(fields, instance, attempts),
            (None, Some(target)) => fields.text("mesh.service", &target.service),
            (None, None) => {}
        }
    });
}

fn rpc_fields(fields: &mut SpanFields<'_>, method: &str, code: i32) {
    let name = rpc::code_name(code);
    fields.text("rpc.system.name", "grpc");
    fields.text("rpc.method", method);
    fields.text("rpc.response.status_code", name);
    if rpc::is_server_error(code) {
        fields.text("error.type", name);
    }
}

fn instance_fields(fields: &mut SpanFields<'_>, instance: &Instance, attempt: usize) {
    fields.text("mesh.service", &instance.service);
    fields.text("mesh.instance", &instance.key.id);
    fields.number("mesh.attempt", i64::try_from(attempt).unwrap_or(i64::MAX));
}

/// The context that a call brings. More than one `traceparent` counts as none.
fn caller(request: &Block) -> Option<TraceContext> {
    // Most calls bring none.
    request.get(Token::Trace)?;
    let is_parent = |field: &Field<'_>| field.name == TRACEPARENT.as_bytes();
    let mut parents = request.fields().filter(is_parent);
    let only = parents.next().filter(|_| parents.next().is_none())?;
    TraceContext::parse(only.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(fields: &[(&str, &str)]) -> Block {
        let mut block = Block::new();
        for (name, value) in fields {
            block.push(name.as_bytes(), value.as_bytes());
        }
        block
    }

    #[test]
    fn one_valid_traceparent_is_a_context() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let parent = (TRACEPARENT, valid);
        assert!(caller(&block(&[("a", "b"), parent, (TRACESTATE, "x=y")])).is_some());
        assert!(caller(&block(&[("a", "b"), (TRACESTATE, "x=y")])).is_none());
        assert!(caller(&block(&[parent, parent])).is_none());
        assert!(caller(&block(&[(TRACEPARENT, "00-0-0-01")])).is_none());
    }

    #[test]
    fn what_goes_on_depends_on_what_came() {
        let fields = block(&[
            (TRACEPARENT, "x"),
            (TRACESTATE, "x=y"),
            ("x-mesh-service", "a"),
        ]);
        let forwarded = |what| {
            let trace = CallTrace {
                fields: what,
                ..CallTrace::default()
            };
            let names = fields.fields().filter(|field| trace.forwards(field));
            names.map(|field| field.name.len()).collect::<Vec<_>>()
        };
        assert_eq!(forwarded(Forwarded::All), [11, 10, 14]);
        assert_eq!(forwarded(Forwarded::State), [10, 14]);
        assert_eq!(forwarded(Forwarded::None), [14]);
    }
}
