//! Workflows, patches and expressions that others write.

use std::{sync::Arc, time::Instant};

use serde_json::{Value, json};
use workflow::{
    Effect, Expression, Failure, Input, Limits, Output, PatchRequest, Run, RunRecords, Start,
    Workflow,
};

/// Most steps that a run is driven.
const STEPS: usize = 200;

fn bytes(values: &[Value]) -> Vec<Vec<u8>> {
    values
        .iter()
        .map(|value| value.to_string().into_bytes())
        .collect()
}

pub(crate) fn workflows() -> Vec<Vec<u8>> {
    bytes(&[
        diamond(),
        json!({
            "nodes": [
                {"id": "a", "type": "transform", "config": {"value": {"n": "$inputs.n", "t": "${run.id}"}}},
                {"id": "l", "type": "loop", "config": {"max_iterations": 3, "loop_back_to": "a",
                    "condition": "output.n > 1", "break_path": ["b"], "timeout_path": ["c"]}},
                {"id": "b", "type": "noop"}, {"id": "c", "type": "noop"},
            ],
            "edges": [{"from": "a", "to": "l"}],
        }),
        json!({
            "nodes": [
                {"id": "h", "type": "hitl", "config": {"message": "?", "form": {"type": "object"}}},
                {"id": "e", "type": "for_each", "config": {"items": "[1, 2, 3].map(x, x * 2)", "concurrency": 2,
                    "node": {"type": "call", "config": {"service": "s", "method": "$item"}}}},
                {"id": "f", "type": "filter", "config": {"expression": "item.n > 1"}},
                {"id": "g", "type": "aggregate", "config": {"strategy": "sum", "field": "n"}},
            ],
            "edges": [{"from": "h", "to": "e", "condition": "$.approved"}, {"from": "e", "to": "f"},
                {"from": "f", "to": "g", "on": "always"}],
            "metadata": {"patches": "approve"}, "deadline_ms": 5,
        }),
        json!({
            "nodes": [
                {"id": "t", "type": "timer", "config": {"until": "2026-01-31T12:00:00.5+01:00"}},
                {"id": "s", "type": "signal", "config": {"name": "go", "timeout_ms": 5}},
                {"id": "w", "type": "sub_workflow", "config": {"workflow": {"nodes": [{"id": "x", "type": "noop"}]}}},
                {"id": "q", "type": "http", "join": 2, "cancel_rest": true, "on_error": "continue", "priority": 1,
                    "config": {"url": "http://x"}, "compensate": {"type": "http", "config": {"url": "http://y"}}},
            ],
            "edges": [{"from": "t", "to": "q"}, {"from": "s", "to": "q"}, {"from": "w", "to": "q", "on": "failure"}],
        }),
    ])
}

fn diamond() -> Value {
    let job =
        |id: &str| json!({"id": id, "type": "call", "config": {"service": "s", "method": "m"}});
    json!({
        "nodes": [job("a"), job("b"), job("c"), {"id": "d", "type": "join", "join": "any"}],
        "edges": [{"from": "a", "to": "b", "condition": "output.n >= 1"}, {"from": "a", "to": "c"},
            {"from": "b", "to": "d"}, {"from": "c", "to": "d"}],
    })
}

pub(crate) fn workflow(data: &[u8]) {
    let Ok(document) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let Ok(read) = Workflow::parse(&document, &Limits::default()) else {
        return;
    };
    assert_eq!(read.document(), &document);
    let mut driven = Driven::start(Arc::new(read));
    driven.drive(data.len());
    driven.comes_back();
}

pub(crate) fn patches() -> Vec<Vec<u8>> {
    bytes(&[
        json!([{"op": "add", "path": "/nodes/-", "value": {"id": "e", "type": "agent", "config": {"task": "t"}}},
            {"op": "add", "path": "/edges/-", "value": {"from": "a", "to": "e"}}]),
        json!([{"op": "test", "path": "/nodes/@b/type", "value": "call"}, {"op": "remove", "path": "/nodes/@d"},
            {"op": "remove", "path": "/edges/2"}, {"op": "remove", "path": "/edges/2"}]),
        json!([{"op": "copy", "from": "/nodes/3", "path": "/nodes/0"}, {"op": "replace", "path": "/nodes/0/id", "value": "z"},
            {"op": "move", "from": "/edges/3", "path": "/edges/0"}]),
    ])
}

pub(crate) fn patch(data: &[u8]) {
    let Ok(operations) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let Ok(read) = Workflow::parse(&diamond(), &Limits::default()) else {
        return;
    };
    // What a patch does alone, and what it does to a run.
    let _patched = Workflow::patched(&diamond(), &operations);
    let mut driven = Driven::start(Arc::new(read));
    driven.drive(data.len() % 4);
    let request = PatchRequest {
        operations,
        description: String::new(),
        author: "f".to_owned(),
        node_id: None,
        if_version: None,
    };
    let before = driven.run.clone();
    match driven
        .run
        .step(Input::Patch(request), &Limits::default(), 2)
    {
        Ok(step) => driven.take(step),
        Err(_) => assert_eq!(before, driven.run),
    }
    driven.drive(STEPS);
    driven.comes_back();
}

/// A run, what is kept of it, and what can happen to it.
struct Driven {
    base: Arc<Workflow>,
    run: Run,
    records: Vec<(String, Vec<u8>)>,
    blobs: Vec<(String, Vec<u8>)>,
    open: Vec<Input>,
}

impl Driven {
    fn start(base: Arc<Workflow>) -> Self {
        let start = Start {
            run_id: "r".to_owned(),
            inputs: json!({"n": 2, "list": [1, "x", null]}),
            ..Start::default()
        };
        let (run, step) = Run::start(Arc::clone(&base), &start, &Limits::default(), 1);
        let mut driven = Self {
            base,
            run,
            records: Vec::new(),
            blobs: Vec::new(),
            open: Vec::new(),
        };
        driven.take(step);
        driven
    }

    fn take(&mut self, step: workflow::Step) {
        self.blobs.extend(step.blobs);
        for key in step.changed {
            let record = self.run.node_record(&key).expect("what changed is there");
            self.records.retain(|(known, _)| *known != key);
            self.records.push((key, record));
        }
        for effect in step.effects {
            let fails = self.open.len() % 5 == 4;
            let failure = Failure {
                message: "boom".to_owned(),
                retryable: true,
            };
            let input = match effect {
                Effect::SubmitJob(job) if fails => Input::Failed {
                    key: job.key,
                    failure,
                    metrics: None,
                    otherwise: None,
                },
                Effect::SubmitJob(job) => Input::Succeeded {
                    key: job.key,
                    output: Output::inline(json!({"n": 2, "status_code": 200, "body": {"m": 1}})),
                    metrics: None,
                    patch: None,
                },
                Effect::SetTimer { key, .. } => Input::TimerDue { key },
                Effect::OpenApproval(asked) => Input::Decided {
                    key: asked.key,
                    approved: !fails,
                    by: "x".to_owned(),
                    data: json!({"comment": ""}),
                },
                Effect::StartChild(child) => Input::ChildEnded {
                    key: child.key,
                    result: if fails {
                        Err(failure)
                    } else {
                        Ok(Output::inline(json!({"n": 1})))
                    },
                },
                _ => continue,
            };
            self.open.push(input);
        }
    }

    fn drive(&mut self, steps: usize) {
        for now in 0..steps.min(STEPS) {
            if self.open.is_empty() {
                return;
            }
            let input = self.open.swap_remove(now % self.open.len());
            let now = u64::try_from(now).unwrap_or(0) + 10;
            if let Ok(step) = self.run.step(input, &Limits::default(), now) {
                self.take(step);
            }
        }
    }

    fn comes_back(&self) {
        let records = RunRecords {
            header: self.run.header(),
            nodes: self.records.clone(),
        };
        let mut blob = |id: &str| {
            let found = self.blobs.iter().find(|(known, _)| known == id);
            found.and_then(|(_, content)| serde_json::from_slice(content).ok())
        };
        let again = Run::load(Arc::clone(&self.base), &records, &mut blob).expect("it comes back");
        assert_eq!(again, self.run);
        let _output = again.output();
    }
}

pub(crate) fn expressions() -> Vec<Vec<u8>> {
    [
        "output.n >= 80 && ctx.a.list[0] == 'x'",
        "$.approved == true ? inputs.list.map(x, x * 2) : [1, 2.5]",
        "output.list.filter(x, x > 1).all(x, has(output.n))",
        "'a,b'.split(',').join('-').matches('^[ab].*$') || !(1 in output.list)",
        "timestamp('2026-01-31T12:00:00Z') + duration('1h30m') > timestamp(output.at)",
        "{'k': -output.n % 7, \"l\": \"\\u00e4\"}['k'] + int('5') - size(output.text)",
        "$nodes.a-b.n + $inputs.n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub(crate) fn expression(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let begun = Instant::now();
    match Expression::parse(text) {
        Ok(expression) => {
            let output = json!({"n": 91, "list": [3, 1, 2], "text": "hello", "at": "2026-01-31T12:00:00Z", "f": 2.5});
            let ctx = json!({"a": {"list": ["x"], "n": 1}, "a-b": {"n": 3}});
            let inputs = json!({"list": [1, 2], "n": 4});
            let run = json!({"id": "r"});
            let variables = [
                ("output", &output),
                ("ctx", &ctx),
                ("inputs", &inputs),
                ("run", &run),
            ];
            let _value = expression.evaluate(&variables);
        }
        Err(error) => assert!(error.column >= 1, "{error}"),
    }
    assert!(begun.elapsed().as_secs() < 10, "{text}");
}
