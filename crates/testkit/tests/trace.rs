//! One call is one trace, in a real Jaeger.

use std::{collections::BTreeSet, time::Duration};

use mesh_testkit::{Jaeger, Mesh, load, raw::RawConnection, until};
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use serde_json::Value;
use tonic::Code;

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
    let expected = [
        ("agent-echo", "server"),
        ("mcp-router", "client"),
        ("mcp-router", "server"),
    ];
    assert_eq!(ancestors(&trace, echo), expected, "{trace}");
}

#[tokio::test]
async fn spans_of_a_router_count_what_the_caller_did_wrong_as_no_error() {
    let jaeger = Jaeger::start().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
        ("HEDGE_DELAY", "10s".to_owned()),
    ];
    let mesh = Mesh::start(2, 1, &env).await;
    let mut raw = RawConnection::connect(mesh.routers[0].grpc).await;
    let task = |agent_id: &str| {
        let agent_id = agent_id.to_owned();
        let task = TaskRequest {
            agent_id,
            ..TaskRequest::default()
        };
        task.encode_to_vec()
    };
    let execute = "/agentplatform.AgentService/ExecuteTask";
    // It is hedged: declared idempotent, and there are two instances.
    let hedged = [("x-mesh-idempotent", "1")];
    let outcomes = [
        // From here on the router knows the instances.
        raw.call(execute, &[], &task("echo-agent")).await,
        raw.call(execute, &hedged, &task("echo-agent")).await,
        raw.call(execute, &[], &task("nobody")).await,
        raw.call("/nobody.S/M", &[], &[]).await,
    ];
    let codes = outcomes.map(|outcome| outcome.status.code());
    let expected = [Code::Ok, Code::Ok, Code::NotFound, Code::Unimplemented];
    assert_eq!(codes, expected);

    // A hedged call passes the router's local backend.
    let through_backend = [
        "agent-echo server",
        "mcp-router client",
        "mcp-router server",
        "mcp-router server",
    ];
    // Which codes are errors.
    let expected = [("NOT_FOUND", false), ("OK", false), ("UNIMPLEMENTED", true)];
    let errors = until("the spans of all calls", EXPORTED, async || {
        let traces = jaeger.traces("mcp-router").await;
        let mut errors = BTreeSet::new();
        let mut hedged = false;
        for trace in &traces {
            let served = of(trace, "mcp-router").filter(|span| kind(span) == "server");
            errors.extend(served.map(|span| {
                let code = tag(span, "rpc.response.status_code").to_owned();
                (code, tag(span, "otel.status_code") == "ERROR")
            }));
            hedged |= of(trace, "agent-echo").any(|echo| {
                let chain = ancestors(trace, echo).into_iter();
                chain
                    .map(|(service, kind)| format!("{service} {kind}"))
                    .eq(through_backend)
            });
        }
        let known = |code: &str| errors.iter().any(|(known, _)| known == code);
        let all = expected.iter().all(|(code, _)| known(code));
        (all && hedged).then_some(errors)
    })
    .await;
    for (code, error) in expected {
        assert!(errors.contains(&(code.to_owned(), error)), "{errors:?}");
        assert!(!errors.contains(&(code.to_owned(), !error)), "{errors:?}");
    }
}

/// The services and kinds of a span and its ancestors, all of the same method.
fn ancestors<'a>(trace: &'a Value, from: &'a Value) -> Vec<(&'a str, &'a str)> {
    let mut chain = Vec::new();
    let mut span = Some(from);
    while let Some(current) = span {
        chain.push((service(trace, current), kind(current)));
        assert_eq!(operation(current), operation(from), "{current}");
        span = parent(current).and_then(|id| by_id(trace, id));
    }
    chain
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
    tag(span, "span.kind")
}

/// The text of a tag; empty when there is none.
fn tag<'a>(span: &'a Value, key: &str) -> &'a str {
    let tags = span["tags"].as_array().expect("as Jaeger tells it");
    let tag = tags.iter().find(|tag| tag["key"] == key);
    tag.and_then(|tag| tag["value"].as_str())
        .unwrap_or_default()
}

fn parent(span: &Value) -> Option<&str> {
    let references = span["references"].as_array()?;
    references.iter().find(|r| r["refType"] == "CHILD_OF")?["spanID"].as_str()
}

/// A span, if it has been exported.
fn by_id<'a>(trace: &'a Value, id: &str) -> Option<&'a Value> {
    spans(trace).find(|span| span["spanID"] == id)
}
