//! What becomes of each request: its span, its metrics, and for calls of tools a line of the log.

use std::{net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use mcp::{
    MeshTool,
    rpc::{Era, Meta},
};
use telemetry::{ScopedSpan, SpanKind, TraceContext};

use super::{
    McpServer,
    methods::{Asker, Failure, Later},
    metrics::McpMetrics,
    post::{Held, unless_cancelled},
};

/// A request, until this is dropped. Dropped before its end, it was cancelled.
pub(crate) struct Operation {
    server: Arc<McpServer>,
    /// The label of its method.
    method: &'static str,
    began: Instant,
    span: ScopedSpan,
    is_over: bool,
}

impl Operation {
    /// A request begins: a span by OpenTelemetry's conventions for MCP.
    pub(crate) fn begin(
        server: &Arc<McpServer>,
        asker: &Asker,
        method: &str,
        meta: &Meta<'_>,
        began: Instant,
    ) -> Self {
        let said = meta.traceparent.as_deref().or(asker.traceparent.as_deref());
        let parent = said.and_then(|text| TraceContext::parse(text.as_bytes()));
        let mut span = ScopedSpan::below(parent, method, SpanKind::Server);
        span.record(|fields| {
            fields.text("mcp.method.name", method);
            fields.text("mcp.protocol.version", asker.era.version().as_str());
            fields.text("network.transport", "tcp");
            fields.text("network.protocol.name", "http");
            if let Some(session) = &asker.session {
                fields.text("mcp.session.id", &session.id);
            }
            if let Some(client) = asker.client {
                fields.text("client.address", &client.to_string());
            }
        });
        Self {
            server: Arc::clone(server),
            method: McpMetrics::label(method),
            began,
            span,
            is_over: false,
        }
    }

    /// Whether it is this method.
    pub(crate) fn is(&self, method: &str) -> bool {
        self.method == method
    }

    pub(crate) fn end(&mut self, outcome: &str) {
        self.is_over = true;
        let took = self.began.elapsed();
        let trace = self.span.context();
        self.server
            .metrics
            .operation(self.method, outcome, took, trace);
        if outcome != "ok" {
            self.span.fail(outcome);
        }
    }

    pub(crate) fn end_with<T>(&mut self, result: &Result<T, Failure>) {
        match result {
            Ok(_) => self.end("ok"),
            Err(failure) => self.fail(failure),
        }
    }

    pub(crate) fn fail(&mut self, failure: &Failure) {
        match failure {
            Failure::Rpc(error) => self.end(&error.code.to_string()),
            Failure::Denied(_) => self.end("denied"),
        }
    }

    /// Runs what the request asks for within its span, unless its client cancels it.
    pub(crate) async fn run(mut self, held: Option<Held>, later: Later) -> Result<Bytes, Failure> {
        let result = self.span.run(unless_cancelled(held, later)).await;
        self.end_with(&result);
        result
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.is_over {
            self.end("cancelled");
        }
    }
}

/// A call of a tool, until this is dropped. Dropped before its end, it was cancelled.
pub(crate) struct CallRecord {
    server: Arc<McpServer>,
    tool: Arc<MeshTool>,
    caller: Option<Arc<str>>,
    client: Option<IpAddr>,
    era: Era,
    began: Instant,
    outcome: &'static str,
    instance: Option<Arc<str>>,
}

impl CallRecord {
    pub(crate) fn begin(server: &Arc<McpServer>, asker: &Asker, tool: &Arc<MeshTool>) -> Self {
        Self {
            server: Arc::clone(server),
            tool: Arc::clone(tool),
            caller: asker.caller().cloned(),
            client: asker.client,
            era: asker.era,
            began: Instant::now(),
            outcome: "cancelled",
            instance: None,
        }
    }

    /// How it ended: `ok`, `error`, `task` or `failed`.
    pub(crate) fn end(&mut self, outcome: &'static str, instance: Option<Arc<str>>) {
        self.outcome = outcome;
        self.instance = instance;
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        self.server.metrics.call(&self.tool.service, self.outcome);
        let micros = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::info!(
            tool = &*self.tool.global_name,
            service = &*self.tool.service,
            instance = self.instance.as_deref(),
            caller = self.caller.as_deref(),
            client = self.client.map(tracing::field::display),
            version = self.era.version().as_str(),
            outcome = self.outcome,
            duration_us = micros,
            "tool called"
        );
    }
}
