//! A service with every kind of method and of field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use mesh_testkit::{Process, http_client, python::Python, tools, within};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    clients::{Target, inspected, targets},
    conformance::fixture_with,
    live::register,
    support::{SOON, World, ask, call},
};

/// The methods, and arguments for each; what it gives back is what it got, but for streams.
fn calls(everything: &Value) -> [(&'static str, Value, Value); 10] {
    let small = json!({"text": "a", "number": 1});
    let two = json!({"messages": [{"text": "b", "number": 2}, small]});
    let demands = json!({"name": "n", "code": "ABC", "count": 3, "large": "7", "tags": ["x"],
        "sizes": {"s": 1}, "color": "COLOR_RED", "mail": "a@example.com", "small": small,
        "size": "S", "part": 0.5, "url": "http://x"});
    // What only answers have is there, too.
    let mut demanded = demands.clone();
    demanded["made_at"] = "".into();
    let old =
        json!({"name": "n", "size": 3, "grade": "BAD", "numbers": ["1"], "part": {"label": "l"}});
    let deep = (0..8).fold(json!({"end": "here"}), |deep, _| json!({ "next": deep }));
    let free = json!({"a": [1.5, null, {"b": true}]});
    [
        ("Unary", everything.clone(), everything.clone()),
        (
            "Watch",
            everything.clone(),
            json!([everything, everything, everything]),
        ),
        ("Collect", two.clone(), small),
        ("Chat", two.clone(), two["messages"].clone()),
        ("Nothing", json!({}), json!({})),
        (
            "Time",
            json!({"value": "2026-01-02T03:04:05.678Z"}),
            json!("2026-01-02T03:04:05.678Z"),
        ),
        ("Free", free.clone(), free),
        ("Old", old.clone(), old),
        ("Demanding", demands, demanded),
        ("Deep", deep.clone(), deep),
    ]
}

async fn kinds(world: &World) -> Python {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/kinds.py");
    let protos = tools::root().join("crates/mcp/tests/protos");
    let server = Python::start(&script, &[&protos.display().to_string()]).await;
    register(&world.consul, "kinds", server.port).await;
    world.consul.wait_passing("kinds", 1).await;
    server
}

/// The methods among the tools of an endpoint, by their names.
async fn listed(url: &str) -> Option<BTreeMap<String, Value>> {
    let (_, answer) = ask(url, "tools/list", json!({})).await?;
    let tools = answer["result"]["tools"].as_array()?.iter();
    let named = tools.filter_map(|tool| Some((tool["name"].as_str()?.to_owned(), tool.clone())));
    Some(
        named
            .filter(|(name, _)| name.starts_with("Kinds_"))
            .collect(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_field_is_listed_without_a_finding_and_comes_back_as_its_schema_says() {
    let world = World::start(1, &[]).await;
    let home = TempDir::new().expect("a folder");
    let _server = kinds(&world).await;
    let url = format!("{}/kinds", world.mcp());
    let tools = within(SOON, async || {
        listed(&url).await.filter(|tools| tools.len() == 10)
    })
    .await;
    let Some((tools, _)) = tools else {
        let services = format!("http://{}/api/v1/mcp/services", world.gateways[0].grpc);
        panic!(
            "not all methods are tools: {:?}",
            http_client::json(&services).await
        )
    };
    for target in targets(&url) {
        for era in target.eras() {
            // It fails where there is a finding.
            let list = ["--method", "tools/list", "--strict"];
            let listed = inspected(&target, era, &list, &home).await;
            let listed = listed["result"]["tools"].as_array().expect("tools");
            let names = listed.iter().filter_map(|tool| tool["name"].as_str());
            let names: BTreeSet<_> = names.collect();
            assert!(
                tools.keys().all(|name| names.contains(&**name)),
                "{era}: {names:?}"
            );
        }
    }
    let everything = tools::root().join("crates/mcp/tests/protos/everything.json");
    let everything = fs::read_to_string(everything).expect("a file of ours");
    let everything = serde_json::from_str(&everything).expect("JSON");
    for (method, arguments, expected) in calls(&everything) {
        let name = format!("Kinds_{method}");
        let tool = tools
            .get(&name)
            .unwrap_or_else(|| panic!("{name} is not among {tools:?}"));
        assert!(
            jsonschema::is_valid(&tool["inputSchema"], &arguments),
            "{name} does not take what it takes: {arguments}"
        );
        let result = call(&url, &name, arguments).await;
        assert_ne!(result["isError"], true, "{name}: {result}");
        let content = &result["structuredContent"];
        assert!(
            jsonschema::is_valid(&tool["outputSchema"], content),
            "{name} gives what is not of its schema: {content}"
        );
        // A stream is a list of messages, and a result that is no object is wrapped.
        let own = [&content["messages"], &content["value"], content];
        assert!(
            own.contains(&&expected),
            "{name}: {content} is not {expected}"
        );
    }
}

/// A server that lists one tool of this schema.
async fn server_of(schema: &Value, home: &TempDir) -> (Process, Target) {
    let file = home.path().join("tools.json");
    let tools = json!([{"name": "odd", "description": "odd", "inputSchema": schema}]);
    fs::write(&file, tools.to_string()).expect("a folder of ours");
    let (process, url) = fixture_with(&["--tools", &file.display().to_string()]).await;
    let [http, ..] = targets(&url);
    (process, http)
}

#[tokio::test(flavor = "multi_thread")]
#[should_panic(expected = "schemaFindings")]
async fn a_schema_that_some_providers_refuse_is_found() {
    let home = TempDir::new().expect("a folder");
    let schema = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": true},
        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]});
    let (_server, http) = server_of(&schema, &home).await;
    inspected(
        &http,
        "modern",
        &["--method", "tools/list", "--strict"],
        &home,
    )
    .await;
}
