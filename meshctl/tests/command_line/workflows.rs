//! `meshctl workflows`, against the real gateway and a workflow runner.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use serde_json::{Value, json};
use service::ServerHandle;
use tempfile::TempDir;
use testkit::local;

use crate::mesh::{Answer, meshctl, run_command};

/// A gateway, and who carries runs out.
struct Carried {
    running: Vec<ServerHandle>,
    folder: TempDir,
}

impl Carried {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (jobs, workflows) = (path("jobs"), path("workflows"));
        let set = [
            ("jobs_path", jobs.as_str()),
            ("workflows_path", workflows.as_str()),
        ];
        let registry = Arc::new(Memory::new());
        let mut running = Vec::new();
        for name in ["mesh-gateway", "workflow-runner"] {
            let (spec, build) = programs::named(name.as_ref()).unwrap();
            running.push(local::start(&spec, build, &registry, &set).await);
        }
        Self { running, folder }
    }

    /// Runs `meshctl workflows …` against it.
    fn run(&self, args: &[&str]) -> Answer {
        let mut command = meshctl(&[&["workflows", "--user", "ada"], args].concat());
        command.env("MESH_GATEWAY", self.running[0].grpc_addr.to_string());
        run_command(command, "")
    }

    fn file(&self, name: &str, content: &Value) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content.to_string()).unwrap();
        format!("@{}", path.display())
    }

    async fn until(&self, run: &str, status: &str) {
        for _ in 0..500 {
            let shown = self.run(&["--json", "show", run]).ok().value();
            if shown["run"]["status"] == status {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{run} did not become {status}");
    }

    async fn drain(self) {
        for it in self.running {
            it.drain().await;
        }
    }
}

fn asking() -> Value {
    json!({
        "nodes": [{"id": "a", "type": "noop"}, {"id": "ask", "type": "hitl", "config": {"message": "ok?"}},
            {"id": "b", "type": "noop"}],
        "edges": [{"from": "a", "to": "ask"}, {"from": "ask", "to": "b"}],
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_is_stored_run_approved_and_shown() {
    let mesh = Carried::start().await;
    let file = mesh.file("asking.json", &asking());
    let stored = mesh.run(&["put", "asking", &file]).ok();
    assert_eq!(stored.stdout.trim(), "asking  version 1, 3 nodes, 2 edges");
    assert!(mesh.run(&["list"]).ok().stdout.contains("asking"));
    let run = mesh
        .run(&["run", "asking", "--inputs", "{}", "--label", "team=sales"])
        .ok();
    let run = run.stdout.trim().to_owned();
    mesh.until(&run, "WAITING_FOR_APPROVAL").await;
    let waiting = mesh.run(&["list", "--approvals"]).ok();
    assert!(
        waiting.stdout.contains(&run) && waiting.stdout.contains("ok?"),
        "{waiting:?}"
    );

    let patch = json!([{"op": "add", "path": "/nodes/-", "value": {"id": "c", "type": "noop"}},
        {"op": "add", "path": "/edges/-", "value": {"from": "b", "to": "c"}}]);
    let patched = mesh
        .run(&["patch", &run, &patch.to_string(), "--description", "more"])
        .ok();
    assert_eq!(patched.stdout.trim(), "patch 1  applied");
    let approved = mesh.run(&["approve", &run, "--comment", "fine"]).ok();
    assert_eq!(approved.stdout.trim(), "ask  approved");
    let watched = mesh.run(&["watch", &run]).ok();
    for text in [
        "workflow_started",
        "approval_decided",
        "workflow_completed",
        "COMPLETED",
    ] {
        assert!(watched.stdout.contains(text), "{text}: {}", watched.stdout);
    }
    let shown = mesh.run(&["show", &run]).ok().stdout;
    assert!(
        shown.contains("COMPLETED") && !shown.contains("skipped"),
        "{shown}"
    );
    let listed = mesh
        .run(&["--json", "list", "--runs", "--workflow", "asking"])
        .ok()
        .json();
    assert_eq!((listed.len(), &listed[0]["run_id"]), (1, &json!(run)));
    assert_eq!(listed[0]["labels"]["team"], "sales");
    mesh.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_are_cancelled_retried_and_forked_and_mistakes_are_told() {
    let mesh = Carried::start().await;
    let run = mesh
        .run(&["run", &asking().to_string()])
        .ok()
        .stdout
        .trim()
        .to_owned();
    mesh.until(&run, "WAITING_FOR_APPROVAL").await;
    mesh.run(&["cancel", &run, "--reason", "no"]).ok();
    mesh.until(&run, "CANCELLED").await;
    let watched = mesh.run(&["watch", &run]);
    assert_eq!(watched.code, Some(4), "{watched:?}");
    mesh.run(&["retry", &run]).ok();
    mesh.until(&run, "WAITING_FOR_APPROVAL").await;
    mesh.run(&["approve", &run, "ask"]).ok();
    mesh.until(&run, "COMPLETED").await;
    let forked = mesh.run(&["fork", &run, "b", "--watch", "--json"]).ok();
    let last = forked.json().pop().unwrap();
    assert_eq!(last["run"]["status"], "COMPLETED");

    let key = ["run", &asking().to_string(), "--key", "k"];
    let (one, other) = (mesh.run(&key).ok().stdout, mesh.run(&key).ok().stdout);
    assert_eq!(one, other, "a key is one run");
    for (args, text) in [
        (vec!["retry", &run], "409"),
        (vec!["show", "nothing"], "workflow not found"),
        (vec!["approve", &run], "nothing of the run"),
        (vec!["put", "x", "{}"], "workflow is required"),
        (vec!["put", "x", "not json"], "the workflow is not JSON"),
        (
            vec!["watch", "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61"],
            "run not found",
        ),
    ] {
        let answer = mesh.run(&args);
        assert_ne!(answer.code, Some(0), "{args:?}");
        assert!(answer.stderr.contains(text), "{args:?}: {}", answer.stderr);
    }
    let bad = json!({"nodes": [{"id": "a", "type": "odd"}], "edges": [{"from": "a", "to": "z"}]});
    let checked = mesh.run(&["put", "x", &bad.to_string(), "--check"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.contains("/nodes/0/type"), "{checked:?}");
    mesh.drain().await;
}
