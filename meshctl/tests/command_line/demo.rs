//! `meshctl demo`.

use std::time::{Duration, Instant};

use crate::mesh::run;

#[test]
fn the_demo_makes_every_kind_of_call_and_spreads_them_evenly() {
    let started = Instant::now();
    let told = run(&["demo", "--json"]).ok().value();
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let steps = told["steps"].as_array().unwrap();
    let of = |call: &str| {
        steps
            .iter()
            .filter(|step| step["call"] == call)
            .collect::<Vec<_>>()
    };
    assert_eq!(of("ExecuteTask").len(), 9);
    assert_eq!(of("spread")[0]["answered_by"], "3/3/3");
    for call in [
        "StreamTask",
        "GetStatus",
        "ListAgents",
        "ListTools",
        "ListWorkers",
        "ExecuteTool",
        "ProcessTask",
        "GetTaskStatus",
        "reflection",
        "workflow",
        "tools/list",
        "tools/call",
    ] {
        assert_eq!(of(call).len(), 1, "{call}");
    }
    assert_eq!(steps.last().unwrap()["call"], "tools/call");
    let tool = of("ExecuteTool")[0]["answered_by"].as_str().unwrap();
    assert!(tool.starts_with("weather-tool-"), "{tool}");
}

#[test]
fn the_demo_ends_with_how_to_go_on() {
    let answer = run(&["demo"]).ok();
    let program = env!("CARGO_BIN_EXE_meshctl");
    for text in [
        "3/3/3",
        "nothing is left running",
        &format!("{program} up"),
        "cargo run -p meshctl -- up",
        "grpcurl -plaintext 127.0.0.1:50051 list",
    ] {
        assert!(
            answer.stdout.contains(text),
            "{text} is not in {}",
            answer.stdout
        );
    }
    assert!(
        !answer.stdout.contains('\x1b'),
        "colour without a terminal: {}",
        answer.stdout
    );
}
