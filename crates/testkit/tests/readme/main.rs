//! What the documents tell a newcomer to do works.

mod documents;

use std::{
    collections::BTreeSet,
    env,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use mesh_testkit::{Consul, Process, Program, grpcurl, tools, until};
use serde_json::Value;

use crate::documents::Document;

const START: Duration = Duration::from_secs(30);

/// A mesh that the README's own command started, without a Consul: where it takes calls and jobs.
async fn mesh(out: &Path) -> (Process, [(&'static str, String); 2]) {
    let readme = Document::read("README.md");
    let up = "cargo run -p meshctl -- ";
    let mut commands = readme.commands().into_iter();
    let arguments = commands.find_map(|command| Some(command.strip_prefix(up)?.to_owned()));
    let arguments = arguments.expect("the README says how to start a mesh that stays");
    let mut command = Command::new(tools::program("meshctl"));
    command
        .args(arguments.split_whitespace())
        .args([
            "--json",
            "--port",
            "0",
            "--http-port",
            "0",
            "--consul",
            "none",
        ])
        .env("DOCS_DIR", tools::root().join("docs"))
        .env("OUT_DIR", out);
    let mut process = Process::start("meshctl", command);
    let told: Value = process
        .wait_for_line(START, |line| serde_json::from_str(line).ok())
        .await;
    let instances = told["instances"].as_array().into_iter().flatten();
    let echoes = instances.filter(|instance| instance["service"] == "agent-echo");
    assert_eq!(echoes.count(), 3, "{told}");
    let at = |key: &str| told[key].as_str().expect("an address").to_owned();
    let ports = [
        ("localhost:50051", at("router")),
        ("localhost:8080", at("gateway")),
    ];
    (process, ports)
}

/// Runs a command as a user's shell does, with the tools of this workspace.
async fn run(command: String, router: &str) -> String {
    let meshctl = tools::program("meshctl");
    let own = [
        tools::root().join(".tools/bin"),
        meshctl.parent().expect("a file is in a folder").to_owned(),
    ];
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(own.into_iter().chain(env::split_paths(&path)));
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", &command])
        .current_dir(tools::root())
        .env("PATH", path.expect("no folder has a colon"))
        .env("MCP_ROUTER_ADDR", router)
        .stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || shell.output()).await;
    let output = ended.expect("nothing panics").expect("bash runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}\n{out}{err}");
    out
}

#[tokio::test]
async fn the_calls_of_the_documents_are_answered_by_the_mesh_of_the_readme() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_mesh, ports) = mesh(folder.path()).await;
    let [(_, router), (_, gateway)] = &ports;
    let (mut calls, mut posts, mut workflows) = (0, 0, 0);
    // Another test runs the commands of that one, with what they need.
    let documents = Document::all().into_iter();
    for document in documents.filter(|it| it.path != "docs/guide/mcp.md") {
        for command in document.commands() {
            let ours = ports
                .iter()
                .fold(command.clone(), |it, (usual, ours)| it.replace(usual, ours));
            if command.starts_with("meshctl workflows ") {
                let ours = format!("MESH_GATEWAY={gateway} {ours}");
                let out = run(ours, router).await;
                let ended = !command.contains(" --watch") || out.contains("COMPLETED");
                assert!(!out.is_empty() && ended, "{command}: {out}");
                workflows += 1;
            } else if command.starts_with("curl ") && command.contains("/api/v1/workflows") {
                let out = run(ours.replacen("curl ", "curl -fsS ", 1), router).await;
                let kept = out.contains("artifact_id");
                assert!(kept, "{command}: {out}");
                workflows += 1;
            } else if command.starts_with("grpcurl ") || command.starts_with("meshctl ") {
                let out = run(ours, router).await;
                let is_task = command.contains("Execute") || command.contains("Process");
                let done = out.contains(r#""success": true"#);
                assert!(!out.is_empty() && is_task == done, "{command}: {out}");
                calls += 1;
            } else if command.starts_with("curl ") && command.contains("localhost:8080") {
                // Else curl counts any answer as a good one.
                let out = run(ours.replacen("curl ", "curl -fsS ", 1), router).await;
                assert!(out.contains("job_id"), "{command}: {out}");
                posts += 1;
            }
        }
    }
    assert!(
        calls >= 8 && posts >= 2 && workflows >= 4,
        "only {calls}, {posts} and {workflows} commands were found"
    );
}

#[tokio::test]
async fn the_registration_by_curl_makes_a_service_callable() {
    let consul = Consul::start().await;
    let router = Program::start("mcp-router", &consul.env()).await;
    let echo = Program::start("echo-agent", &consul.env()).await;
    let commands = Document::read("docs/guide/services.md").commands();
    let curl = commands.iter().find(|command| command.starts_with("curl "));
    let curl = curl.expect("the page says how to register a service");
    let curl = curl
        .replace("localhost:8500", &consul.http().to_string())
        .replace("10.0.0.7", "127.0.0.1")
        .replace("9000", &echo.grpc.port().to_string());
    run(curl, "").await;
    let task = r#"{"agent_id":"echo-agent","input":"hello"}"#;
    let options = ["-v", "-H", "x-mesh-service: pricing", "-d", task];
    let method = ["agentplatform.AgentService/ExecuteTask"];
    until("pricing is called", Duration::from_secs(1), async || {
        let called = grpcurl(&options, router.grpc, &method).await;
        (called.ok && called.out.contains("x-mesh-instance: pricing-1")).then_some(())
    })
    .await;
}

#[test]
fn every_make_target_and_script_that_is_named_exists() {
    let makefile = Document::read("Makefile").text;
    let rules = makefile
        .lines()
        .filter(|line| !line.starts_with([' ', '\t', '#', '.']));
    let rules = rules.filter_map(|line| line.split_once(':'));
    let targets: BTreeSet<&str> = rules.flat_map(|(names, _)| names.split(' ')).collect();
    let exists = |target: &str| {
        let pattern = target.split_once('-').map(|(stem, _)| format!("{stem}-%"));
        targets.contains(target) || pattern.is_some_and(|it| targets.contains(it.as_str()))
    };
    let mut named = 0;
    for document in Document::with_runbooks() {
        for code in document.code() {
            for target in documents::after(code, "make ") {
                assert!(exists(target), "{}: make {target}", document.path);
                named += 1;
            }
            if let Some(script) = code.strip_prefix("scripts/") {
                let script = script.split(' ').next().unwrap_or_default();
                let file = tools::root().join("scripts").join(script);
                assert!(file.exists(), "{}: scripts/{script}", document.path);
            }
        }
    }
    assert!(named >= 20, "only {named} targets were found");
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    for document in Document::with_runbooks() {
        let folder = Path::new(&document.path).parent().expect("it is a file");
        for link in documents::after(&document.text, "](") {
            let outside = link.is_empty() || link.starts_with("http");
            let file = tools::root().join(folder).join(link);
            assert!(outside || file.exists(), "{}: {link}", document.path);
        }
    }
}

#[test]
fn no_document_has_both_sides_of_a_merge() {
    for document in Document::every() {
        let mark = |line: &&str| {
            ["<<<<<<< ", "||||||| ", ">>>>>>> "]
                .iter()
                .any(|it| line.starts_with(it))
        };
        let found = document.text.lines().find(mark);
        assert_eq!(found, None, "{}", document.path);
    }
}

#[test]
fn every_source_file_that_is_named_by_its_path_exists() {
    let mut named = 0;
    for document in Document::with_runbooks() {
        let paths = document.code().filter(|code| code.contains('/'));
        for path in paths.filter(|path| path.ends_with(".rs") && !path.contains(['*', ' '])) {
            let places = ["", "crates"].map(|folder| tools::root().join(folder).join(path));
            let exists = places.iter().any(|file| file.exists());
            assert!(exists, "{}: {path}", document.path);
            named += 1;
        }
    }
    assert!(named >= 10, "only {named} files were found");
}
