//! A run is driven in a random order, and compared with the oracle.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use mesh_workflow::{
    Effect, Event, EventKind, Failure, Input, Limits, NodeStatus, Output, PatchRequest, Run,
    RunRecords, RunStatus, Start, Step, Workflow,
};
use serde_json::{Value, json};

use crate::{
    oracle::{End, Oracle},
    plan::{PatchPlan, Plan, approves, mix, outcome, place},
};

/// What the cases had.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    invalid: u32,
    completed: u32,
    failed: u32,
    joins: u32,
    skipped: u32,
    retried: u32,
    repeated: u32,
    patched: u32,
    refused: u32,
    reloaded: u32,
}

impl Seen {
    pub(crate) fn is_rich(&self, cases: u32) -> bool {
        let least = cases / 50;
        let counts = [
            self.completed,
            self.failed,
            self.joins,
            self.skipped,
            self.retried,
            self.repeated,
            self.patched,
            self.refused,
            self.reloaded,
        ];
        self.invalid < cases / 4 && counts.into_iter().all(|count| count >= least)
    }
}

struct Driver<'p> {
    plan: &'p Plan,
    base: Arc<Workflow>,
    run: Run,
    limits: Limits,
    records: BTreeMap<String, Vec<u8>>,
    /// What can happen.
    open: BTreeMap<String, Open>,
    keys: BTreeSet<String>,
    /// The last thing that happened to each node, and where it starts.
    last: BTreeMap<String, EventKind>,
    started: BTreeSet<(String, u64)>,
    attempts: BTreeMap<(String, u32), u32>,
    now: u64,
}

enum Open {
    Job {
        node: String,
        iteration: u32,
        attempt: u32,
    },
    Timer,
    Question {
        node: String,
        iteration: u32,
    },
}

pub(crate) fn drive(plan: &Plan, seen: &mut Seen) {
    let document = plan.document();
    let limits = Limits::default();
    let Ok(workflow) = Workflow::parse(&document, &limits) else {
        // Loops may wait for one another, or go back to where no way leads from.
        seen.invalid += 1;
        return;
    };
    let base = Arc::new(workflow);
    let start = Start {
        run_id: "r".to_owned(),
        inputs: json!({"n": 5}),
        ..Start::default()
    };
    let (run, step) = Run::start(Arc::clone(&base), &start, &limits, 1);
    let mut driver = Driver {
        plan,
        base,
        run,
        limits,
        records: BTreeMap::new(),
        open: BTreeMap::new(),
        keys: BTreeSet::new(),
        last: BTreeMap::new(),
        started: BTreeSet::new(),
        attempts: BTreeMap::new(),
        now: 1,
    };
    driver.take(step, seen);
    driver.all(seen);
    driver.compare(seen);
}

impl Driver<'_> {
    fn all(&mut self, seen: &mut Seen) {
        let has_loops = self.plan.nodes.iter().any(|node| node.kind == 6);
        for number in 0_u64.. {
            assert!(number < 5_000, "it does not end");
            if !has_loops {
                let due = self
                    .plan
                    .patches
                    .iter()
                    .filter(|patch| u64::from(patch.after) == number);
                for patch in due.cloned().collect::<Vec<_>>() {
                    self.patch(&patch, number, seen);
                }
            }
            if self.run.status().is_final() {
                break;
            }
            let order = &self.plan.order;
            let place = usize::try_from(number).unwrap_or(0) % order.len();
            let drawn = mix(&[self.plan.seed, u64::from(order[place]), number]);
            assert!(
                !self.open.is_empty(),
                "nothing can happen, and it is {:?}",
                self.run
            );
            let chosen = usize::try_from(drawn % self.open.len() as u64).unwrap_or(0);
            let key = self
                .open
                .keys()
                .nth(chosen)
                .cloned()
                .expect("it is one of them");
            let input = self.input(&key);
            self.open.remove(&key);
            let step = self.step(input.clone());
            self.take(step, seen);
            // What happens twice counts once.
            if (drawn / 64).is_multiple_of(8) {
                let before = self.run.clone();
                let again = self.step(input);
                assert_eq!(again.events, []);
                assert_eq!(before, self.run);
            }
            if (drawn / 512).is_multiple_of(8) {
                self.reload();
                seen.reloaded += 1;
            }
        }
        self.reload();
    }

    fn step(&mut self, input: Input) -> Step {
        self.now += 10;
        self.run
            .step(input, &self.limits, self.now)
            .expect("it is taken")
    }

    fn input(&self, key: &str) -> Input {
        let key = key.to_owned();
        match &self.open[&key] {
            Open::Job {
                node,
                iteration,
                attempt,
            } => match outcome(self.plan, node, *iteration, *attempt) {
                Ok(number) => Input::Succeeded {
                    key,
                    output: Output::inline(json!({"n": number})),
                    metrics: None,
                    patch: None,
                },
                Err(retryable) => Input::Failed {
                    key,
                    failure: Failure {
                        message: "boom".to_owned(),
                        retryable,
                    },
                    metrics: None,
                    otherwise: None,
                },
            },
            Open::Timer => Input::TimerDue { key },
            Open::Question { node, iteration } => Input::Decided {
                approved: approves(self.plan, node, *iteration),
                key,
                by: "x".to_owned(),
                data: Value::Null,
            },
        }
    }

    fn take(&mut self, step: Step, seen: &mut Seen) {
        for key in &step.changed {
            let record = self.run.node_record(key).expect("what changed is there");
            self.records.insert(key.clone(), record);
        }
        for event in &step.events {
            self.hear(event, seen);
        }
        for effect in step.effects {
            let (key, open) = match effect {
                Effect::SubmitJob(job) => {
                    let parts: Vec<&str> = job.key.split('.').collect();
                    let numbers = |at: usize| parts[at].parse::<u32>().expect("it is a number");
                    let (iteration, attempt) = (numbers(2), numbers(3));
                    let node = job.node_id.clone();
                    self.attempts.insert((node.clone(), iteration), attempt);
                    (
                        job.key,
                        Open::Job {
                            node,
                            iteration,
                            attempt,
                        },
                    )
                }
                Effect::SetTimer { key, .. } => (key, Open::Timer),
                Effect::OpenApproval(asked) => {
                    let parts: Vec<&str> = asked.key.split('.').collect();
                    let iteration = parts[2].parse().expect("it is a number");
                    let node = asked.node_id.clone().expect("it is about a node");
                    (asked.key, Open::Question { node, iteration })
                }
                other => panic!("nobody asked for {other:?}"),
            };
            assert!(self.keys.insert(key.clone()), "{key} twice");
            self.open.insert(key, open);
        }
    }

    /// No node twice in an iteration, and none before its join.
    fn hear(&mut self, event: &Event, seen: &mut Seen) {
        let Some(id) = &event.node_id else {
            return;
        };
        let iteration = event.data["iteration"].as_u64().unwrap_or(0);
        match event.kind {
            EventKind::NodeStarted => {
                let first = self.started.insert((id.clone(), iteration));
                assert!(first, "{id} is started twice in iteration {iteration}");
                seen.repeated += u32::from(iteration > 0);
                self.check_join(id, seen);
            }
            EventKind::NodeRetrying => {
                seen.retried += 1;
                return;
            }
            EventKind::NodeSkipped => seen.skipped += 1,
            EventKind::NodeCompleted | EventKind::NodeFailed => {}
            _ => return,
        }
        self.last.insert(id.clone(), event.kind);
    }

    fn check_join(&self, id: &str, seen: &mut Seen) {
        let document = self.run.workflow().document();
        let nodes = document["nodes"].as_array().into_iter().flatten();
        let node = nodes
            .into_iter()
            .find(|node| node["id"] == id)
            .expect("it is there");
        let edges = document["edges"].as_array().into_iter().flatten();
        let from: Vec<&str> = edges
            .filter(|edge| edge["to"] == id)
            .filter_map(|edge| edge["from"].as_str())
            .collect();
        let has_ended = |node: &str| {
            let last = self.last.get(node);
            last.is_some_and(|kind| *kind != EventKind::NodeStarted)
        };
        let has_loops = self.plan.nodes.iter().any(|node| node.kind == 6);
        let oracle = has_loops.then(|| Oracle::new(self.plan, document));
        let ended = from
            .iter()
            .filter(|from| {
                let held = oracle.as_ref().map(|oracle| oracle.held_by(from, id));
                has_ended(from) && held.iter().flatten().all(|repeat| has_ended(repeat))
            })
            .count();
        let needed = match &node["join"] {
            Value::String(word) if word == "any" => 1,
            Value::Number(number) => usize::try_from(number.as_u64().unwrap_or(0)).unwrap_or(0),
            _ => from.len(),
        };
        seen.joins += u32::from(from.len() > 1);
        assert!(
            ended >= needed.min(from.len()),
            "{id} before its join: {ended} of {needed}"
        );
    }

    fn reload(&mut self) {
        let records = RunRecords {
            header: self.run.header(),
            nodes: self.records.clone().into_iter().collect(),
        };
        let again = Run::load(Arc::clone(&self.base), &records, &mut |_| None).expect("it loads");
        assert_eq!(again, self.run);
        self.run = again;
    }

    /// Adds a node between two others, or takes an edge away: it is accepted, or it changes nothing.
    fn patch(&mut self, patch: &PatchPlan, number: u64, seen: &mut Seen) {
        let document = self.run.workflow().document();
        let count = self.plan.nodes.len();
        let (a, b) = (
            usize::from(patch.from) % count,
            usize::from(patch.to) % count,
        );
        let (from, to) = (a.min(b), a.max(b));
        let operations = if patch.removes {
            let edges = document["edges"].as_array().map_or(0, Vec::len);
            if edges == 0 {
                return;
            }
            let at = usize::from(patch.to) % edges;
            // Whether a failure was taken care of, what a branch took and whether a condition had a value was
            // decided when it happened.
            let edge = &document["edges"][at];
            let branches = edge["from"].as_str().is_some_and(|from| {
                let plan = self
                    .plan
                    .nodes
                    .get(place(from))
                    .filter(|_| from.starts_with('n'));
                plan.is_some_and(|plan| matches!(plan.kind, 5 | 7))
            });
            if edge["on"] == "failure" || edge["condition"].is_string() || branches {
                return;
            }
            json!([{"op": "remove", "path": format!("/edges/{at}")}])
        } else {
            // What a branch took was decided when it ended.
            if matches!(self.plan.nodes[from].kind, 5 | 7) || from == to {
                return;
            }
            let id = format!("p{}", 100 * number + u64::from(patch.to));
            let mut edge = json!({"from": format!("n{from}"), "to": id});
            // A condition without a value fails its node when it ends, but not afterwards.
            if let (true, Some(condition)) = (
                self.plan.nodes[from].kind < 5 && !self.plan.nodes[from].on_error_continue,
                self.plan.condition(from, patch.over),
            ) {
                edge["condition"] = json!(condition);
            }
            json!([
                {"op": "add", "path": "/nodes/-", "value": {"id": id, "type": "call",
                    "config": {"service": "s", "method": "m"}, "retry": {"max_attempts": 1}}},
                {"op": "add", "path": "/edges/-", "value": edge},
                {"op": "add", "path": "/edges/-", "value": {"from": id, "to": format!("n{to}")}},
            ])
        };
        let request = PatchRequest {
            operations,
            description: String::new(),
            author: "x".to_owned(),
            node_id: None,
            if_version: None,
        };
        self.now += 1;
        let before = self.run.clone();
        match self.run.step(Input::Patch(request), &self.limits, self.now) {
            Ok(step) => {
                seen.patched += 1;
                self.take(step, seen);
            }
            Err(_) => {
                seen.refused += 1;
                assert_eq!(before, self.run);
            }
        }
    }

    fn compare(&self, seen: &mut Seen) {
        let document = self.run.workflow().document().clone();
        let mut oracle = Oracle::new(self.plan, &document);
        oracle.run();
        let views = self.run.nodes();
        let mut failed = false;
        let nodes = document["nodes"].as_array().into_iter().flatten();
        for (at, node) in nodes.enumerate() {
            let id = node["id"].as_str().unwrap_or_default();
            let last = views.iter().rfind(|view| view.node_id == id);
            let last = last.unwrap_or_else(|| panic!("{id} was not decided"));
            let expected = match oracle.ends[at] {
                End::Open => panic!("the oracle does not know what becomes of {id}"),
                End::Done(..) => NodeStatus::Completed,
                End::Skipped { .. } => NodeStatus::Skipped,
                End::Failed { handled, .. } => {
                    failed |= !handled;
                    NodeStatus::Failed
                }
            };
            assert_eq!(last.status, expected, "{id}: {:?}", last.error);
            assert_eq!(last.iteration, oracle.iterations[at], "iterations of {id}");
        }
        assert_eq!(self.attempts, oracle.attempts);
        let expected = if failed {
            RunStatus::Failed
        } else {
            RunStatus::Completed
        };
        assert_eq!(self.run.status(), expected);
        if failed {
            seen.failed += 1;
        } else {
            seen.completed += 1;
        }
    }
}
