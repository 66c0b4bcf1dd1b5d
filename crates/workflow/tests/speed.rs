//! What steps cost. `cargo test -p mesh-workflow --test speed -- --ignored --nocapture`

use std::{sync::Arc, time::Instant};

use mesh_workflow::{Effect, Input, Limits, Output, Run, Start, Workflow};
use serde_json::json;

#[test]
#[ignore = "it measures"]
fn steps() {
    let job = |id: &str| json!({"id": id, "type": "call", "config": {"service": "s", "method": "m", "payload": {}}});
    let limits = Limits::default();
    let document = json!({"nodes": [job("a"), job("b"), job("c")], "edges": [{"from": "a", "to": "b"}, {"from": "b", "to": "c"}]});
    let begun = Instant::now();
    for _ in 0..200 {
        let _read = Workflow::parse(&document, &limits).unwrap();
    }
    println!("parse: {:?}", begun.elapsed() / 200);
    let workflow = Arc::new(Workflow::parse(&document, &limits).unwrap());
    let count = 2000;
    let (mut bytes, mut steps) = (0, 0);
    let begun = Instant::now();
    for _ in 0..count {
        let start = Start {
            run_id: "0198c0de-0000-7000-8000-000000000000".to_owned(),
            inputs: json!({}),
            ..Start::default()
        };
        let (mut run, mut step) = Run::start(Arc::clone(&workflow), &start, &limits, 1);
        loop {
            steps += 1;
            bytes += run.header().len();
            for key in &step.changed {
                bytes += run.node_record(key).unwrap().len();
            }
            for event in &step.events {
                bytes += serde_json::to_vec(event).unwrap().len();
            }
            let Some(Effect::SubmitJob(job)) = step.effects.pop() else {
                break;
            };
            step = run
                .step(
                    Input::Succeeded {
                        key: job.key,
                        output: Output::inline(json!({"ok": true})),
                        metrics: None,
                        patch: None,
                    },
                    &limits,
                    2,
                )
                .unwrap();
        }
        assert!(run.status().is_final());
    }
    println!(
        "a run of 3: {:?}, {} steps, {} bytes a run",
        begun.elapsed() / count,
        steps / count,
        bytes / count as usize
    );
    for items in [100, 10_000] {
        let list: Vec<u32> = (0..items).collect();
        let document = json!({"nodes": [{"id": "e", "type": "for_each", "config": {"items": list, "concurrency": 10,
            "node": {"type": "call", "config": {"service": "s", "method": "m", "payload": {"x": "$item"}}}}}], "edges": []});
        let workflow = Arc::new(Workflow::parse(&document, &limits).unwrap());
        let start = Start {
            run_id: "0198c0de-0000-7000-8000-000000000000".to_owned(),
            inputs: json!({}),
            ..Start::default()
        };
        let begun = Instant::now();
        let (mut run, step) = Run::start(workflow, &start, &limits, 1);
        let mut open: Vec<_> = step.effects;
        let mut bytes = 0;
        while let Some(Effect::SubmitJob(job)) = open.pop() {
            let step = run
                .step(
                    Input::Succeeded {
                        key: job.key,
                        output: Output::inline(json!({"ok": true})),
                        metrics: None,
                        patch: None,
                    },
                    &limits,
                    2,
                )
                .unwrap();
            bytes += run.header().len();
            for key in &step.changed {
                bytes += run.node_record(key).unwrap().len();
            }
            open.extend(
                step.effects
                    .into_iter()
                    .filter(|effect| matches!(effect, Effect::SubmitJob(_))),
            );
        }
        assert!(run.status().is_final());
        println!(
            "for_each of {items}: {:?} an item, {} bytes an item",
            begun.elapsed() / items,
            bytes / items as usize
        );
    }
}
