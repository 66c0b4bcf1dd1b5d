//! Servers of other people, mounted.

use std::{process::Command, time::Duration};

use mesh_testkit::{Process, Program, grpcurl, tools, until, within};
use serde_json::json;
use tempfile::TempDir;

use crate::support::{SOON, World, call, inspector, meshctl, path, run, tool_names};

/// From the end of a server's process to its next answer.
const BACK: Duration = Duration::from_secs(2);

/// Mounts a program as the guide says.
fn mount(world: &World, name: &str, program: &[&str]) -> Process {
    let mut mount = Command::new(meshctl());
    mount
        .args(["mount", "--name", name, "--"])
        .args(program)
        .env("PATH", path());
    world.place_tool(&mut mount);
    Process::start("meshctl-mount", mount)
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<String> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("as Linux tells it");
    let lists = threads.filter_map(|thread| {
        let list = thread.ok()?.path().join("children");
        std::fs::read_to_string(list).ok()
    });
    let pids = lists.flat_map(|list| {
        list.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    pids.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_own_servers_are_called_by_grpc_and_by_the_inspector_and_come_back() {
    let world = World::start(1, &[]).await;
    let router = Program::start("mcp-router", world.env()).await;
    let home = TempDir::new().expect("a folder");
    std::fs::write(home.path().join("note.txt"), "a note").expect("a file in ours");
    let folder = home.path().display().to_string();
    let everything = tools::mcp_program("mcp-server-everything")
        .display()
        .to_string();
    let filesystem = tools::mcp_program("mcp-server-filesystem")
        .display()
        .to_string();
    let everything_mount = mount(&world, "everything", &[&everything, "stdio"]);
    let _files = mount(&world, "files", &[&filesystem, &folder]);
    for name in ["tool-everything", "tool-files"] {
        world.consul.wait_passing(name, 1).await;
    }
    let url = format!("{}/tool-everything", world.mcp());
    until("its tools are listed", SOON, async || {
        tool_names(&url)
            .await?
            .contains(&"echo".to_owned())
            .then_some(())
    })
    .await;

    let request = json!({"tool_id": "everything-tool", "operation": "echo", "parameters": {"message": "by gRPC"}});
    let options = [
        "-H",
        "x-mesh-service: tool-everything",
        "-d",
        &request.to_string(),
    ];
    let called = grpcurl(
        &options,
        router.grpc,
        &["agentplatform.ToolService/ExecuteTool"],
    )
    .await;
    assert!(called.ok && called.out.contains("by gRPC"), "{called:?}");
    let args = [
        "--transport",
        "http",
        "--server-url",
        &url,
        "--format",
        "json",
        "-q",
    ];
    let echo = [
        "--method",
        "tools/call",
        "--tool-name",
        "echo",
        "--tool-arg",
        "message=by MCP",
    ];
    let called = inspector(&[&args[..], &echo].concat(), &home).await.json();
    let text = called[0]["result"]["content"][0]["text"].as_str();
    assert_eq!(text, Some("Echo: by MCP"));
    let files = format!("{}/tool-files", world.mcp());
    let note = home.path().join("note.txt").display().to_string();
    let read = call(&files, "read_text_file", json!({ "path": note })).await;
    assert_eq!(read["content"][0]["text"], "a note", "{read}");

    // What has been pinned of it, by the guide's command.
    let consul = world.consul.http().to_string();
    let pins = run(
        meshctl(),
        &["mcp", "pins", "everything", "--consul", &consul],
        &home,
    )
    .await
    .ok();
    assert!(
        pins.contains("echo") && pins.contains("as approved"),
        "{pins}"
    );
    let approved = run(
        meshctl(),
        &["mcp", "approve", "everything", "--consul", &consul],
        &home,
    )
    .await;
    assert!(
        approved.code == Some(1) && approved.err.contains("no changed tool"),
        "{approved:?}"
    );

    let servers = children(everything_mount.pid());
    assert!(!servers.is_empty(), "the mount has started no server");
    for pid in servers {
        let killed = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }
    let back = within(BACK, async || {
        let echoed = call(&url, "echo", json!({"message": "again"})).await;
        (echoed["content"][0]["text"] == "Echo: again").then_some(())
    });
    assert!(back.await.is_some(), "not back after {BACK:?}");
}
