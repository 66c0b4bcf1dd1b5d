//! The requests of the predecessor's clients, in their order and on their ports: its test script, its
//! web client, its command line, and its example workflows.

use std::net::TcpListener;

use mesh_testkit::WebServer;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;

use crate::{
    events,
    support::{Answer, Doors, has, send},
};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Its ports, on which its clients ask.
struct Ports {
    doors: Doors,
    workflows: String,
    fanout: String,
    client: Client,
}

impl Ports {
    async fn start() -> Self {
        let (workflows, fanout) = (free_port(), free_port());
        let set = [
            ("workflows_port", &workflows.to_string()),
            ("fanout_port", &fanout.to_string()),
        ];
        let set = set.map(|(key, value)| (key, value.as_str()));
        Self {
            doors: Doors::carrying(&set).await,
            workflows: format!("http://127.0.0.1:{workflows}"),
            fanout: format!("http://127.0.0.1:{fanout}"),
            client: Client::builder().no_proxy().build().unwrap(),
        }
    }

    /// A request to the orchestrator, as `curl` sends it.
    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.at(&self.workflows, method, path, body).await
    }

    async fn at(&self, base: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{base}{path}"));
        let mut request = request.header("X-User-ID", "test-user");
        if let Some(body) = body {
            let text = body.to_string();
            request = request
                .header("Content-Type", "application/json")
                .body(text);
        }
        send(request).await
    }
}

/// Three tasks in a row, with the fields that the script's file has.
fn simple() -> Value {
    let task = |id: &str, action: &str| json!({"id": id, "type": "task", "name": id, "config": {"timeout": 30, "retries": 3, "action": action}});
    json!({
        "name": "Leads", "version": "1.0", "description": "Three steps",
        "nodes": [task("validate_lead", "validate"), task("enrich_data", "fetch"), task("score_lead", "score")],
        "edges": [{"from": "validate_lead", "to": "enrich_data"}, {"from": "enrich_data", "to": "score_lead"}],
    })
}

/// A start, two branches, a join and an end.
fn complex() -> Value {
    let task = |id: &str| json!({"id": id, "type": "task", "name": id, "config": {"action": id}});
    json!({
        "name": "Onboarding", "version": "2.0", "description": "Branches",
        "nodes": [{"id": "start", "type": "start", "name": "New"}, task("check"), task("kyc"), task("credit"),
            task("setup"), {"id": "end", "type": "end", "name": "Done"}],
        "edges": [{"from": "start", "to": "check"}, {"from": "check", "to": "kyc"}, {"from": "check", "to": "credit"},
            {"from": "kyc", "to": "setup"}, {"from": "credit", "to": "setup"}, {"from": "setup", "to": "end"}],
    })
}

#[tokio::test]
async fn the_test_script_passes() {
    let ports = Ports::start().await;
    ports
        .ask("GET", "/api/v1/workflows", None)
        .await
        .expect(200);
    let create = async |tag: &str, workflow: Value| {
        let body = json!({"tag_name": tag, "workflow": workflow, "created_by": "test-user"});
        ports
            .ask("POST", "/api/v1/workflows", Some(&body))
            .await
            .expect(201)
    };
    let main = create("main", simple()).await;
    assert!(main["artifact_id"].is_string());
    let get = async |path: &str| {
        ports
            .ask("GET", &format!("/api/v1/workflows/{path}"), None)
            .await
    };
    assert_eq!(
        get("main?materialize=false").await.expect(200)["workflow"],
        json!(null)
    );
    assert_eq!(
        get("main?materialize=true").await.expect(200)["workflow"],
        simple()
    );
    create("dev", complex()).await;
    assert_eq!(
        ports
            .ask("GET", "/api/v1/workflows", None)
            .await
            .expect(200)["count"],
        2
    );
    create("prod", simple()).await;
    for tag in ["main", "dev", "prod"] {
        let got = get(&format!("{tag}?materialize=false")).await.expect(200);
        has(&got, "tag owner kind depth patch_count");
    }
    assert_eq!(
        get("nonexistent").await.expect(404)["error"],
        "workflow not found"
    );
    ports
        .ask("DELETE", "/api/v1/workflows/dev", None)
        .await
        .expect(200);
    get("dev").await.expect(404);

    // Its script of patches, which writes them into the database, as requests.
    create("patch-base", simple()).await;
    for (depth, operations) in [
        (
            1,
            json!([
            {"op": "add", "path": "/nodes/-", "value": {"id": "notify_slack", "type": "task", "name": "Notify",
                "config": {"timeout": 10, "retries": 1, "action": "send", "channel": "#sales"}}},
            {"op": "add", "path": "/edges/-", "value": {"from": "score_lead", "to": "notify_slack"}}]),
        ),
        (
            2,
            json!([
            {"op": "replace", "path": "/nodes/0/config/timeout", "value": 60},
            {"op": "replace", "path": "/nodes/1/config/timeout", "value": 120}]),
        ),
        (
            3,
            json!([
            {"op": "remove", "path": "/nodes/1"}, {"op": "remove", "path": "/edges/0"},
            {"op": "replace", "path": "/edges/0", "value": {"from": "validate_lead", "to": "score_lead"}}]),
        ),
    ] {
        let body = json!({"operations": operations, "description": "d"});
        let path = "/api/v1/workflows/patch-base/patch";
        let patched = ports.ask("PATCH", path, Some(&body)).await.expect(200);
        assert_eq!(patched["depth"], depth);
    }
    let at = async |seq: u32| {
        get(&format!("patch-base/versions/{seq}?materialize=true"))
            .await
            .expect(200)
    };
    for (seq, nodes, timeout) in [(1, 4, 30), (2, 4, 60), (3, 3, 60)] {
        let version = at(seq).await;
        assert_eq!(
            (&version["seq"], &version["depth"]),
            (&json!(seq), &json!(seq))
        );
        assert_eq!(
            version["workflow"]["nodes"].as_array().unwrap().len(),
            nodes
        );
        assert_eq!(
            version["workflow"]["nodes"][0]["config"]["timeout"],
            timeout
        );
    }
    let now = get("patch-base?materialize=true").await.expect(200);
    assert_eq!(now["workflow"], at(3).await["workflow"]);
    let health = ports.ask("GET", "/health", None).await.expect(200);
    assert_eq!(health, json!({"service": "orchestrator", "status": "ok"}));
    let fanout = ports.at(&ports.fanout, "GET", "/health", None).await;
    assert_eq!((fanout.status, fanout.text.as_str()), (200, "OK"));
    ports.doors.drain().await;
}

#[tokio::test]
async fn the_web_clients_requests_work_from_the_list_to_the_approval() {
    let ports = Ports::start().await;
    let workflow = json!({
        "nodes": [{"id": "a", "type": "noop"}, {"id": "ask", "type": "hitl", "config": {"message": "ok?"}},
            {"id": "b", "type": "noop"}],
        "edges": [{"from": "a", "to": "ask"}, {"from": "ask", "to": "b"}], "metadata": {"name": "x"},
    });
    let body = json!({"tag_name": "release/v1.0", "workflow": workflow});
    ports
        .ask("POST", "/api/v1/workflows", Some(&body))
        .await
        .expect(201);
    let listed = ports
        .ask("GET", "/api/v1/workflows?scope=user", None)
        .await
        .expect(200);
    let tag = &listed["workflows"][0];
    assert_eq!(
        (&tag["tag"], &tag["owner"]),
        (&json!("release/v1.0"), &json!("test-user"))
    );
    let path = "/api/v1/workflows/release%2Fv1.0";
    let got = ports
        .ask("GET", &format!("{path}?materialize=true"), None)
        .await
        .expect(200);
    assert_eq!(got["workflow"], workflow);
    let version = format!("{path}/versions/1?materialize=true");
    assert_eq!(
        ports.ask("GET", &version, None).await.expect(200)["workflow"],
        workflow
    );
    let replace = json!({"operations": [{"op": "replace", "path": "/nodes/2", "value": {"id": "b", "type": "join"}}],
        "description": ""});
    ports
        .ask("PATCH", &format!("{path}/patch"), Some(&replace))
        .await
        .expect(200);

    let socket = format!(
        "{}/ws?username=test-user",
        ports.fanout.replace("http", "ws")
    );
    let (mut socket, _) = connect_async(socket).await.unwrap();
    let started = ports
        .ask(
            "POST",
            &format!("{path}/execute"),
            Some(&json!({"inputs": {}})),
        )
        .await;
    let run = started.expect(201)["run_id"].as_str().unwrap().to_owned();
    events::until(&mut socket, "approval_required").await;
    let runs = ports
        .ask("GET", &format!("{path}/runs?limit=20"), None)
        .await
        .expect(200);
    assert_eq!(runs["runs"][0]["run_id"], run.as_str());
    let details = async || {
        ports
            .ask("GET", &format!("/api/v1/runs/{run}/details"), None)
            .await
            .expect(200)
    };
    let waiting = details().await;
    assert_eq!(waiting["run"]["status"], "WAITING_FOR_APPROVAL");
    assert_eq!(
        waiting["node_executions"]["ask"]["status"],
        "waiting_for_approval"
    );
    let answer = json!({"run_id": run, "node_id": "ask", "approved": true, "comment": "fine"});
    let approved = ports
        .at(&ports.fanout, "POST", "/api/approval", Some(&answer))
        .await
        .expect(200);
    assert_eq!(approved["success"], true);
    events::until(&mut socket, "workflow_completed").await;
    let done = details().await;
    assert_eq!(done["run"]["status"], "COMPLETED");
    // It draws the edges from these.
    assert_eq!(
        done["workflow_ir"]["nodes"]["a"]["dependents"],
        json!(["ask"])
    );
    ports.ask("DELETE", path, None).await.expect(200);
    ports.doors.drain().await;
}

#[tokio::test]
async fn the_command_lines_requests_are_answered_as_it_reads_them() {
    let ports = Ports::start().await;
    let workflow = json!({
        "nodes": [{"id": "a", "type": "noop"}, {"id": "wait", "type": "signal", "config": {"name": "go"}}],
        "edges": [{"from": "a", "to": "wait"}],
    });
    let body = json!({"workflow": workflow, "inputs": null});
    let started = ports
        .ask("POST", "/api/runs", Some(&body))
        .await
        .expect(201);
    has(&started, "run_id status");
    let run = started["run_id"].as_str().unwrap();
    ports.doors.until_node(run, "wait", "running").await;
    let status = ports
        .ask("GET", &format!("/api/runs/{run}"), None)
        .await
        .expect(200);
    has(&status, "run_id status started_at ended_at active_nodes");
    assert!(status["started_at"].is_string(), "it has to be a text");
    assert_eq!(
        (&status["status"], &status["active_nodes"]),
        (&json!("running"), &json!(["wait"]))
    );
    let listed = ports
        .ask("GET", "/api/runs?limit=10&status=running", None)
        .await
        .expect(200);
    assert_eq!(
        (&listed["total"], &listed["runs"][0]["run_id"]),
        (&json!(1), &json!(run))
    );
    ports
        .ask("POST", "/api/runs", Some(&body))
        .await
        .expect(201);
    let first = ports
        .ask("GET", "/api/runs?limit=1", None)
        .await
        .expect(200);
    assert_eq!(
        (first["runs"].as_array().map(Vec::len), &first["total"]),
        (Some(1), &json!(2))
    );
    // It sends `null` as JSON, and reads the answer as `null`.
    let cancelled = ports
        .ask(
            "POST",
            &format!("/api/runs/{run}/cancel"),
            Some(&json!(null)),
        )
        .await;
    assert_eq!(cancelled.expect(200), json!(null));
    ports.doors.until_status(run, "CANCELLED").await;
    // It names no user here.
    let url = format!(
        "{}/api/logs/stream?run_id={run}&filter=all",
        ports.workflows
    );
    let log = send(ports.client.get(url)).await;
    assert!(
        log.text.contains("event: log\n") && log.text.ends_with("\n\n"),
        "{}",
        log.text
    );
    assert!(log.text.contains("event: done\n"), "{}", log.text);
    ports.doors.drain().await;
}

/// The nodes of a run, by status.
fn count(details: &Value, status: &str) -> usize {
    let nodes = details["node_executions"].as_object().unwrap();
    nodes
        .values()
        .filter(|node| node["status"] == status)
        .count()
}

/// Its five example workflows, on servers that are `base` in the place of `*.example.com`.
fn examples(base: &str) -> Vec<(&'static str, Value)> {
    let function = |id: &str, name: &str| json!({"id": id, "type": "function", "config": {"function_name": name}});
    let edges = |edges: &[(&str, &str)]| -> Vec<Value> {
        let edges = edges.iter();
        edges
            .map(|(from, to)| json!({"from": from, "to": to}))
            .collect()
    };
    let sequential = json!({
        "description": "one after the other",
        "nodes": [
            {"id": "fetch_data", "type": "function", "timeout_ms": 5000,
             "config": {"function_name": "fetch_data", "endpoint": "https://api.example.com/data"}},
            {"id": "transform", "type": "transform", "config": {"transformation": "uppercase"}},
            {"id": "store", "type": "function",
             "config": {"function_name": "store_result", "destination": "database"}},
        ],
        "edges": edges(&[("fetch_data", "transform"), ("transform", "store")]),
    });
    let fanout = json!({
        "nodes": [function("prepare", "prepare_data"), function("process_path1", "process_variant_1"),
            function("process_path2", "process_variant_2"),
            {"id": "merge_results", "type": "aggregate", "config": {"strategy": "merge"}}],
        "edges": edges(&[("prepare", "process_path1"), ("prepare", "process_path2"),
            ("process_path1", "merge_results"), ("process_path2", "merge_results")]),
    });
    let mut branching = json!({
        "nodes": [
            {"id": "fetch_score", "type": "http", "config": {"method": "GET", "url": format!("{base}/score")}},
            {"id": "evaluate", "type": "conditional", "config": {"evaluation_field": "score"}},
            function("high_quality_path", "premium_processing"),
            function("low_quality_path", "basic_processing"), function("finalize", "finalize_result")],
        "edges": edges(&[("fetch_score", "evaluate"), ("evaluate", "high_quality_path"),
            ("evaluate", "low_quality_path"), ("high_quality_path", "finalize"),
            ("low_quality_path", "finalize")]),
    });
    branching["edges"][1]["condition"] = "output.score >= 80".into();
    branching["edges"][2]["condition"] = "output.score < 80".into();
    let repeat = json!({
        "nodes": [function("start", "initialize"),
            {"id": "retry_fetch", "type": "loop", "config": {"function_name": "fetch_with_retry",
                "max_iterations": 5, "loop_back_to": "retry_fetch",
                "condition": "output.status != 'success'",
                "break_path": ["success_handler"], "timeout_path": ["failure_handler"]}},
            function("success_handler", "handle_success"), function("failure_handler", "handle_failure")],
        "edges": edges(&[("start", "retry_fetch")]),
    });
    let mut complex = json!({
        "nodes": [
            function("load_config", "load_workflow_config"),
            {"id": "fetch_data_source1", "type": "http", "config": {"url": format!("{base}/source1/data")}},
            {"id": "fetch_data_source2", "type": "http", "config": {"url": format!("{base}/source2/data")}},
            {"id": "validate", "type": "conditional",
             "config": {"validation_rules": ["schema", "completeness"]}},
            {"id": "transform_valid", "type": "transform", "config": {"transformation": "normalize"}},
            function("handle_invalid", "log_validation_error"),
            {"id": "aggregate_results", "type": "aggregate", "config": {"strategy": "union"}},
            {"id": "filter_results", "type": "filter",
             "config": {"filter_expression": "value.score > 50"}},
            function("store_final", "store_to_database")],
        "edges": edges(&[("load_config", "fetch_data_source1"), ("load_config", "fetch_data_source2"),
            ("fetch_data_source1", "validate"), ("fetch_data_source2", "validate"),
            ("validate", "transform_valid"), ("validate", "handle_invalid"),
            ("transform_valid", "aggregate_results"), ("aggregate_results", "filter_results"),
            ("filter_results", "store_final")]),
        "metadata": {"name": "Complex Data Processing Pipeline", "version": "1.0.0",
            "tags": ["production", "data-processing"]},
    });
    complex["edges"][4]["condition"] = "output.valid == true".into();
    complex["edges"][5]["condition"] = "output.valid == false".into();
    vec![
        ("simple_sequential", sequential),
        ("parallel_fanout", fanout),
        ("conditional_branching", branching),
        ("loop_workflow", repeat),
        ("complex_workflow", complex),
    ]
}

#[tokio::test]
async fn its_five_example_workflows_end_as_they_say_and_the_diamonds_join_runs_once() {
    let server = WebServer::start(|path, _| match path {
        "/score" => (200, json!({"score": 91.5}).to_string()),
        // What is refused is data too.
        "/source1/data" => (404, json!({"valid": true, "score": 10}).to_string()),
        "/source2/data" => (200, json!({"valid": true, "score": 60}).to_string()),
        _ => (500, String::new()),
    })
    .await;
    let mut doors = Doors::start(&[]).await;
    let outside = [
        ("allow_external_requests", "yes"),
        ("external_allow_hosts", "127.0.0.1"),
    ];
    doors.beside("job-runner", &outside).await;
    doors.beside("workflow-runner", &[]).await;
    let mut warned = 0;
    for (tag, workflow) in examples(&server.url) {
        let stored = doors.put(tag, &workflow).await;
        warned += stored["warnings"].as_array().unwrap().len();
        let run = doors.execute(tag, &json!({})).await;
        doors.until_status(&run, "COMPLETED").await;
        let details = doors.details(&run).await;
        let status = |node: &str| details["node_executions"][node]["status"].clone();
        let output = |node: &str| details["node_executions"][node]["output"].clone();
        assert_eq!(
            count(&details, "not_executed")
                + count(&details, "running")
                + count(&details, "failed"),
            0,
            "{tag}: {details}"
        );
        match tag {
            "parallel_fanout" => {
                let told = doors
                    .get(&format!("/api/v1/runs/{run}/events?cursor=first"))
                    .await
                    .text;
                let joined = told.lines().filter(|line| {
                    line.starts_with("data:")
                        && line.contains("\"node_completed\"")
                        && line.contains("\"merge_results\"")
                });
                assert_eq!(joined.count(), 1, "{told}");
            }
            "conditional_branching" => {
                assert_eq!(output("fetch_score")["body"]["score"], 91.5);
                assert_eq!(output("low_quality_path"), Value::Null, "{details}");
                assert_eq!(
                    output("high_quality_path")["status"],
                    "skipped",
                    "nobody serves it"
                );
            }
            "loop_workflow" => {
                assert_eq!(output("success_handler"), Value::Null, "{details}");
                assert_eq!(output("failure_handler")["status"], "skipped");
            }
            "complex_workflow" => {
                assert_eq!(output("fetch_data_source1")["status_code"], 404);
                assert_eq!(status("transform_valid"), "completed");
                assert_eq!(output("handle_invalid"), Value::Null, "{details}");
                let best = output("filter_results");
                assert_eq!(best.as_array().map(Vec::len), Some(1), "{best}");
            }
            _ => {}
        }
    }
    assert!(
        warned >= 15,
        "functions that nobody serves are named: {warned}"
    );
    doors.drain().await;
}

#[tokio::test]
async fn a_task_is_chatted_about_on_the_runners_port() {
    let mut doors = Doors::start(&[]).await;
    doors.beside("echo-agent", &[]).await;
    doors
        .beside("job-runner", &[("task_agent", "echo-agent")])
        .await;
    let client = Client::builder().no_proxy().build().unwrap();
    let base = format!("http://{}", doors.others[1].grpc_addr);
    let chat = async |query: &str| send(client.post(format!("{base}/test/chat{query}"))).await;
    let said = chat("?task=hello%20there").await.expect(200);
    assert_eq!(said["status"], "success");
    assert!(said["result"].to_string().contains("hello there"), "{said}");
    assert_eq!(chat("").await.status, 422);
    assert_eq!(
        send(client.get(format!("{base}/test/chat?task=x")))
            .await
            .status,
        405
    );
    doors.drain().await;
}
