//! What becomes of calls whose trace is not recorded, and of the context that a caller brings. The
//! router is a real program; the instance behind it writes down what it gets.

use std::{sync::Arc, time::Duration};

use h2::server;
use http::{HeaderMap, Response};
use mesh_testkit::{Jaeger, Mesh, Program, raw::RawConnection, until};
use parking_lot::Mutex;
use prost::Message as _;
use proto::agentplatform::TaskRequest;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinSet};
use tonic::Code;

use crate::view::{EXPORTED, by_id, parent, spans, tag};

const METHOD: &str = "/probe.Probe/Call";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// An instance that answers with the status in `x-status`, and keeps the heads of its requests.
struct Probe {
    heads: Arc<Mutex<Vec<HeaderMap>>>,
    port: u16,
    _tasks: JoinSet<()>,
}

impl Probe {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::<Mutex<Vec<HeaderMap>>>::default();
        let (seen, mut tasks) = (heads.clone(), JoinSet::new());
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let seen = seen.clone();
                connections.spawn(async move {
                    let mut builder = server::Builder::new();
                    builder.max_header_list_size(64 << 10);
                    let mut connection =
                        builder.handshake::<_, bytes::Bytes>(socket).await.unwrap();
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        let head = request.headers().clone();
                        let status = head.get("x-status").cloned();
                        let answer = Response::builder()
                            .header("content-type", "application/grpc")
                            .header("grpc-status", status.unwrap_or("0".parse().unwrap()));
                        if request.uri().path() == METHOD {
                            seen.lock().push(head);
                        }
                        respond.send_response(answer.body(()).unwrap(), true).ok();
                    }
                });
            }
        });
        Self {
            heads,
            port,
            _tasks: tasks,
        }
    }

    /// A router in front of it.
    async fn router(&self, env: &[(&'static str, String)]) -> Program {
        let own = [
            ("DISCOVERY", "fixed".to_owned()),
            ("FIXED_INSTANCES", format!("probe=127.0.0.1:{}", self.port)),
            ("HANDSHAKE_TIMEOUT", "60s".to_owned()),
        ];
        Program::start("mcp-router", &[&own[..], env].concat()).await
    }
}

/// Calls the probe with these fields more.
async fn call(raw: &mut RawConnection, fields: &[(&str, &str)]) -> Code {
    let fields = [&[("x-mesh-service", "probe")], fields].concat();
    raw.call(METHOD, &fields, &[]).await.status.code()
}

fn text(head: &HeaderMap, name: &str) -> Option<String> {
    let mut values = head.get_all(name).iter();
    let value = values.next()?.to_str().unwrap().to_owned();
    assert!(values.next().is_none(), "one {name}");
    Some(value)
}

#[tokio::test]
async fn a_callers_context_goes_on_as_w3c_says() {
    let jaeger = Jaeger::start().await;
    let probe = Probe::start().await;
    let env = |ratio: &str| {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
            ("TRACE_RATIO", ratio.to_owned()),
            ("MAX_HEADER_BYTES", "64KiB".to_owned()),
        ]
    };
    let (never, always) = (env("0"), env("1"));
    let never = probe.router(&never).await;
    let always = probe.router(&always).await;
    let untraced = probe
        .router(&[("MAX_HEADER_BYTES", "64KiB".to_owned())])
        .await;

    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    let sampled = format!("00-{TRACE}-{SPAN}-01");
    let later = format!("cc-{TRACE}-{SPAN}-00-what-the-future-brings");
    let long = format!("00-{TRACE}-{SPAN}-01-{}", "0".repeat(10_000));
    let zeros = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
    let version = format!("ff-{TRACE}-{SPAN}-01");
    let invalid = [&*long, &zeros, &version, "x"];
    let state = ("tracestate", "vendor=1");
    let mut sent = 0;
    for (name, router) in [("never", &never), ("always", &always), ("off", &untraced)] {
        let mut raw = RawConnection::connect(router.grpc).await;
        let mut head = async |fields: &[(&str, &str)]| {
            assert_eq!(call(&mut raw, fields).await, Code::Ok);
            sent += 1;
            let heads = probe.heads.lock();
            assert_eq!(heads.len(), sent);
            heads[sent - 1].clone()
        };
        let traced = name != "off";
        // What is not recorded passes as it came.
        for passed in [&unsampled, &later] {
            let came = head(&[("traceparent", passed), state]).await;
            assert_eq!(text(&came, "traceparent").as_ref(), Some(passed));
            assert_eq!(text(&came, "tracestate").as_deref(), Some("vendor=1"));
        }
        let came = head(&[("traceparent", &sampled), state]).await;
        let told = text(&came, "traceparent").unwrap();
        assert_eq!(text(&came, "tracestate").as_deref(), Some("vendor=1"));
        assert_eq!(told == sampled, !traced, "{told}");
        assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-01"));
        // What is invalid counts as nothing.
        for invalid in invalid {
            let came = head(&[("traceparent", invalid), state]).await;
            let told = text(&came, "traceparent").unwrap();
            assert_eq!(told == invalid, !traced, "{told:.60}");
            assert_eq!(text(&came, "tracestate").is_none(), traced);
            assert!(!traced || !told.contains(TRACE), "{told:.60}");
        }
        let came = head(&[]).await;
        match text(&came, "traceparent") {
            Some(told) => {
                let ends = if name == "never" { "-00" } else { "-01" };
                assert!(traced && told.len() == 55 && told.ends_with(ends), "{told}");
            }
            None => assert!(!traced),
        }
    }
}

#[tokio::test]
async fn ten_thousand_calls_at_one_in_a_hundred_leave_no_orphan() {
    const CALLS: usize = 10_000;
    let jaeger = Jaeger::start().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
        ("TRACE_RATIO", "0.01".to_owned()),
    ];
    let mesh = Mesh::start(2, 2, &env).await;
    let task = TaskRequest {
        agent_id: "echo-agent".to_owned(),
        ..TaskRequest::default()
    };
    let (task, mut callers) = (task.encode_to_vec(), JoinSet::new());
    for caller in 0..8 {
        let mut raw = RawConnection::connect(mesh.routers[caller % 2].grpc).await;
        let task = task.clone();
        callers.spawn(async move {
            for number in 0..CALLS / 8 {
                // A few fail, and are exported though nobody sampled them.
                let method = match number % 250 {
                    249 => "Nothing",
                    _ => "ExecuteTask",
                };
                let path = format!("/agentplatform.AgentService/{method}");
                let fields = [("x-mesh-service", "agent-echo")];
                let code = raw.call(&path, &fields, &task).await.status.code();
                assert_eq!(code == Code::Ok, method == "ExecuteTask", "{code:?}");
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap();
    }
    // Each trace is whole once every program has exported what it has.
    let (mut recorded, mut failed) = (0, 0);
    until("traces without orphans", EXPORTED, async || {
        let traces = jaeger.all_traces("mcp-router").await;
        let orphans = traces.iter().flat_map(|trace| {
            let lacks = |span: &&Value| parent(span).is_some_and(|id| by_id(trace, id).is_none());
            spans(trace).filter(lacks)
        });
        if orphans
            .into_iter()
            .any(|span| tag(span, "mesh.sampled").is_empty())
        {
            return None;
        }
        let by_error = |trace: &&Value| spans(trace).any(|it| !tag(it, "mesh.sampled").is_empty());
        failed = traces.iter().filter(by_error).count();
        recorded = traces.len() - failed;
        // One in a hundred, give or take five times the deviation.
        (50..=150).contains(&recorded).then_some(())
    })
    .await;
    assert!(failed > 0, "{recorded} recorded");
}

#[tokio::test]
async fn of_calls_that_are_not_recorded_those_that_fail_are_exported() {
    let jaeger = Jaeger::start().await;
    let probe = Probe::start().await;
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
        ("TRACE_RATIO", "0".to_owned()),
        ("TRACE_ERRORS", "5".to_owned()),
    ];
    let router = probe.router(&env).await;
    let mut raw = RawConnection::connect(router.grpc).await;
    let unsampled = format!("00-{TRACE}-{SPAN}-00");
    for _ in 0..100 {
        assert_eq!(call(&mut raw, &[]).await, Code::Ok);
        // What the caller did wrong is no failure.
        let wrong = call(&mut raw, &[("x-status", "5")]).await;
        assert_eq!(wrong, Code::NotFound);
    }
    let fields = [("x-status", "13"), ("traceparent", &*unsampled)];
    let began = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(call(&mut raw, &fields).await, Code::Internal);
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    let traces = until("the failed calls", EXPORTED, async || {
        let traces = jaeger.traces("mcp-router").await;
        (!traces.is_empty()).then_some(traces)
    });
    traces.await;
    // Whatever else there is has come by then.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let traces = jaeger.traces("mcp-router").await;
    assert_eq!(traces.len(), 1, "{traces:?}");
    assert_eq!(traces[0]["traceID"].as_str(), Some(TRACE));
    let failed: Vec<&Value> = spans(&traces[0]).collect();
    assert!(
        (5..=5 * seconds).contains(&failed.len()),
        "{}",
        failed.len()
    );
    for span in failed {
        assert_eq!(tag(span, "mesh.sampled"), "error");
        assert_eq!(tag(span, "rpc.response.status_code"), "INTERNAL");
        assert_eq!(tag(span, "error.type"), "INTERNAL");
        assert_eq!(tag(span, "mesh.service"), "probe");
        let above = parent(span).unwrap();
        assert!(above == SPAN && by_id(&traces[0], above).is_none());
    }
}
