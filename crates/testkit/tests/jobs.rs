//! Jobs from curl to files, as their users run them: real Consul, Redis, programs and curl.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{process::Command, time::Duration};

use mesh_testkit::{JobMesh, Signal, tools, until};
use serde_json::{Value, json};

/// Longer than anything takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);
/// Words that stand nowhere else, so that whoever has them has read them here.
const TIDES: &str = "Research for the lighthouse at Skagen starts with the tide tables of 1867.";
const KEEPER: &str = "A code review must name the keeper of the lamp before it passes.";
const DOCUMENTS: [(&str, &str); 2] = [
    (
        "tides.md",
        "# Harbour\n\n## Tides\n\nResearch for the lighthouse at Skagen starts with \
        the tide tables of 1867.\n\n```toml\nlamp_oil = \"whale\"\n```\n",
    ),
    (
        "lamp.md",
        "# Lamp\n\n## Watches\n\nA code review must name the keeper of the lamp before it \
        passes.\n\nCooks are paid in herring.\n",
    ),
];

#[tokio::test]
async fn every_curl_line_leads_to_its_result() {
    // Somebody inside who may be asked, and answers.
    let outside = mesh_testkit::Consul::start().await;
    let env = [
        ("ALLOW_EXTERNAL_REQUESTS", "yes".to_owned()),
        ("EXTERNAL_ALLOW_HOSTS", outside.http().to_string()),
    ];
    let mut mesh = JobMesh::with_pipeline(&DOCUMENTS, &env).await;

    let health = curl(&mesh, "curl -s http://localhost:8080/health");
    assert_eq!(
        (&health["ok"], &health["status"]),
        (&json!(true), &json!("ok"))
    );

    let run = curl(
        &mesh,
        r#"curl -s -X POST http://localhost:8080/enqueue \
  -H "Content-Type: application/json" \
  -d '{"goal":"Research -> code -> review"}'"#,
    );
    assert_eq!(run["ok"], true, "{run}");
    let run_id = text(&run["run_id"]);

    let task = curl(
        &mesh,
        r#"curl -X POST http://localhost:8001/tasks \
  -H "Content-Type: application/json" \
  -d '{"description":"Build a user authentication system","priority":1}'"#,
    );
    assert_eq!(task["description"], "Build a user authentication system");
    assert_eq!(task["subtasks"].as_array().unwrap().len(), 1, "{task}");

    let line = r#"curl -XPOST http://localhost:8080/jobs -H "Content-Type: application/json" -d '{"url":"URL"}'"#;
    let url = format!("http://{}/v1/catalog/node/test", outside.http());
    let job = curl(&mesh, &line.replace("URL", &url));
    let forbidden = format!("http://{}/v1/catalog/nodes", mesh.consul.http());
    let forbidden = curl(&mesh, &line.replace("URL", &forbidden));

    let ended = finished(&mesh, text(&run["job_id"])).await;
    assert_eq!(ended["result"]["metrics"]["mode"], "extractive", "{ended}");
    let files: Vec<_> = ended["result"]["artifacts"]
        .as_array()
        .unwrap()
        .iter()
        .map(text)
        .collect();
    for name in [
        "notes.md",
        "mcp.md",
        "review.md",
        "blackboard.jsonl",
        "blackboard.json",
    ] {
        assert!(
            files.contains(&format!("{run_id}/{name}").as_str()),
            "{name}: {files:?}"
        );
        assert!(mesh.file(run_id, name).is_file(), "{name}");
    }
    let notes = mesh.read(run_id, "notes.md");
    for said in [TIDES, KEEPER, "tides.md:5", "lamp.md:5"] {
        assert!(notes.contains(said), "{said} is not in {notes}");
    }
    assert!(!notes.contains("herring"), "{notes}");
    assert!(
        mesh.read(run_id, "mcp.md").contains(KEEPER),
        "{}",
        mesh.read(run_id, "mcp.md")
    );
    let review = mesh.read(run_id, "review.md");
    assert!(review.contains("**passes"), "{review}");

    let done = status(&mesh, "tasks", text(&task["task_id"]), "completed").await;
    assert_eq!(done["subtasks"], task["subtasks"], "{done}");
    assert_eq!(
        done["result"]["subtasks"][0]["status"], "succeeded",
        "{done}"
    );
    let agent = text(&done["result"]["subtasks"][0]["agent"]);
    assert!(
        mesh.services.iter().any(|service| service.id == agent),
        "{agent}"
    );

    let answer = finished(&mesh, text(&job["job_id"])).await;
    assert_eq!(
        (&answer["enqueued_at"], &answer["error"]),
        (&job["enqueued_at"], &Value::Null)
    );
    assert_eq!(answer["result"]["status_code"], 200);
    let body: Value = serde_json::from_str(text(&answer["result"]["body"])).unwrap();
    assert_eq!(body["Node"]["Node"], "test", "{body}");
    let refused = status(&mesh, "jobs", text(&forbidden["job_id"]), "failed").await;
    assert!(
        text(&refused["error"]).contains("external_allow_hosts"),
        "{refused}"
    );

    let metrics = output(&mesh, "curl -s http://localhost:8001/");
    assert!(
        metrics.contains("http_server_request_duration_seconds_count"),
        "{metrics}"
    );
    let runner = curl(&mesh, "curl -s http://localhost:8086/health");
    assert_eq!(
        runner,
        json!({"status": "ok", "service": "agent-runner", "workers": 4, "running": true})
    );
    let runner = curl(&mesh, "curl -s http://localhost:8086/metrics");
    assert_eq!(runner, json!({"workers": 4, "status": "running"}));
    for program in [&mut mesh.gateway, &mut mesh.runner]
        .into_iter()
        .chain(&mut mesh.services)
    {
        program.assert_healthy();
    }
}

#[tokio::test]
async fn a_run_whose_runner_is_killed_is_finished_by_another_without_repeating_its_steps() {
    let mut mesh = JobMesh::with_pipeline(&DOCUMENTS, &[]).await;
    let line = r#"curl -s localhost:8080/enqueue -H 'content-type: application/json' -d '{"goal":"GOAL"}'"#;
    // A first run, so that every connection is there when an agent falls silent.
    let before = curl(&mesh, &line.replace("GOAL", "research of tides"));
    finished(&mesh, text(&before["job_id"])).await;

    mesh.service("code-agent").signal(Signal::Stop);
    let run = curl(&mesh, &line.replace("GOAL", "research of the lighthouse"));
    let run_id = text(&run["run_id"]);
    until("the run is in its second step", PATIENCE, async || {
        count(&mesh, run_id, "step_started", "code").checked_sub(1)
    })
    .await;
    mesh.runner.process.kill();
    let notes = std::fs::metadata(mesh.file(run_id, "notes.md"))
        .unwrap()
        .modified()
        .unwrap();
    let mut second = mesh.another_runner().await;
    mesh.service("code-agent").signal(Signal::Continue);

    let ended = finished(&mesh, text(&run["job_id"])).await;
    let steps = ended["result"]["steps"].as_array().unwrap();
    let resumed: Vec<_> = steps
        .iter()
        .map(|step| step["resumed"].as_bool().unwrap())
        .collect();
    assert_eq!(resumed, [true, false, false], "{ended}");
    assert_eq!(count(&mesh, run_id, "step_started", "research"), 1);
    for step in ["research", "code", "review"] {
        assert_eq!(count(&mesh, run_id, "step_finished", step), 1, "{step}");
    }
    let after = std::fs::metadata(mesh.file(run_id, "notes.md"))
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(notes, after, "the notes were written once");
    assert!(mesh.read(run_id, "mcp.md").contains("lighthouse"));
    second.assert_healthy();
}

/// Entries of a run's blackboard.
fn count(mesh: &JobMesh, run_id: &str, event: &str, step: &str) -> usize {
    let board = mesh.read(run_id, "blackboard.jsonl");
    let entries = board
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    entries
        .filter(|entry| entry["event"] == event && entry["step"] == step)
        .count()
}

/// Waits for a job's good end.
async fn finished(mesh: &JobMesh, id: &str) -> Value {
    status(mesh, "jobs", id, "finished").await
}

/// Asks until a job or task has this status, and fails when it ends with another.
async fn status(mesh: &JobMesh, path: &str, id: &str, wanted: &str) -> Value {
    let line = format!("curl -s http://localhost:8080/{path}/{id}");
    until(&format!("{path}/{id} is {wanted}"), PATIENCE, async || {
        let job = curl(mesh, &line);
        let is = text(&job["status"]);
        assert!(
            is == wanted || !["finished", "completed", "failed"].contains(&is),
            "{job}"
        );
        (is == wanted).then_some(job)
    })
    .await
}

/// What a line prints, which is JSON.
fn curl(mesh: &JobMesh, line: &str) -> Value {
    let said = output(mesh, line);
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{line} prints {said:?}"))
}

/// What a line prints whose ports are the usual ones.
fn output(mesh: &JobMesh, line: &str) -> String {
    let port =
        |usual: &str, ours: u16| (format!("localhost:{usual}/"), format!("localhost:{ours}/"));
    let ports = [
        port("8080", mesh.gateway.grpc.port()),
        port("8001", mesh.tasks_address().port()),
        port("8086", mesh.runner.grpc.port()),
    ];
    let line = ports.iter().fold(line.to_owned(), |line, (usual, ours)| {
        line.replace(usual, ours)
    });
    let line = line.replacen("curl", &tools::tool("curl").display().to_string(), 1);
    let ran = Command::new("bash")
        .args(["-c", &line])
        .env("NO_PROXY", "*")
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&ran.stderr)
    );
    String::from_utf8(ran.stdout).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}
