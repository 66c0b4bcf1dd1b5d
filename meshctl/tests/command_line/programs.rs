//! meshctl under the names of the programs that it holds.

use std::{
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use programs::PROGRAMS;
use serde_json::Value;
use tempfile::TempDir;
use testkit::{Process, Signal, tools::root};

use crate::mesh::{LIMIT, run, run_command};

/// A link to meshctl, as images have it.
fn link(folder: &TempDir, name: &str) -> PathBuf {
    let link = folder.path().join(name);
    symlink(env!("CARGO_BIN_EXE_meshctl"), &link).expect("a link in our folder");
    link
}

fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().args(args);
    command
}

#[test]
fn meshctl_is_each_program_under_its_name() {
    let folder = TempDir::new().unwrap();
    for (spec, _) in &PROGRAMS {
        let link = link(&folder, spec.program);
        let version = run_command(command(&link, &["--version"]), "").ok().stdout;
        assert_eq!(version, format!("{} {}\n", spec.program, spec.version));
        let help = run_command(command(&link, &["--help"]), "").ok().stdout;
        let usage = format!("Usage: {} [OPTIONS]", spec.program);
        assert!(help.contains(&usage), "{help}");
        let same = run(&["run", spec.program, "--help"]).ok();
        assert_eq!(same.stdout, help);
    }
}

#[test]
fn a_program_that_meshctl_is_not_is_refused_with_the_names_of_those_that_it_is() {
    let answer = run(&["run", "echo", "--port", "0"]);
    assert_eq!(answer.code, Some(2), "{answer:?}");
    for text in ["'echo' is not a program", "echo-agent", "mesh-scheduler"] {
        assert!(answer.stderr.contains(text), "{answer:?}");
    }
}

#[tokio::test]
async fn a_link_serves_tells_its_health_and_drains() {
    let folder = TempDir::new().unwrap();
    let link = link(&folder, "echo-agent");
    let mut serving = command(&link, &["--port", "0", "--metrics-port", "0"]);
    serving.envs([
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("ADMIN_ADDRESS", "127.0.0.1"),
        ("DISCOVERY", "memory"),
        ("DRAIN_DELAY", "0s"),
        ("LOG_FORMAT", "json"),
    ]);
    let mut agent = Process::start("echo-agent", serving);
    let admin = agent
        .wait_for_line(LIMIT, |line| {
            let line: Value = serde_json::from_str(line).ok()?;
            Some(line["admin"].as_str()?.rsplit_once(':')?.1.to_owned())
        })
        .await;
    let probe = command(&link, &["--healthcheck", "--metrics-port", &admin]);
    run_command(probe, "").ok();
    agent.signal(Signal::Terminate);
    assert_eq!(agent.wait_exit(LIMIT).await.code(), Some(0));
}

#[test]
fn an_image_has_a_link_for_each_of_them_but_the_router() {
    let mut script = Command::new(root().join("scripts/programs.sh"));
    script.arg("linked");
    let linked = run_command(script, "").ok().stdout;
    let mut linked: Vec<&str> = linked.lines().chain(["mcp-router"]).collect();
    linked.sort_unstable();
    let mut ours = PROGRAMS.map(|(spec, _)| spec.program);
    ours.sort_unstable();
    assert_eq!(linked, ours);
}
