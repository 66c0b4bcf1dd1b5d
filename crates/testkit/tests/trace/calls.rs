//! One call is one trace.

use std::collections::BTreeSet;

use mesh_testkit::{Jaeger, Mesh, load, raw::RawConnection, until};
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use serde_json::Value;
use tonic::Code;

use crate::view::{EXPORTED, by_id, kind, of, operation, parent, service, tag, value};

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
            .find(|trace| served_by_echo(trace).is_some())
    })
    .await;
    let echo = served_by_echo(&trace).unwrap();

    // From the instance upwards: the router's call, and the call that the router took.
    let expected = [
        ("agent-echo", "server"),
        ("mcp-router", "client"),
        ("mcp-router", "server"),
    ];
    assert_eq!(ancestors(&trace, echo), expected, "{trace}");
    let (instance, port) = (&mesh.echoes[0].id, mesh.echoes[0].grpc.port());
    let method = "agentplatform.AgentService/ExecuteTask";
    let routed: Vec<_> = of(&trace, "mcp-router").collect();
    for span in routed.iter().copied().chain([echo]) {
        assert_eq!(tag(span, "rpc.system.name"), "grpc");
        assert_eq!(tag(span, "rpc.method"), method);
        assert_eq!(tag(span, "rpc.response.status_code"), "OK");
        assert_eq!(tag(span, "mesh.service"), "agent-echo");
        assert_eq!(tag(span, "mesh.instance"), instance);
        assert_eq!(value(span, "mesh.attempt"), 1);
        let client = kind(span) == "client";
        assert_eq!(value(span, "server.port") == port, client, "{span}");
        assert_eq!(tag(span, "client.address").is_empty(), client, "{span}");
    }
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

    // A hedged call passes the router's local backend, and is one call of a client's all the same.
    let through_backend = [
        "agent-echo server",
        "mcp-router client",
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
            hedged |= served_by_echo(trace).is_some_and(|echo| {
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

/// The task that echo-agent took. Spans of its own within it, or of its reflection, may come first.
fn served_by_echo(trace: &Value) -> Option<&Value> {
    let rpc = "agentplatform.AgentService/ExecuteTask";
    of(trace, "agent-echo").find(|span| kind(span) == "server" && operation(span) == rpc)
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
