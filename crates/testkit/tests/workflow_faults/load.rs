//! Runs of mixed shapes, created at a steady rate.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use runs::{Error, NewRun, RunStore};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};
use workflow::Start;

use crate::fleet::number;

/// A run that was created, with the nodes that have to end in it.
pub(crate) type Created = BTreeMap<String, Vec<&'static str>>;

fn task(id: &str) -> Value {
    json!({
        "id": id, "type": "agent", "config": {"agent": "echo-agent", "task": id},
        "retry": {"max_attempts": 20, "backoff_ms": 200, "backoff_multiplier": 1.5},
    })
}

fn graph(nodes: &[Value], edges: &[(&str, &str)]) -> Value {
    let edges = edges
        .iter()
        .map(|(from, to)| json!({"from": from, "to": to}));
    json!({"nodes": nodes, "edges": edges.collect::<Vec<_>>(), "metadata": {}})
}

/// The shapes, and which of their nodes complete.
fn shapes() -> Vec<(Value, Vec<&'static str>)> {
    let tasks = |ids: &[&str]| ids.iter().map(|id| task(id)).collect::<Vec<_>>();
    let row = graph(&tasks(&["a", "b", "c"]), &[("a", "b"), ("b", "c")]);
    let diamond = graph(
        &tasks(&["a", "b", "c", "d"]),
        &[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")],
    );
    let mut branch = graph(
        &[
            tasks(&["a", "b", "c"]),
            vec![json!({"id": "choose", "type": "conditional", "config": {}})],
        ]
        .concat(),
        &[("a", "choose"), ("choose", "b"), ("choose", "c")],
    );
    branch["edges"][1]["condition"] = "true".into();
    let timer = json!({"id": "wait", "type": "timer", "config": {"duration_ms": 300}});
    let waits = graph(
        &[tasks(&["a", "b"]), vec![timer]].concat(),
        &[("a", "wait"), ("wait", "b")],
    );
    vec![
        (row, vec!["a", "b", "c"]),
        (diamond, vec!["a", "b", "c", "d"]),
        (branch, vec!["a", "choose", "b"]),
        (waits, vec!["a", "wait", "b"]),
    ]
}

/// Creates a run, however often the store is away meanwhile.
pub(crate) async fn create(store: &dyn RunStore, workflow: &Value) -> String {
    let run_id = runs::new_id();
    let start = Start {
        run_id: run_id.clone(),
        owner: "load".to_owned(),
        inputs: json!({}),
        priority: 3,
        ..Start::default()
    };
    let content = workflow.to_string();
    loop {
        let run = async || {
            let run = NewRun {
                run_id: run_id.clone(),
                owner: "load".to_owned(),
                submitted_by: "load".to_owned(),
                base: ("inline".to_owned(), String::new()),
                workflow: store.put_blob(content.as_bytes()).await?,
                start: serde_json::to_vec(&start).unwrap(),
                priority: 3,
                keep_ms: 86_400_000,
                ..NewRun::default()
            };
            store.create_run(&run, 0).await
        };
        match run().await {
            Ok(_) => return run_id,
            Err(Error::Unavailable(_)) => sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Creates all runs; `done` is set when the last one is created.
pub(crate) async fn create_all(store: Arc<dyn RunStore>, done: &AtomicBool) -> Created {
    create_for(store, done, Duration::ZERO).await
}

/// The same, and goes on for at least so long.
pub(crate) async fn create_for(
    store: Arc<dyn RunStore>,
    done: &AtomicBool,
    time: Duration,
) -> Created {
    let (count, rate) = (
        number("MESH_TEST_WORKFLOW_RUNS", 300),
        number("MESH_TEST_WORKFLOW_RATE", 30),
    );
    let (shapes, began) = (shapes(), Instant::now());
    let mut created = Created::new();
    for index in 0.. {
        let due = began + Duration::from_secs(1).mul_f64(index as f64 / rate as f64);
        if index >= count && due > began + time {
            break;
        }
        sleep_until(due).await;
        let (workflow, nodes) = &shapes[index % shapes.len()];
        created.insert(create(&*store, workflow).await, nodes.clone());
    }
    done.store(true, Relaxed);
    created
}
