//! The protocol's conformance suite.

use std::{process::Command, time::Duration};

use mesh_testkit::{Process, tools};
use tempfile::TempDir;

use crate::support::{World, command, finish};

/// Legacy and modern, each with how many scenarios its run has, those that are not scored too.
const REVISIONS: [(&str, usize); 2] = [("2025-11-25", 33), ("2026-07-28", 50)];

/// The server of the SDK that has what the suite asks for.
pub(crate) async fn fixture(era: &str) -> (Process, String) {
    let mut command = Command::new(tools::example("mcp_fixture"));
    command.args(["--era", era, "--listen", "127.0.0.1:0"]);
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

    pub(crate) fn assert_all(&self, count: usize) {
        assert!(
            self.failed.is_empty() && self.passed.len() == count,
            "{} passed, {:?} did not\n{}",
            self.passed.len(),
            self.failed,
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
pub(crate) async fn scenario(url: &str, name: &str, version: &str, home: &TempDir) {
    let args = [
        "server",
        "--url",
        url,
        "--scenario",
        name,
        "--spec-version",
        version,
        "-o",
        "results",
    ];
    let mut suite = command(tools::mcp_program("conformance"), &args, home);
    suite.current_dir(home.path());
    let ended = finish(suite).await;
    assert_eq!(
        ended.code,
        Some(0),
        "{name} {version}\n{}{}",
        ended.out,
        ended.err
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fixture_passes_every_scenario_when_it_is_asked_directly() {
    let home = TempDir::new().expect("a folder");
    let (_fixture, url) = fixture("both").await;
    for (revision, scenarios) in REVISIONS {
        requirements(&url, revision, &home)
            .await
            .assert_all(scenarios);
    }
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
    let home = TempDir::new().expect("a folder");
    for (name, version) in ANY_SERVER {
        scenario(&world.mcp(), name, version, &home).await;
    }
}

/// The scenarios of clients that fit a caller of tools; `auth/` is for clients with an authorization
/// server, `sep-2640-…` for those that read skills.
const CALLER: [(&str, &str); 14] = [
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
    ("json-schema-2020-12-preservation", "2026-07-28"),
];

#[tokio::test(flavor = "multi_thread")]
async fn meshctl_passes_the_scenarios_that_fit_a_caller_of_tools() {
    let home = TempDir::new().expect("a folder");
    let script = tools::root().join("crates/testkit/tests/mcp/clients/scenario.sh");
    let client = format!("bash {}", script.display());
    for (name, version) in CALLER {
        let args = [
            "client",
            "--command",
            &client,
            "--scenario",
            name,
            "--spec-version",
            version,
        ];
        let mut suite = command(tools::mcp_program("conformance"), &args, &home);
        suite.args(["-o", "results"]).current_dir(home.path());
        let ended = finish(suite).await;
        assert_eq!(
            ended.code,
            Some(0),
            "{name} {version}\n{}{}",
            ended.out,
            ended.err
        );
    }
}
