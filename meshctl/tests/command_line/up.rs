//! `meshctl up`.

use std::{fs, net::TcpStream, process::Command};

use serde_json::Value;
use testkit::{Consul, Signal, http_client, tools::tool, until};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::mesh::{Answer, LIMIT, Mesh, run, run_command};

#[tokio::test]
async fn an_interrupt_drains_the_mesh_and_closes_its_ports() {
    let mut mesh = Mesh::up(&["--consul", "none", "--echo", "2", "--routers", "2"], &[]).await;
    let instances = mesh.told["instances"].as_array().unwrap();
    let of = |service: &str| {
        instances
            .iter()
            .filter(|it| it["service"] == service)
            .count()
    };
    assert_eq!(
        (of("mcp-router"), of("agent-echo"), of("tool-weather")),
        (2, 2, 1)
    );
    for instance in instances {
        TcpStream::connect(instance["grpc"].as_str().unwrap()).unwrap();
    }
    mesh.interrupt();
    assert_eq!(mesh.process.wait_exit(LIMIT).await.code(), Some(0));
    for instance in instances {
        assert!(
            TcpStream::connect(instance["grpc"].as_str().unwrap()).is_err(),
            "{instance}"
        );
        let drained = format!("drained {}\n", instance["id"].as_str().unwrap());
        assert!(
            mesh.process.log().contains(&drained),
            "{}",
            mesh.process.log()
        );
    }
}

#[tokio::test]
async fn a_call_in_flight_finishes_while_the_mesh_drains() {
    let mut mesh = Mesh::up(&["--consul", "none"], &[("ECHO_DELAY", "1s")]).await;
    let call = begin_call(&mesh).await;
    mesh.interrupt();
    let answer = call.await.unwrap();
    assert_eq!(answer.ok().value()["message"]["success"], true);
    assert_eq!(mesh.process.wait_exit(LIMIT).await.code(), Some(0));
}

#[tokio::test]
async fn signals_that_ask_for_nothing_are_ignored_and_a_hangup_drains() {
    let mut mesh = Mesh::small().await;
    for signal in ["-USR1", "-USR2", "-ALRM", "-IO"] {
        mesh.signal(signal);
    }
    assert!(mesh.run(&["list"]).ok().stdout.contains("agent-echo"));
    mesh.signal("-HUP");
    assert_eq!(mesh.process.wait_exit(LIMIT).await.code(), Some(0));
    assert!(mesh.process.log().contains("SIGHUP: draining"));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut mesh = Mesh::up(&["--consul", "none"], &[("ECHO_DELAY", "1m")]).await;
    let call = begin_call(&mesh).await;
    mesh.interrupt();
    // Signals that come together count as one.
    until("it drains", LIMIT, async || {
        let log = mesh.process.log();
        log.contains("a second signal ends at once").then_some(())
    })
    .await;
    mesh.interrupt();
    let answer = call.await.unwrap();
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert_eq!(mesh.process.wait_exit(LIMIT).await.code(), Some(130));
}

/// A call that an echo agent has begun to answer.
async fn begin_call(mesh: &Mesh) -> JoinHandle<Answer> {
    let command = mesh.command(&["call", "echo-agent", "ExecuteTask", "--json"]);
    let call = spawn_blocking(|| run_command(command, ""));
    until("the task runs", LIMIT, async || {
        let status = mesh.run(&["status", "echo-agent", "--json"]).ok().value();
        (status["active_tasks"] != 0).then_some(())
    })
    .await;
    call
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let mesh = Mesh::small().await;
    let port = mesh.router.rsplit(':').next().unwrap();
    let answer = run(&["up", "--no-jobs", "--consul", "none", "--port", port]);
    assert_eq!(answer.code, Some(1));
    let text = format!("port {port} is taken: choose another with `--port N`");
    assert!(answer.stderr.contains(&text), "{answer:?}");
}

#[tokio::test]
async fn a_goal_becomes_files_and_its_job_outlives_the_mesh() {
    let folder = tempfile::tempdir().unwrap();
    let docs = folder.path().join("docs");
    fs::create_dir(&docs).unwrap();
    fs::write(
        docs.join("lamp.md"),
        "# Lamp\n\nThe lamp burns whale oil until dawn.\n",
    )
    .unwrap();
    let environment = [("DOCS_DIR", docs.to_str().unwrap())];
    let mut mesh = Mesh::with_jobs(folder.path(), &environment).await;
    let gateway = mesh.told["gateway"].as_str().unwrap().to_owned();
    let run = post(&gateway, "/enqueue", r#"{"goal":"what the lamp burns"}"#);
    let (id, run_id) = (
        run["job_id"].as_str().unwrap(),
        run["run_id"].as_str().unwrap(),
    );
    let job = until("the run ends", LIMIT, async || {
        let job = told(&gateway, id).await?;
        (job["status"] != "queued" && job["status"] != "started").then_some(job)
    })
    .await;
    assert_eq!(job["status"], "finished", "{job}");
    let notes =
        fs::read_to_string(folder.path().join("out").join(run_id).join("notes.md")).unwrap();
    assert!(
        notes.contains("The lamp burns whale oil until dawn."),
        "{notes}"
    );
    mesh.interrupt();
    assert_eq!(mesh.process.wait_exit(LIMIT).await.code(), Some(0));

    let mesh = Mesh::with_jobs(folder.path(), &environment).await;
    let gateway = mesh.told["gateway"].as_str().unwrap();
    assert_eq!(told(gateway, id).await.unwrap(), job);
}

#[tokio::test]
async fn a_goal_without_a_folder_of_documents_ends_with_notes_that_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let docs = folder.path().join("nowhere");
    let environment = [("DOCS_DIR", docs.to_str().unwrap())];
    let mesh = Mesh::with_jobs(folder.path(), &environment).await;
    let gateway = mesh.told["gateway"].as_str().unwrap().to_owned();
    let run = post(&gateway, "/enqueue", r#"{"goal":"what the lamp burns"}"#);
    let job = until("the run ends", LIMIT, async || {
        let job = told(&gateway, run["job_id"].as_str().unwrap()).await?;
        (job["status"] != "queued" && job["status"] != "started").then_some(job)
    })
    .await;
    assert_eq!(job["status"], "finished", "{job}");
    let out = folder
        .path()
        .join("out")
        .join(run["run_id"].as_str().unwrap());
    let notes = fs::read_to_string(out.join("notes.md")).unwrap();
    assert!(notes.contains("documents were not searched"), "{notes}");
    assert!(notes.contains("DOCS_DIR"), "{notes}");
}

async fn told(gateway: &str, id: &str) -> Option<Value> {
    http_client::json(&format!("http://{gateway}/jobs/{id}")).await
}

/// As a user posts it.
fn post(gateway: &str, path: &str, body: &str) -> Value {
    let mut curl = Command::new(tool("curl"));
    curl.args([
        "-s",
        "--noproxy",
        "*",
        &format!("{gateway}{path}"),
        "-d",
        body,
    ]);
    let answer = curl
        .args(["-H", "content-type: application/json"])
        .output()
        .expect("curl runs");
    serde_json::from_slice(&answer.stdout).unwrap_or_else(|_| panic!("{answer:?}"))
}

#[tokio::test]
async fn a_consul_that_is_there_is_joined_and_left() {
    let consul = Consul::start().await;
    let address = consul.http().to_string();
    let environment = [
        ("CONSUL_HTTP_ADDR", address.as_str()),
        ("SERVICE_HOST", "127.0.0.1"),
    ];
    let mut mesh = Mesh::up(&["--echo", "2"], &environment).await;
    assert_eq!(mesh.told["registry"], "consul");
    consul.wait_passing("agent-echo", 2).await;
    consul.wait_passing("mcp-router", 1).await;
    let listed = mesh.run(&["list", "agents", "--json"]).ok().value();
    assert_eq!(listed["agents"][0]["agent_id"], "echo-agent");
    mesh.process.signal(Signal::Terminate);
    assert_eq!(mesh.process.wait_exit(LIMIT).await.code(), Some(0));
    for service in [
        "agent-echo",
        "tool-weather",
        "worker-itinerary",
        "mcp-router",
    ] {
        consul.wait_passing(service, 0).await;
    }
}

#[test]
fn a_consul_that_does_not_answer_is_an_error_where_it_was_named() {
    // One that the system gives to nobody else meanwhile.
    let [port] = testkit::ports::free();
    let address = format!("127.0.0.1:{port}");
    let answer = run(&["up", "--port", "0", "--consul", &address]);
    assert_eq!(answer.code, Some(1));
    assert!(answer.stderr.contains("--consul none"), "{answer:?}");
}
