//! The clients that people have: the Inspector, and the SDKs of Python and TypeScript.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{MODERN, World, finish, inspector, meshctl, python, tool_names, typescript};

/// A tool, its arguments, and what its answer says.
type Call = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
);

/// How each tool of the demo is called, and what its answer says.
const CALLS: [Call; 3] = [
    ("echo-agent", &[("input", "hello there")], "hello there"),
    (
        "weather-tool__get_weather",
        &[("location", "Paris")],
        "Paris",
    ),
    (
        "itinerary-worker",
        &[("destination", "Rome"), ("days", "2")],
        "Rome",
    ),
];

/// A server as the Inspector is told of it: options, or the program that it starts.
#[derive(Debug)]
pub(crate) struct Target {
    transport: &'static str,
    url: Option<String>,
    program: Vec<String>,
}

impl Target {
    /// The eras that its transport has: HTTP+SSE is that of 2024-11-05 alone.
    pub(crate) fn eras(&self) -> &'static [&'static str] {
        match self.transport {
            "sse" => &["legacy"],
            _ => &["legacy", "modern"],
        }
    }
}

/// The ways to an endpoint.
pub(crate) fn targets(url: &str) -> [Target; 3] {
    let by_url = |transport, url: String| Target {
        transport,
        url: Some(url),
        program: Vec::new(),
    };
    let meshctl = meshctl().display().to_string();
    let program = [meshctl.as_str(), "mcp", "--url", url].map(str::to_owned);
    [
        by_url("http", url.to_owned()),
        by_url("sse", url.replace("/mcp", "/sse")),
        Target {
            transport: "stdio",
            url: None,
            program: program.to_vec(),
        },
    ]
}

/// What the Inspector prints of an endpoint. It finds nothing wrong with its schemas, where it is to look.
pub(crate) async fn inspected(target: &Target, era: &str, args: &[&str], home: &TempDir) -> Value {
    let mut all = vec!["--transport", target.transport, "--protocol-era", era];
    all.extend(["--format", "json", "-q"]);
    all.extend(args);
    if let Some(url) = &target.url {
        all.extend(["--server-url", url]);
    } else {
        // What comes after it is the program's.
        all.push("--");
        all.extend(target.program.iter().map(String::as_str));
    }
    let ended = inspector(&all, home).await;
    let context = format!("{all:?}: {}", ended.err);
    // Warnings are told, and change nothing else; of errors it exits with 6.
    let is_found = ended.out.contains("\"schemaFindings\"");
    assert!(
        !is_found && ended.code == Some(0),
        "{}\n{context}",
        ended.out
    );
    let lines = ended.json();
    lines.last().unwrap_or_else(|| panic!("{context}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inspector_lists_and_calls_every_tool_in_both_eras_over_every_transport() {
    let world = World::start(1, &[]).await;
    let home = TempDir::new().expect("a folder");
    for target in targets(&world.mcp()) {
        let transport = target.transport;
        for era in target.eras() {
            let strict = ["--method", "tools/list", "--strict"];
            let listed = inspected(&target, era, &strict, &home).await;
            let tools = listed["result"]["tools"].as_array().expect("tools");
            let names: BTreeSet<_> = tools.iter().filter_map(|it| it["name"].as_str()).collect();
            for (name, arguments, expected) in CALLS {
                assert!(names.contains(name), "{transport} {era}: {names:?}");
                let pairs = arguments
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"));
                let pairs: Vec<_> = pairs.collect();
                let mut args = vec!["--method", "tools/call", "--tool-name", name];
                for pair in &pairs {
                    args.extend(["--tool-arg", pair]);
                }
                let called = inspected(&target, era, &args, &home).await;
                let text = called["result"]["content"][0]["text"].as_str();
                assert!(
                    text.is_some_and(|text| text.contains(expected)),
                    "{transport} {era} {name}: {called}"
                );
            }
        }
    }
}

/// What a client tells when it has listed and called.
fn check(client: &str, told: &[Value], names: &[String], version: Option<&str>) {
    let mut names = names.to_vec();
    names.sort();
    assert_eq!(told[0]["tools"], json!(names), "{client}");
    if let Some(version) = version {
        assert_eq!(told[0]["version"], version, "{client}");
    }
    let text = told[1]["called"].as_str().unwrap_or_default();
    assert!(
        text.contains("Paris") && told[1]["failed"] == false,
        "{client}: {told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sdks_list_and_call_in_both_eras() {
    let world = World::start(1, &[]).await;
    let home = TempDir::new().expect("a folder");
    let url = world.mcp();
    let names = tool_names(&url).await.expect("a list");
    let (tool, arguments) = ("weather-tool__get_weather", r#"{"location":"Paris"}"#);
    for (mode, version) in [("auto", Some(MODERN)), ("legacy", Some("2025-11-25"))] {
        let told = finish(python(&[&url, mode, tool, arguments], &home))
            .await
            .json();
        check(&format!("Python, {mode}"), &told, &names, version);
    }
    let meshctl = meshctl().display().to_string();
    let program = json!([meshctl, "mcp", "--url", url]).to_string();
    let sse = url.replace("/mcp", "/sse");
    for (sdk, transport, target, mode, version) in [
        ("1", "http", &url, "legacy", None),
        ("1", "sse", &sse, "legacy", None),
        ("1", "stdio", &program, "legacy", None),
        ("2", "http", &url, "auto", Some(MODERN)),
        ("2", "http", &url, "legacy", Some("2025-11-25")),
        ("2", "stdio", &program, "auto", Some(MODERN)),
        ("2", "stdio", &program, "legacy", Some("2025-11-25")),
    ] {
        let args = [sdk, transport, target, mode, tool, arguments];
        let told = finish(typescript(&args, &home)).await.json();
        check(&format!("TypeScript {args:?}"), &told, &names, version);
    }
}
