//! One call is one trace, in a real Jaeger.

use std::time::Duration;

use mesh_testkit::{Jaeger, Mesh, load, until};
use serde_json::Value;

/// Spans leave in batches, every few seconds.
const EXPORTED: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_call_through_haproxy_router_and_instance_is_one_trace() {
    let jaeger = Jaeger::start().await;
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint())];
    let mesh = Mesh::start(1, 1, &env).await;
    load::call(&mut load::client(mesh.address()), 1)
        .await
        .unwrap();

    let trace = until("a trace that both have a part in", EXPORTED, async || {
        let traces = jaeger.traces("mcp-router").await;
        traces
            .into_iter()
            .find(|trace| of(trace, "agent-echo").next().is_some())
    })
    .await;
    let echo = of(&trace, "agent-echo").next().unwrap();
    assert!(
        operation(echo).contains("AgentService/ExecuteTask"),
        "{echo}"
    );
    assert_eq!(kind(echo), "server");

    // From the instance upwards: the router's call, and the call that the router took.
    let mut chain = Vec::new();
    let mut span = Some(echo);
    while let Some(current) = span {
        chain.push((service(&trace, current), kind(current)));
        assert!(
            operation(current).contains("AgentService/ExecuteTask"),
            "{current}"
        );
        span = parent(current).map(|id| by_id(&trace, id));
    }
    let expected = [
        ("agent-echo", "server"),
        ("mcp-router", "client"),
        ("mcp-router", "server"),
    ];
    assert_eq!(chain, expected, "{trace}");
}

fn spans(trace: &Value) -> impl Iterator<Item = &Value> {
    trace["spans"].as_array().into_iter().flatten()
}

/// The spans of one service.
fn of<'a>(trace: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    spans(trace).filter(move |span| service(trace, span) == name)
}

fn service<'a>(trace: &'a Value, span: &Value) -> &'a str {
    let process = span["processID"].as_str().expect("as Jaeger tells it");
    trace["processes"][process]["serviceName"]
        .as_str()
        .expect("as Jaeger tells it")
}

fn operation(span: &Value) -> &str {
    span["operationName"].as_str().expect("as Jaeger tells it")
}

fn kind(span: &Value) -> &str {
    let tags = span["tags"].as_array().expect("as Jaeger tells it");
    let kind = tags.iter().find(|tag| tag["key"] == "span.kind");
    kind.and_then(|tag| tag["value"].as_str())
        .unwrap_or_default()
}

fn parent(span: &Value) -> Option<&str> {
    let references = span["references"].as_array()?;
    references.iter().find(|r| r["refType"] == "CHILD_OF")?["spanID"].as_str()
}

fn by_id<'a>(trace: &'a Value, id: &str) -> &'a Value {
    let found = spans(trace).find(|span| span["spanID"] == id);
    found.unwrap_or_else(|| panic!("{id} is not in {trace}"))
}
