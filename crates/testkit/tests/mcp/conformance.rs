//! The protocol's conformance suite.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use mesh_testkit::{Process, tools};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{MODERN, World, before, command, finish, run};

/// Legacy and modern, each with how many scenarios its run has, those that are not scored too.
const REVISIONS: [(&str, usize); 2] = [("2025-11-25", 33), ("2026-07-28", 50)];

/// The server of the SDK that has what the suite asks for.
pub(crate) async fn fixture(era: &str) -> (Process, String) {
    fixture_with(&["--era", era]).await
}

/// The same with these options.
pub(crate) async fn fixture_with(options: &[&str]) -> (Process, String) {
    fixture_at(options, "127.0.0.1:0").await
}

/// The same at this address.
pub(crate) async fn fixture_at(options: &[&str], listen: &str) -> (Process, String) {
    let mut command = Command::new(tools::example("mcp_fixture"));
    command.args(options).args(["--listen", listen]);
    let mut process = Process::start("mcp_fixture", command);
    let port = |line: &str| line.strip_prefix("listening ")?.parse::<u16>().ok();
    let port = process.wait_for_line(Duration::from_secs(10), port).await;
    (process, format!("http://127.0.0.1:{port}/mcp"))
}

/// What a run of the suite says of each scenario.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) passed: Vec<String>,
    pub(crate) failed: Vec<String>,
    text: String,
}

impl Report {
    fn read(text: String) -> Self {
        let after = text.split("=== SUMMARY ===").nth(1).unwrap_or_default();
        // Those that are not scored are told of once more, indented.
        let of = |mark: &str| {
            let lines = after.lines().filter_map(|line| line.strip_prefix(mark));
            let names = lines.filter_map(|line| Some(line.trim().split(':').next()?.to_owned()));
            names.collect()
        };
        Self {
            passed: of("✓"),
            failed: of("✗"),
            text,
        }
    }

    /// That these have not passed, all others have, and that there are so many.
    fn assert_failed(&self, expected: &[&str], count: usize, context: &str) {
        let failed: BTreeSet<_> = self.failed.iter().map(String::as_str).collect();
        let expected: BTreeSet<_> = expected.iter().copied().collect();
        let total = self.passed.len() + self.failed.len();
        assert!(
            failed == expected && total == count,
            "{context}: of {total}, {failed:?} did not pass\n{}",
            self.text
        );
    }
}

/// Runs what a revision requires, and what it runs besides.
pub(crate) async fn requirements(url: &str, revision: &str, home: &TempDir) -> Report {
    let args = [
        "server",
        "--url",
        url,
        "--requirements",
        revision,
        "-o",
        "results",
    ];
    let mut suite = command(tools::mcp_program("conformance"), &args, home);
    suite.current_dir(home.path());
    Report::read(finish(suite).await.out)
}

/// Runs one scenario against a server.
pub(crate) async fn scenario(url: &str, name: &str, version: Option<&str>) {
    passes(&["server", "--url", url], name, version).await;
}

/// Runs one scenario, which has to check something and find nothing wrong.
async fn passes(what: &[&str], name: &str, version: Option<&str>) {
    let home = TempDir::new().expect("a folder");
    let mut args = [what, &["--scenario", name, "-o", "results"]].concat();
    args.extend(
        version
            .into_iter()
            .flat_map(|version| ["--spec-version", version]),
    );
    let mut suite = command(tools::mcp_program("conformance"), &args, &home);
    suite.current_dir(home.path());
    let ended = finish(suite).await;
    let checks = checks(home.path());
    let of = |status: &str| -> Vec<_> {
        let checks = checks.iter();
        checks.filter(|check| check["status"] == status).collect()
    };
    let context = || format!("{name} {version:?}\n{}{}", ended.out, ended.err);
    assert_eq!(ended.code, Some(0), "{}", context());
    // A scenario that is left out ends well, too.
    assert!(!of("SUCCESS").is_empty(), "{}", context());
    assert!(
        of("FAILURE").is_empty(),
        "{:#?}\n{}",
        of("FAILURE"),
        context()
    );
}

/// What the suite wrote of each thing that it checked.
fn checks(folder: &Path) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(checks(&path));
        } else if path.file_name().is_some_and(|name| name == "checks.json") {
            let text = fs::read_to_string(&path).expect("a file");
            let list: Value = serde_json::from_str(&text).expect("JSON");
            found.extend(list.as_array().cloned().unwrap_or_default());
        }
    }
    found
}

/// Has a server mounted as a service of the mesh, by so many mounts.
pub(crate) async fn mounted(world: &World, name: &str, url: &str, mounts: usize) -> Vec<Process> {
    let mount = || {
        let mut mount = Command::new(tools::program("mcp-mount"));
        mount.args(["--name", name, "--url", url]);
        world.place_tool(&mut mount).env("LOG_FORMAT", "json");
        Process::start("mcp-mount", mount)
    };
    let running = (0..mounts).map(|_| mount()).collect();
    world
        .consul
        .wait_passing(&format!("tool-{name}"), mounts)
        .await;
    running
}

/// What of the modern revision a server of the legacy era alone has no words for, though every client
/// reaches it. It asks by requests, which have no names of their own and no result in common; and its era
/// has no such tasks.
const NOT_LEGACY: [&str; 10] = [
    "input-required-result-basic-elicitation",
    "input-required-result-multiple-input-requests",
    "tasks-capability-negotiation",
    "tasks-dispatch-and-envelope",
    "tasks-lifecycle",
    "tasks-mrtr-composition",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-request-state-removal",
    "tasks-wire-fields",
];

/// Runs the suite against a fixture of an era: directly, where so many scenarios of the legacy and of the
/// modern run pass, and through two mounts of it and two gateways behind HAProxy, where all do but these of
/// the modern run.
async fn compared(era: &str, passes: [usize; 2], inexpressible: &[&str]) {
    let world = World::start(2, &[]).await;
    let home = TempDir::new().expect("a folder");
    let (_fixture, direct) = fixture(era).await;
    let _mounts = mounted(&world, "conformance", &direct, 2).await;
    let (_haproxy, url) = before(&world).await;
    let url = format!("{url}/tool-conformance");
    for ((revision, scenarios), count) in REVISIONS.into_iter().zip(passes) {
        let context = format!("a fixture of the era {era}, revision {revision}");
        let by_itself = requirements(&direct, revision, &home).await;
        assert_eq!(
            by_itself.passed.len(),
            count,
            "{context}: {}",
            by_itself.text
        );
        let through = requirements(&url, revision, &home).await;
        let lost = if revision == MODERN {
            inexpressible
        } else {
            &[]
        };
        through.assert_failed(lost, scenarios, &context);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_server_of_both_eras_is_lost_through_mounts_and_gateways_behind_haproxy() {
    compared("both", [33, 50], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_modern_server_is_lost_and_it_serves_legacy_clients() {
    compared("modern", [0, 50], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_legacy_server_is_lost_and_it_serves_modern_clients() {
    // Six scenarios of the modern run are content with any error.
    compared("legacy", [33, 6], &NOT_LEGACY).await;
}

/// What any server has to pass, whatever its tools are.
const ANY_SERVER: [(&str, &str); 12] = [
    ("server-initialize", "2025-11-25"),
    ("server-session-lifecycle", "2025-11-25"),
    ("ping", "2025-11-25"),
    ("tools-list", "2025-11-25"),
    ("tools-list", "2026-07-28"),
    ("resources-list", "2025-11-25"),
    ("resources-list", "2026-07-28"),
    ("prompts-list", "2025-11-25"),
    ("prompts-list", "2026-07-28"),
    ("dns-rebinding-protection", "2026-07-28"),
    ("caching", "2026-07-28"),
    ("http-header-validation", "2026-07-28"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_mesh_passes_what_any_server_has_to() {
    let world = World::start(1, &[]).await;
    for (name, version) in ANY_SERVER {
        scenario(&world.mcp(), name, Some(version)).await;
    }
}

/// The scenarios of clients that fit a caller of tools.
const CALLER: [(&str, &str); 15] = [
    ("initialize", "2025-06-18"),
    ("initialize", "2025-11-25"),
    ("tools_call", "2025-06-18"),
    ("tools_call", "2025-11-25"),
    ("tools_call", "2026-07-28"),
    ("sse-retry", "2025-11-25"),
    ("elicitation-sep1034-client-defaults", "2025-11-25"),
    ("request-metadata", "2026-07-28"),
    ("sep-2322-client-request-state", "2026-07-28"),
    ("http-standard-headers", "2026-07-28"),
    ("http-custom-headers", "2026-07-28"),
    ("http-invalid-tool-headers", "2026-07-28"),
    ("json-schema-ref-no-deref", "2026-07-28"),
    ("json-schema-2020-12-preservation", "2025-11-25"),
    ("json-schema-2020-12-preservation", "2026-07-28"),
];

/// Those that do not: clients that get their tokens from an authorization server, and clients that read
/// skills, which are resources.
const NO_CALLER: [&str; 2] = ["auth/", "sep-2640-client-"];

#[tokio::test(flavor = "multi_thread")]
async fn meshctl_passes_the_scenarios_that_fit_a_caller_of_tools() {
    let script = tools::root().join("crates/testkit/tests/mcp/clients/scenario.sh");
    let client = format!("bash {}", script.display());
    for (name, version) in CALLER {
        passes(&["client", "--command", &client], name, Some(version)).await;
    }
}

#[tokio::test]
async fn the_suite_has_no_scenario_of_clients_that_is_neither_run_nor_named() {
    let home = TempDir::new().expect("a folder");
    let listed = run(tools::mcp_program("conformance"), &["list"], &home)
        .await
        .ok();
    let after = listed
        .split("Client scenarios")
        .nth(1)
        .expect("they are listed");
    let rows = after.lines().skip(1).take_while(|line| !line.is_empty());
    let mut seen = 0;
    for row in rows {
        let row = row.trim().trim_start_matches("- ");
        let (name, versions) = row.split_once(" [").expect("a name and its revisions");
        for version in versions.trim_end_matches(']').split(',') {
            let is_run = CALLER.contains(&(name, version));
            let is_named = NO_CALLER.iter().any(|begin| name.starts_with(begin));
            assert!(is_run != is_named, "{name} {version}");
            seen += 1;
        }
    }
    assert!(seen > CALLER.len(), "{listed}");
}
