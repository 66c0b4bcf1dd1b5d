//! What the guide tells people to do works.

use std::fs;

use mesh_testkit::tools;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{World, command, finish, meshctl};

/// Where the guide's examples have the program.
const PROGRAM: &str = "/usr/local/bin/meshctl";
/// Its endpoint in them.
const ENDPOINT: &str = "http://127.0.0.1:8080/mcp";

/// The fenced blocks of the guide: their language, and their text.
fn blocks() -> Vec<(String, String)> {
    let guide = fs::read_to_string(tools::root().join("docs/guide/mcp.md")).expect("the guide");
    let blocks = guide.split("```").skip(1).step_by(2);
    let blocks = blocks.filter_map(|block| block.split_once('\n'));
    blocks
        .map(|(language, text)| (language.to_owned(), text.to_owned()))
        .collect()
}

fn commands() -> Vec<String> {
    let blocks = blocks().into_iter();
    let blocks = blocks.filter(|(language, _)| language.is_empty());
    let lines = blocks.flat_map(|(_, text)| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.filter(|line| line.starts_with("meshctl ")).collect()
}

async fn shell(line: &str, world: Option<&World>, home: &TempDir) -> String {
    let mut shell = command("bash", &["-euo", "pipefail", "-c", line], home);
    if let Some(world) = world {
        shell.env("MESH_GATEWAY", world.gateways[0].grpc.to_string());
    }
    shell.stdin(std::process::Stdio::null());
    finish(shell).await.ok()
}

#[tokio::test]
async fn the_editors_configurations_are_what_the_program_prints() {
    let home = TempDir::new().expect("a folder");
    let mut printed = Vec::new();
    for line in commands() {
        if line.starts_with("meshctl mcp config ") {
            let text = shell(&line, None, &home).await;
            let text = text.replace(&meshctl().display().to_string(), PROGRAM);
            printed.push(serde_json::from_str::<Value>(&text).expect("JSON"));
        }
    }
    let shown = blocks()
        .into_iter()
        .filter(|(language, _)| language == "json");
    let shown: Vec<Value> = shown
        .map(|(_, text)| serde_json::from_str(&text).expect("JSON"))
        .collect();
    assert!(shown.len() >= 9 && shown[0]["mcpServers"]["mesh"]["url"] == ENDPOINT);
    assert_eq!(printed, shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_the_guide_do_what_it_says() {
    let world = World::start(1, &[]).await;
    let home = TempDir::new().expect("a folder");
    let mut run = 0;
    for line in commands() {
        // Mounts run on, and have tests of their own; what they pin is looked at there.
        let mounts = ["config", "pins", "approve"].map(|it| format!("meshctl mcp {it} "));
        let is_other = line.starts_with("meshctl mount ");
        if !is_other && !mounts.iter().any(|it| line.starts_with(it)) {
            let out = shell(&line, Some(&world), &home).await;
            assert!(!out.trim().is_empty(), "{line} prints nothing");
            run += 1;
        }
    }
    assert!(run >= 5, "only {run} commands were found");
}
