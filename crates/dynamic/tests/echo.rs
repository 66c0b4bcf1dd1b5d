//! Calls by JSON to a real echo agent: straight, through a router, and those that come to nothing.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use discovery::{Discovery, Registration, backends::Memory};
use mesh_dynamic::{CallHead, DynamicCall, DynamicClient, DynamicOptions, INSTANCE, Transport};
use prost::Message as _;
use proto::agentplatform::{TaskRequest, TaskResponse};
use serde_json::json;
use service::ServerHandle;
use testkit::local;
use tonic::Code;

/// An echo agent, and a client that calls it straight.
async fn echo(delay: &str) -> (ServerHandle, DynamicClient, Arc<Memory>) {
    let registry = Arc::new(Memory::new());
    let (spec, set) = (&echo_agent::SPEC, [("delay", delay)]);
    let running = local::start(spec, echo_agent::build, &registry, &set).await;
    let metrics = telemetry::MetricsRegistry::new();
    let mesh = channel::Mesh::new(
        registry.clone(),
        channel::ClusterOptions::default(),
        &metrics,
    );
    let client = DynamicClient::new(Transport::Mesh(mesh), DynamicOptions::default());
    (running, client, registry)
}

fn call(service: &str, method: &str) -> DynamicCall {
    DynamicCall {
        service: service.to_owned(),
        method: method.to_owned(),
        timeout: Some(Duration::from_secs(10)),
        ..DynamicCall::default()
    }
}

const EXECUTE: &str = "agentplatform.AgentService/ExecuteTask";

#[tokio::test]
async fn json_comes_back_as_json_with_who_answered() {
    let (running, client, _) = echo("0s").await;
    for name in ["echo-agent", "agent-echo"] {
        let message = json!({"task_id": "t1", "input": "hello", "parameters": {"a": "1"}});
        let answer = client.call(&call(name, EXECUTE), message).await.unwrap();
        assert_eq!(
            answer.message["output"],
            "Echo Agent Response: hello | Parameters: a=1"
        );
        assert_eq!(answer.message["task_id"], "t1");
        assert_eq!(
            answer.message["error"], "",
            "fields that are not set are seen"
        );
        assert_eq!(
            answer.instance.as_deref(),
            Some(running.instance_id.as_str())
        );
    }
    running.drain().await;
}

#[tokio::test]
async fn a_method_that_was_found_is_called_without_a_look_up() {
    let (running, client, _) = echo("0s").await;
    let prepared = client.prepare("echo-agent", EXECUTE).await.unwrap();
    assert_eq!(
        (prepared.route().method(), &**prepared.service()),
        (EXECUTE, "agent-echo")
    );
    // The look-up counts once its stream has ended.
    testkit::until("reflection has ended", Duration::from_secs(5), async || {
        (served(&running) == 1).then_some(())
    })
    .await;
    for input in ["one", "two"] {
        let message = TaskRequest {
            input: input.to_owned(),
            ..TaskRequest::default()
        };
        let messages = vec![message.encode_to_vec().into()];
        let head = CallHead {
            timeout: Some(Duration::from_secs(10)),
            ..CallHead::default()
        };
        let mut answer = client.send(&prepared, head, messages).await.unwrap();
        assert_eq!(answer.instance.as_deref(), Some(&*running.instance_id));
        let message = answer.message().await.unwrap().unwrap().message().unwrap();
        let output = message.get_field_by_name("output").unwrap();
        assert_eq!(
            output.as_str().unwrap(),
            format!("Echo Agent Response: {input}")
        );
        assert!(answer.message().await.unwrap().is_none());
    }
    assert_eq!(served(&running), 3, "no reflection was asked");
    running.drain().await;
}

/// How many calls the agent has served.
fn served(running: &ServerHandle) -> usize {
    let metrics = running.context().registry.encode();
    let count = |line: &str| line.rsplit(' ').next()?.parse::<usize>().ok();
    metrics
        .lines()
        .filter(|line| line.starts_with("rpc_server_call_duration_seconds_count{"))
        .filter_map(count)
        .sum()
}

#[tokio::test]
async fn descriptors_are_asked_for_again_when_their_time_is_over() {
    let (running, _, registry) = echo("0s").await;
    for (descriptor_ttl, asked) in [(Duration::from_secs(60), 1), (Duration::ZERO, 3)] {
        let metrics = telemetry::MetricsRegistry::new();
        let options = channel::ClusterOptions::default();
        let mesh = channel::Mesh::new(registry.clone(), options, &metrics);
        let options = DynamicOptions {
            descriptor_ttl,
            ..DynamicOptions::default()
        };
        let client = DynamicClient::new(Transport::Mesh(mesh), options);
        let before = served(&running);
        for _ in 0..3 {
            client.method("echo-agent", EXECUTE).await.unwrap();
        }
        // A call counts when its stream has ended, which may be after its answer.
        let limit = Duration::from_secs(5);
        testkit::until("reflection was asked", limit, async || {
            (served(&running) - before >= asked).then_some(())
        })
        .await;
        assert_eq!(served(&running) - before, asked);
    }
}

#[tokio::test]
async fn calls_by_a_router_count_once_each_by_the_service_they_are_for() {
    let (running, _, registry) = echo("0s").await;
    let router = local::start(&router::SPEC, router::build, &registry, &[]).await;
    let metrics = telemetry::MetricsRegistry::new();
    let options = channel::ClusterOptions::default();
    let mesh = channel::Mesh::new(registry.clone(), options, &metrics);
    let mut catalog = registry.catalog();
    catalog.wait_for(Option::is_some).await.unwrap();
    let address = router.grpc_addr.to_string();
    let transport = Transport::counted_router(&address, &mesh).unwrap();
    let client = DynamicClient::new(transport, DynamicOptions::default());
    let count = |service: &str, method: &str, status: &str| {
        metrics.sample(&format!(
            "rpc_client_call_duration_seconds_count{{service=\"{service}\",rpc_method=\"{method}\",\
             rpc_response_status_code=\"{status}\",via=\"router\"}}"
        ))
    };
    // Both names are the same service.
    for name in ["echo-agent", "agent-echo"] {
        let (called, message) = (call(name, EXECUTE), json!({"input": "hi"}));
        client.call(&called, message).await.unwrap();
    }
    assert_eq!(count("agent-echo", EXECUTE, "OK"), Some(2.0));
    for number in 0..100 {
        let nobody = call(&format!("nobody-{number}"), EXECUTE);
        client.call_bytes(&nobody, Bytes::new()).await.unwrap_err();
    }
    assert_eq!(count("_OTHER", "_OTHER", "NOT_FOUND"), Some(100.0));
    router.drain().await;
    let gone = call("echo-agent", EXECUTE);
    client.call_bytes(&gone, Bytes::new()).await.unwrap_err();
    assert_eq!(count("agent-echo", EXECUTE, "UNAVAILABLE"), Some(1.0));
    // Nothing was called but by the router, so that nothing is balanced here.
    let text = metrics.encode();
    assert!(!text.contains("mesh_balance_picks_total{"), "{text}");
    running.drain().await;
}

#[tokio::test]
async fn a_router_is_as_good_a_way() {
    let (running, _, registry) = echo("0s").await;
    let router = local::start(&router::SPEC, router::build, &registry, &[]).await;
    let transport = Transport::router(&router.grpc_addr.to_string()).unwrap();
    let client = DynamicClient::new(transport, DynamicOptions::default());
    let answer = client
        .call(&call("echo-agent", EXECUTE), json!({"input": "hi"}))
        .await
        .unwrap();
    assert_eq!(answer.message["output"], "Echo Agent Response: hi");
    assert_eq!(
        answer.instance.as_deref(),
        Some(running.instance_id.as_str())
    );
    let nobody = client
        .call(&call("nobody", EXECUTE), json!({}))
        .await
        .unwrap_err();
    assert_eq!(nobody.code(), Code::NotFound);
    router.drain().await;
    let gone = client
        .call(&call("echo-agent", EXECUTE), json!({}))
        .await
        .unwrap_err();
    assert_eq!(gone.code(), Code::Unavailable);
    assert_eq!(
        proto::error_info::read(&gone).unwrap().reason,
        "ROUTER_UNREACHABLE"
    );
    running.drain().await;
}

#[tokio::test]
async fn a_stream_comes_message_by_message() {
    let (running, client, _) = echo("0s").await;
    let method = "agentplatform.AgentService/StreamTask";
    let mut stream = client
        .stream(&call("echo-agent", method), json!({"input": "one two"}))
        .await
        .unwrap();
    assert_eq!(
        stream.instance.as_deref(),
        Some(running.instance_id.as_str())
    );
    let mut words = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        words.push(chunk["content"].as_str().unwrap().to_owned());
    }
    assert_eq!(words.last().unwrap(), "[COMPLETE]");
    assert_eq!(words.len(), 3, "{words:?}");
    running.drain().await;
}

#[tokio::test]
async fn bytes_go_and_come_as_they_are() {
    let (running, client, _) = echo("0s").await;
    let request = TaskRequest {
        input: "raw".to_owned(),
        ..TaskRequest::default()
    };
    let message = Bytes::from(request.encode_to_vec());
    let answer = client
        .call_bytes(&call("echo-agent", EXECUTE), message)
        .await
        .unwrap();
    let response = TaskResponse::decode(answer.message).unwrap();
    assert_eq!(response.output, "Echo Agent Response: raw");
    assert_eq!(
        answer.instance.as_deref(),
        Some(running.instance_id.as_str())
    );
    running.drain().await;
}

#[tokio::test]
async fn each_failure_has_its_status_and_reason() {
    let (running, client, registry) = echo("0s").await;
    let without = Registration {
        tags: vec!["grpc".to_owned()],
        ..local::registration("shop-1", "shop", ([127, 0, 0, 1], 1).into())
    };
    registry.register(&without).await.unwrap();
    for (service, method, message, code, reason) in [
        (
            "nobody",
            EXECUTE,
            json!({}),
            Code::NotFound,
            "NO_SUCH_SERVICE",
        ),
        (
            "echo-agent",
            "a.B/C",
            json!({}),
            Code::Unimplemented,
            "UNKNOWN_METHOD",
        ),
        (
            "echo-agent",
            "agentplatform.AgentService/Dance",
            json!({}),
            Code::Unimplemented,
            "UNKNOWN_METHOD",
        ),
        (
            "echo-agent",
            "Dance",
            json!({}),
            Code::InvalidArgument,
            "BAD_METHOD",
        ),
        (
            "echo-agent",
            EXECUTE,
            json!({"inptu": 1}),
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
        (
            "echo-agent",
            EXECUTE,
            json!([]),
            Code::InvalidArgument,
            "MALFORMED_MESSAGE",
        ),
    ] {
        let error = client
            .call(&call(service, method), message)
            .await
            .unwrap_err();
        assert_eq!(error.code(), code, "{service} {method}: {error}");
        let info = proto::error_info::read(&error).unwrap();
        assert_eq!(info.reason, reason, "{service} {method}");
    }
    let unreachable = client
        .call(&call("shop", "a.B/C"), json!({}))
        .await
        .unwrap_err();
    assert_eq!(unreachable.code(), Code::Unavailable);
    running.drain().await;
}

#[tokio::test]
async fn a_call_ends_with_its_deadline_and_says_who_was_asked() {
    let (running, client, _) = echo("10s").await;
    let mut slow = call("echo-agent", EXECUTE);
    // Descriptors are known before, so that all of the time is the call's.
    client.method("echo-agent", EXECUTE).await.unwrap();
    slow.timeout = Some(Duration::from_millis(200));
    let error = client.call(&slow, json!({})).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    drop(running);
}

#[tokio::test]
async fn an_instances_own_refusal_tells_which_instance_it_was() {
    let (running, client, _) = echo("0s").await;
    let mut bad = call("echo-agent", "agentplatform.AgentService/RegisterAgent");
    bad.metadata.insert("x-some".to_owned(), "thing".to_owned());
    let error = client.call(&bad, json!({})).await.unwrap_err();
    assert!(error.code() != Code::Ok);
    let told = error
        .metadata()
        .get(INSTANCE)
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(told, running.instance_id);
    running.drain().await;
}
