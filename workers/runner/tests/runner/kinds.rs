//! What the kinds do, and what is told of it.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use jobs::{JobStatus, NewJob, Payload};
use serde_json::{Value, json};
use testkit::until;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use work::JobKind as _;

use crate::support::{PATIENCE, Stage, echo, result};

#[tokio::test]
async fn a_call_is_made_and_what_it_cost_is_told() {
    let stage = Stage::set("250ms").await;
    let runner = stage.runner(&[]).await;
    let id = stage.submit("call", &echo("hello")).await;
    let record = stage.ended(&id).await;
    assert_eq!(result(&record)["output"], "Echo Agent Response: hello");
    let metrics = record.header.metrics.unwrap();
    let number = |name: &str| {
        metrics[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name} in {metrics}"))
    };
    let (queued, ran) = (number("queue_time_ms"), number("execution_time_ms"));
    assert!(ran >= 250.0 && queued >= 0.0, "{metrics}");
    assert!(
        (number("total_duration_ms") - queued - ran).abs() < 0.01,
        "{metrics}"
    );
    let (start, peak, end) = (
        number("memory_start_mb"),
        number("memory_peak_mb"),
        number("memory_end_mb"),
    );
    assert!(
        start > 1.0 && peak >= start && peak >= end && peak < 4096.0,
        "{metrics}"
    );
    // A call waits for its answer, and waiting is not work.
    assert!((0.0..50.0).contains(&number("cpu_percent")), "{metrics}");
    assert!(number("thread_count") >= 1.0, "{metrics}");
    // The line of the attempt has the same.
    let log = runner.process.log();
    let mut lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "job succeeded");
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert_eq!(line["job"], id.to_string(), "{line}");
    let near = |name: &str, number: f64| (line[name].as_f64().unwrap() - number).abs() < 50.0;
    assert!(
        near("execution_time_ms", ran) && near("queue_time_ms", queued),
        "{line}"
    );
    let host = &metrics["host"];
    assert!(
        host["cpu_count"].as_u64() >= Some(1) && host["hostname"].is_string(),
        "{metrics}"
    );
    assert!(metrics["instance"].is_string(), "{metrics}");
    let series = r#"mesh_jobs_attempts_total{queue="default",kind="call",outcome="succeeded"} 1"#;
    let text = runner.admin_metrics().await;
    assert!(text.contains(series), "{text}");
    let length = r#"mesh_jobs_queue_length{queue="default",status="succeeded"} 1"#;
    until("the queue is counted", PATIENCE, async || {
        runner.admin_metrics().await.contains(length).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_call_in_bytes_is_answered_in_bytes() {
    let stage = Stage::set("0s").await;
    let _runner = stage.runner(&[]).await;
    // TaskRequest { input: "hi" }: field 3, two bytes.
    let call = json!({
        "service": "agent-echo",
        "method": "agentplatform.AgentService/ExecuteTask",
        "bytes_base64": "GgJoaQ==",
    });
    let record = stage.ended(&stage.submit("call", &call).await).await;
    assert!(result(&record)["bytes_base64"].as_str().unwrap().len() > 10);
}

#[tokio::test]
async fn a_call_that_can_never_succeed_is_not_tried_again() {
    let stage = Stage::set("0s").await;
    let _runner = stage.runner(&[]).await;
    let method = "agentplatform.AgentService/ExecuteTask";
    let never = [
        (
            json!({ "service": "agent-echo", "method": method, "payload": { "x": 1 } }),
            "INVALID_ARGUMENT",
        ),
        (
            json!({ "service": "agent-echo", "method": "a.B/C", "payload": {} }),
            "UNIMPLEMENTED",
        ),
    ];
    for (call, code) in never {
        let record = stage.ended(&stage.submit("call", &call).await).await;
        let error = record.header.error.unwrap();
        assert_eq!(
            (record.status, record.header.attempt),
            (JobStatus::Dead, 1),
            "{error}"
        );
        assert!(error.starts_with(code), "{error}");
    }
    let unknown = NewJob::new("fly", Payload::Json("{}".into()));
    let id = stage.jobs.submit(unknown).await.unwrap().id;
    let record = stage.ended(&id).await;
    assert_eq!(record.status, JobStatus::Dead);
    assert!(record.header.error.unwrap().starts_with("kind"));
}

#[tokio::test]
async fn a_call_to_a_service_that_is_missing_is_tried_again() {
    let stage = Stage::set("0s").await;
    let _runner = stage.runner(&[]).await;
    let mut call = echo("later");
    call["service"] = "agent-nobody".into();
    let mut new = work::kind("call").unwrap().read(&call).unwrap();
    new.max_attempts = 2;
    let id = stage.jobs.submit(new).await.unwrap().id;
    let record = stage.ended(&id).await;
    let error = record.header.error.unwrap();
    assert!(error.starts_with("NOT_FOUND"), "{error}");
    assert_eq!((record.status, record.header.attempt), (JobStatus::Dead, 2));
}

#[tokio::test]
async fn an_http_job_asks_a_listed_host_and_none_while_switched_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut server = JoinSet::new();
    server.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await.unwrap();
            let answer: &[u8] = match request.starts_with(b"GET /gone") {
                true => b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone",
                false => b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-a: b\r\n\r\nhello",
            };
            stream.write_all(answer).await.unwrap();
        }
    });
    let stage = Stage::set("0s").await;
    let get = |path: &str| json!({ "url": format!("http://{address}{path}") });
    let off = stage.runner(&[]).await;
    let record = stage.ended(&stage.submit("http", &get("/")).await).await;
    assert_eq!(record.status, JobStatus::Dead);
    let error = record.header.error.unwrap();
    assert!(error.contains("ALLOW_EXTERNAL_REQUESTS=yes"), "{error}");
    drop(off);
    let on = [
        ("ALLOW_EXTERNAL_REQUESTS", "yes"),
        ("EXTERNAL_ALLOW_HOSTS", address.as_str()),
    ];
    let _on = stage.runner(&on).await;
    let record = stage.ended(&stage.submit("http", &get("/")).await).await;
    let result = result(&record);
    assert_eq!(
        (&result["status_code"], &result["body"]),
        (&json!(200), &json!("hello"))
    );
    assert_eq!(result["headers"]["x-a"], "b");
    for (path, text) in [
        ("/gone", "404 Not Found: gone"),
        ("http", "is not to be asked"),
    ] {
        let request = match path {
            "http" => json!({ "url": "http://127.0.0.2:1/" }),
            path => get(path),
        };
        let record = stage.ended(&stage.submit("http", &request).await).await;
        let error = record.header.error.unwrap();
        assert_eq!(record.status, JobStatus::Dead, "{error}");
        assert!(error.contains(text), "{error}");
    }
}

/// A server that answers each request with this, and when it was asked.
async fn server(answer: fn(&str) -> String) -> (String, Arc<Mutex<Vec<Instant>>>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (mut tasks, times) = (JoinSet::new(), asked.clone());
    tasks.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            times.lock().unwrap().push(Instant::now());
            let mut request = [0; 1024];
            let read = stream.read(&mut request).await.unwrap();
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            stream.write_all(answer(&request).as_bytes()).await.unwrap();
        }
    });
    (address, asked, tasks)
}

#[tokio::test]
async fn a_server_that_says_when_to_come_again_is_not_asked_sooner() {
    let (address, asked, _server) = server(|request| {
        let status = match request.starts_with("GET /busy") {
            true => "503 Service Unavailable",
            false => "429 Too Many Requests",
        };
        // By its own clock, which is of another age.
        let after = match request.contains("date") {
            true => "Sun, 06 Nov 1994 08:49:40 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT",
            false => "3",
        };
        format!("HTTP/1.1 {status}\r\nretry-after: {after}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let stage = Stage::set("0s").await;
    let env = [
        ("ALLOW_EXTERNAL_REQUESTS", "yes"),
        ("EXTERNAL_ALLOW_HOSTS", "127.0.0.1"),
    ];
    let runner = stage.runner(&env).await;
    for path in ["/", "/busy", "/date", "/busy-date"] {
        asked.lock().unwrap().clear();
        let url = json!({ "url": format!("http://{address}{path}") });
        let mut new = work::kind("http").unwrap().read(&url).unwrap();
        new.max_attempts = 2;
        let id = stage.jobs.submit(new).await.unwrap().id;
        let record = stage.ended(&id).await;
        assert_eq!((record.status, record.header.attempt), (JobStatus::Dead, 2));
        let asked = asked.lock().unwrap();
        let between = asked[1] - asked[0];
        assert!(between >= Duration::from_secs(3), "{path}: {between:?}");
        assert!(between < Duration::from_secs(20), "{path}: {between:?}");
    }
    drop(runner);
    // A server cannot hold a job for longer than the operator lets it.
    let bounded = [&env[..], &[("EXTERNAL_MAX_RETRY_AFTER", "100ms")]].concat();
    let _runner = stage.runner(&bounded).await;
    asked.lock().unwrap().clear();
    let url = json!({ "url": format!("http://{address}/") });
    let mut new = work::kind("http").unwrap().read(&url).unwrap();
    new.max_attempts = 2;
    let id = stage.jobs.submit(new).await.unwrap().id;
    stage.ended(&id).await;
    let asked = asked.lock().unwrap();
    assert!(asked[1] - asked[0] < Duration::from_secs(3));
}

#[tokio::test]
async fn a_password_that_a_server_redirects_to_is_not_kept() {
    let (address, _, _server) = server(|_| {
        let to = "http://me:hunter2@127.0.0.1/";
        format!("HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
    })
    .await;
    let stage = Stage::set("0s").await;
    let env = [
        ("ALLOW_EXTERNAL_REQUESTS", "yes"),
        ("EXTERNAL_ALLOW_HOSTS", "127.0.0.1"),
    ];
    let runner = stage.runner(&env).await;
    let url = json!({ "url": format!("http://{address}/") });
    let record = stage.ended(&stage.submit("http", &url).await).await;
    let error = record.header.error.unwrap();
    assert!(error.contains("credentials"), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
    assert!(!runner.process.log().contains("hunter2"));
}

#[tokio::test]
async fn a_name_that_was_pointed_at_a_runner_is_not_answered() {
    let stage = Stage::set("0s").await;
    let runner = stage.runner(&[("ALLOWED_HOSTS", "runner.example")]).await;
    for (host, status) in [
        ("evil.example", 421),
        ("runner.example:8086", 200),
        ("localhost", 200),
        ("127.0.0.1", 200),
    ] {
        for path in ["/health", "/metrics"] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            let seen = testkit::raw_http::status(runner.address, &request).await;
            assert_eq!(seen, status, "{host} {path}");
        }
    }
    let post = "POST /health HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n\r\n";
    assert_eq!(testkit::raw_http::status(runner.address, post).await, 403);
}

#[tokio::test]
async fn a_task_is_done_part_by_part_and_holds_no_place_meanwhile() {
    let stage = Stage::set("300ms").await;
    // With one place, a task that kept it would wait for itself for ever.
    let _runner = stage.runner(&[("WORKERS", "1")]).await;
    let task = work::Task::new("Plan it, then build it; test it", None);
    let new = task.clone().new_job();
    let id = stage.jobs.submit(new).await.unwrap().id;
    let record = stage.ended(&id).await;
    // However often it was looked at.
    assert_eq!(record.header.attempt, 1);
    let result = result(&record);
    assert_eq!(result["description"], task.description.as_str());
    let parts = result["subtasks"].as_array().unwrap();
    for (part, subtask) in parts.iter().zip(&task.subtasks) {
        assert_eq!(part["subtask_id"], subtask.subtask_id.as_str());
        assert_eq!(part["status"], "succeeded");
        let expected = format!("Echo Agent Response: {}", subtask.description);
        assert_eq!(part["output"], expected.as_str());
    }
    assert_eq!(parts.len(), 3);
    // One task and its three parts, each made once.
    let queues = stage.jobs.queues().await.unwrap();
    assert_eq!(queues[0].counts.succeeded, 4);
}

#[tokio::test]
async fn a_job_of_a_client_is_no_part_of_a_task_whatever_its_key_says() {
    let stage = Stage::set("10ms").await;
    let task = work::Task::new("Plan it, then test it", None);
    let new = task.clone().new_job();
    let id = stage.jobs.submit(new).await.unwrap().id;
    // Somebody guesses the keys of the parts before a runner makes them.
    let mut guessed = Vec::new();
    for subtask in &task.subtasks {
        let payload = Payload::json(&echo("not theirs"));
        let new = NewJob {
            idempotency_key: Some(format!("task/{id}/{}", subtask.subtask_id)),
            ..NewJob::new("call", payload)
        };
        guessed.push(stage.jobs.submit(new).await.unwrap().id);
    }
    let _runner = stage.runner(&[]).await;
    let record = stage.ended(&id).await;
    assert_eq!(
        record.status,
        JobStatus::Succeeded,
        "{:?}",
        record.header.error
    );
    let result = result(&record);
    for (part, subtask) in result["subtasks"]
        .as_array()
        .unwrap()
        .iter()
        .zip(&task.subtasks)
    {
        let expected = format!("Echo Agent Response: {}", subtask.description);
        assert_eq!(part["output"], expected.as_str());
    }
    for id in guessed {
        assert_eq!(stage.ended(&id).await.status, JobStatus::Succeeded);
    }
}

#[tokio::test]
async fn the_parts_of_a_task_that_is_called_off_are_called_off() {
    // Longer than the test waits: nothing ends by being done.
    let stage = Stage::set("90s").await;
    let _runner = stage.runner(&[("WORKERS", "1")]).await;
    let mut new = work::Task::new("Plan it; test it", None).new_job();
    new.timeout = PATIENCE * 3;
    let id = stage.jobs.submit(new).await.unwrap().id;
    let counted = async |wanted: fn(&jobs::JobCounts) -> bool| {
        until("the queue counts as wanted", PATIENCE, async || {
            let queues = stage.jobs.queues().await.ok()?;
            wanted(&queues.first()?.counts).then_some(())
        })
        .await;
    };
    // One part has the only place, the other waits for it, the task looks at them now and then.
    counted(|counts| counts.running == 1 && counts.queued == 1 && counts.scheduled == 1).await;
    stage.jobs.cancel(&id).await.unwrap();
    counted(|counts| counts.cancelled == 3).await;
}

#[tokio::test]
async fn a_task_one_of_whose_parts_is_kept_no_more_fails_and_says_why() {
    let stage = Stage::set("2s").await;
    // The first part is forgotten long before the last one is done.
    let set = [("WORKERS", "1"), ("JOBS_RESULT_TTL", "100ms")];
    let _runner = stage.runner(&set).await;
    let task = work::Task::new("Plan it, then build it; test it; ship it", None);
    let id = stage.jobs.submit(task.new_job()).await;
    let record = stage.ended(&id.unwrap().id).await;
    let error = record.header.error.unwrap();
    assert_eq!(record.status, JobStatus::Dead, "{error}");
    assert!(
        error.contains("kept no more") && error.contains("jobs_result_ttl"),
        "{error}"
    );
}

#[tokio::test]
async fn a_pipeline_whose_tools_are_away_is_tried_again() {
    let stage = Stage::set("0s").await;
    let _runner = stage.runner(&[]).await;
    let mut new = work::Pipeline::new("find out", None).new_job();
    new.max_attempts = 2;
    let id = stage.jobs.submit(new).await.unwrap().id;
    let record = stage.ended(&id).await;
    let error = record.header.error.unwrap();
    assert_eq!(
        (record.status, record.header.attempt),
        (JobStatus::Dead, 2),
        "{error}"
    );
    assert!(record.header.metrics.unwrap()["execution_time_ms"].is_number());
}

#[tokio::test]
async fn the_door_answers_as_its_predecessors_did() {
    let mut stage = Stage::set("0s").await;
    let runner = stage.runner(&[]).await;
    let (code, health) = runner.get("/health").await;
    assert!(health.ends_with("}\n"), "{health:?}");
    let health: Value = serde_json::from_str(&health).unwrap();
    let expected =
        json!({ "status": "ok", "service": "agent-runner", "workers": 4, "running": true });
    assert_eq!((code, health), (200, expected));
    let (code, metrics) = runner.get("/metrics").await;
    let metrics: Value = serde_json::from_str(&metrics).unwrap();
    assert_eq!(
        (code, metrics),
        (200, json!({ "workers": 4, "status": "running" }))
    );
    assert_eq!(runner.get("/other").await.0, 404);
    stage.redis.kill();
    let (code, health) = runner.get("/health").await;
    assert_eq!(code, 503, "{health}");
    stage.redis.restart().await;
    until("health comes back", PATIENCE, async || {
        (runner.get("/health").await.0 == 200).then_some(())
    })
    .await;
}
