//! Jobs are one trace, from the HTTP request to the last model.

use std::time::Duration;

use mesh_testkit::{
    Jaeger, JobMesh,
    model_endpoint::{ModelEndpoint, SAYS_TOKENS, calls, has_result, says},
    until,
};
use serde_json::{Value, json};

use crate::view::{EXPORTED, ancestry, is_whole, kind, of, operation, service, spans, tag, value};

/// Longer than a job takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
const GOAL: &str = "Research the lighthouse at Skagen";
const DOCUMENTS: [(&str, &str); 1] = [(
    "tides.md",
    "# Tides\n\nResearch for the lighthouse at Skagen starts with the tide tables of 1867.\n",
)];
const SAID: &str = "The tide tables tell [1].";

/// A model that looks something up when it has not yet, and then says what it found.
async fn model() -> ModelEndpoint {
    ModelEndpoint::start(|request| {
        let lookup = json!({"operation": "search_local_docs", "query": "lighthouse"});
        Some(match has_result(request) {
            true => says(SAID),
            false => calls(&[("docs_tool", &lookup.to_string())]),
        })
    })
    .await
}

async fn post(mesh: &JobMesh, path: &str, body: &Value) -> Value {
    let url = format!("http://{}{path}", mesh.gateway.grpc);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(url).header("content-type", "application/json");
    let answer = request.body(body.to_string()).send().await.unwrap();
    serde_json::from_str(&answer.text().await.unwrap()).unwrap()
}

/// Waits until a job has ended like this.
async fn ended(mesh: &JobMesh, job: &Value, wanted: &str) -> Value {
    let id = job["job_id"].as_str().unwrap_or_else(|| panic!("{job}"));
    let url = format!("http://{}/jobs/{id}", mesh.gateway.grpc);
    until(&format!("{id} is {wanted}"), PATIENCE, async || {
        let job = mesh_testkit::http_client::json(&url).await?;
        let status = job["status"].as_str()?;
        assert!(
            status == wanted || !["finished", "failed"].contains(&status),
            "{job}"
        );
        (status == wanted).then_some(job)
    })
    .await
}

/// The spans whose operation is this.
fn named<'a>(trace: &'a Value, name: &str) -> Vec<&'a Value> {
    spans(trace)
        .filter(|span| operation(span) == name)
        .collect()
}

#[tokio::test]
async fn an_enqueued_run_with_a_model_is_one_trace_of_all_that_took_part() {
    let jaeger = Jaeger::start().await;
    for content in [false, true] {
        let model = model().await;
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint()),
            ("MODEL_URL", model.url.clone()),
            ("MODEL_NAME", format!("small-{content}")),
            ("TRACE_CONTENT", content.to_string()),
        ];
        let mesh = JobMesh::with_pipeline(&DOCUMENTS, &env).await;
        let chat = format!("chat small-{content}");
        // An agent that has just started may not know of the tools yet: then it offers its model none.
        let (job, trace) = until(
            "a run whose agents know of the tools",
            PATIENCE,
            async || {
                let run = post(&mesh, "/enqueue", &json!({"goal": GOAL})).await;
                ended(&mesh, &run, "finished").await;
                let job = run["job_id"].as_str().unwrap().to_owned();
                let trace = trace_of(&jaeger, &job, &chat).await;
                let lookups = named(&trace, "execute_tool docs-tool").len();
                (lookups >= 3).then_some((job, trace))
            },
        )
        .await;
        check(&trace, &chat, &job, content);
    }
}

/// The whole trace of a run.
async fn trace_of(jaeger: &Jaeger, job: &str, chat: &str) -> Value {
    until("a trace of all", EXPORTED, async || {
        let traces = jaeger.traces("agents-app").await;
        traces.into_iter().find(|trace| {
            let enqueued = named(trace, "enqueue default");
            // Each of three agents asks twice.
            is_whole(trace)
                && named(trace, chat).len() == 6
                && !named(trace, "POST /enqueue").is_empty()
                && !named(trace, "job pipeline").is_empty()
                && enqueued
                    .iter()
                    .any(|it| tag(it, "messaging.message.id") == job)
        })
    })
    .await
}

/// The one span whose operation is this.
fn only<'a>(trace: &'a Value, name: &str) -> &'a Value {
    match named(trace, name)[..] {
        [span] => span,
        _ => panic!("one {name}: {trace}"),
    }
}

fn check(trace: &Value, chat: &str, job: &str, content: bool) {
    let only = |name: &str| only(trace, name);
    let request = only("POST /enqueue");
    assert_eq!(
        (service(trace, request), kind(request)),
        ("agents-app", "server")
    );
    assert_eq!(tag(request, "http.request.method"), "POST");
    assert_eq!(tag(request, "http.route"), "/enqueue");
    assert_eq!(
        value(request, "http.response.status_code"),
        202,
        "{request}"
    );
    assert_eq!(tag(request, "client.address"), "127.0.0.1");
    let enqueue = only("enqueue default");
    assert_eq!(kind(enqueue), "producer");
    assert_eq!(tag(enqueue, "messaging.destination.name"), "default");
    assert_eq!(tag(enqueue, "messaging.message.id"), job);
    let attempt = only("job pipeline");
    assert_eq!(
        (service(trace, attempt), kind(attempt)),
        ("agents-worker", "consumer")
    );
    assert_eq!(value(attempt, "mesh.job.attempt"), 1);
    assert_eq!(tag(attempt, "messaging.message.id"), job);

    let rpc = "agentplatform.AgentService/ExecuteTask";
    for (agent, service) in [
        ("research-agent", "agent-research"),
        ("code-agent", "agent-code"),
        ("review-agent", "agent-review"),
    ] {
        let invoked = only(&format!("invoke_agent {agent}"));
        assert_eq!(tag(invoked, "gen_ai.operation.name"), "invoke_agent");
        assert_eq!(tag(invoked, "gen_ai.agent.name"), agent);
        let chats: Vec<_> = of(trace, service)
            .filter(|span| operation(span) == chat)
            .collect();
        assert_eq!(chats.len(), 2, "{agent} asks twice");
        for span in chats {
            let expected = [
                format!("{service} {chat}"),
                format!("{service} invoke_agent {agent}"),
                format!("{service} {rpc}"),
                format!("agents-worker {rpc}"),
                "agents-worker job pipeline".to_owned(),
                "agents-app enqueue default".to_owned(),
                "agents-app POST /enqueue".to_owned(),
            ];
            assert_eq!(ancestry(trace, span), expected);
            assert_eq!(kind(span), "client");
            assert!(tag(span, "gen_ai.request.model").starts_with("small-"));
            let asked = tag(span, "gen_ai.input.messages");
            let said = tag(span, "gen_ai.output.messages");
            assert_eq!((asked.is_empty(), said.is_empty()), (!content, !content));
            if value(span, "gen_ai.usage.input_tokens") == SAYS_TOKENS.0 {
                assert_eq!(value(span, "gen_ai.usage.output_tokens"), SAYS_TOKENS.1);
                assert_eq!(said.contains(SAID), content, "{said}");
            }
        }
    }
    assert!(!named(trace, "execute_tool fs-tool").is_empty());
    let text = trace.to_string();
    for secret in [GOAL, SAID] {
        assert_eq!(text.contains(secret), content, "{secret}");
    }
    assert!(!text.contains("mesh.sampled"));
}

#[tokio::test]
async fn later_attempts_of_a_job_link_to_the_first() {
    let jaeger = Jaeger::start().await;
    let mesh = JobMesh::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", jaeger.endpoint())]).await;
    let call = |service: &str| {
        json!({"kind": "call", "service": service, "max_attempts": 2,
            "method": "agentplatform.AgentService/ExecuteTask",
            "payload": {"agent_id": "echo-agent", "input": "again"}})
    };
    let good = post(&mesh, "/api/v1/jobs", &call("agent-echo")).await;
    ended(&mesh, &good, "finished").await;
    let rpc = "agentplatform.AgentService/ExecuteTask";
    let chain = until("a trace from gateway to agent", EXPORTED, async || {
        let traces = jaeger.traces("agent-echo").await;
        // Spans of other programs may come later.
        traces.iter().find_map(|trace| {
            let mut spans = of(trace, "agent-echo");
            // The runner asks its reflection too.
            let is_call = |span: &&Value| kind(span) == "server" && operation(span) == rpc;
            let echo = spans.find(is_call)?;
            let chain = ancestry(trace, echo);
            (chain.len() == 5).then_some(chain)
        })
    });
    let expected = [
        "agent-echo agentplatform.AgentService/ExecuteTask",
        "agents-worker agentplatform.AgentService/ExecuteTask",
        "agents-worker job call",
        "agents-app enqueue default",
        "agents-app POST /api/v1/jobs",
    ];
    assert_eq!(chain.await, expected);

    // Nobody serves it: it is tried again, and given up.
    let bad = post(&mesh, "/api/v1/jobs", &call("agent-nobody")).await;
    ended(&mesh, &bad, "failed").await;
    let attempts = until("both attempts", EXPORTED, async || {
        let traces = jaeger.traces("agents-worker").await;
        let trace = traces
            .into_iter()
            .find(|trace| named(trace, "job call").len() == 2)?;
        Some(
            named(&trace, "job call")
                .into_iter()
                .cloned()
                .collect::<Vec<_>>(),
        )
    })
    .await;
    let number = |wanted: u64| {
        let found = attempts
            .iter()
            .find(|span| value(span, "mesh.job.attempt") == wanted);
        found.unwrap_or_else(|| panic!("no attempt {wanted}: {attempts:?}"))
    };
    let (first, second) = (number(1), number(2));
    let links = |span: &Value| {
        let references = span["references"].as_array().into_iter().flatten();
        let links = references.filter(|it| it["refType"] == "FOLLOWS_FROM");
        links.map(|it| it["spanID"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(links(second), [first["spanID"].clone()], "{second}");
    assert!(links(first).is_empty(), "{first}");
    assert_eq!(tag(second, "otel.status_code"), "ERROR");
}
