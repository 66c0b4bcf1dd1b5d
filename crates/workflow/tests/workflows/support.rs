//! A run with all around it. After each step what was stored has to give the same run again.

use std::{collections::BTreeMap, sync::Arc};

use mesh_workflow::{
    ApprovalRequest, ChildRequest, Effect, Event, EventKind, Failure, Input, JobRequest, Limits,
    NodeStatus, Output, Refusal, Run, RunRecords, RunStatus, Start, Step, Workflow,
};
use serde_json::{Value, json};

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) base: Arc<Workflow>,
    pub(crate) run: Run,
    pub(crate) limits: Limits,
    pub(crate) now: u64,
    records: BTreeMap<String, Vec<u8>>,
    blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) jobs: BTreeMap<String, JobRequest>,
    pub(crate) timers: BTreeMap<String, u64>,
    pub(crate) approvals: BTreeMap<String, ApprovalRequest>,
    pub(crate) children: BTreeMap<String, ChildRequest>,
    pub(crate) events: Vec<Event>,
    /// Keys of jobs that were submitted, in order.
    pub(crate) submitted: Vec<String>,
}

pub(crate) fn start(inputs: Value) -> Start {
    Start {
        run_id: "r".to_owned(),
        owner: "me".to_owned(),
        tag: Some("t".to_owned()),
        inputs,
        priority: 3,
        ..Start::default()
    }
}

impl World {
    pub(crate) fn new(document: &Value) -> Self {
        Self::with_inputs(document, json!({}))
    }

    pub(crate) fn with_inputs(document: &Value, inputs: Value) -> Self {
        let limits = Limits::default();
        let base = Arc::new(Workflow::parse(document, &limits).expect("it is valid"));
        let (run, step) = Run::start(Arc::clone(&base), &start(inputs), &limits, 1_000_000);
        Self::of(base, run, step)
    }

    pub(crate) fn of(base: Arc<Workflow>, run: Run, step: Step) -> Self {
        let mut world = Self {
            base,
            run,
            limits: Limits::default(),
            now: 1_000_000,
            records: BTreeMap::new(),
            blobs: BTreeMap::new(),
            jobs: BTreeMap::new(),
            timers: BTreeMap::new(),
            approvals: BTreeMap::new(),
            children: BTreeMap::new(),
            events: Vec::new(),
            submitted: Vec::new(),
        };
        world.store(step);
        world
    }

    pub(crate) fn store_step(&mut self, step: Step) {
        self.store(step);
    }

    /// Stores a step as a runner does, carries its effects out, and compares what is stored with the run.
    fn store(&mut self, step: Step) {
        self.blobs.extend(step.blobs);
        for key in step.changed {
            let record = self.run.node_record(&key).expect("what changed is there");
            self.records.insert(key, record);
        }
        self.events.extend(step.events);
        for effect in step.effects {
            match effect {
                Effect::SubmitJob(job) => {
                    assert!(!self.submitted.contains(&job.key), "{} twice", job.key);
                    let again = self.run.job_request(&job.key).map(|again| JobRequest {
                        delay_ms: job.delay_ms,
                        ..again
                    });
                    assert_eq!(again.as_ref(), Some(&job));
                    self.submitted.push(job.key.clone());
                    self.jobs.insert(job.key.clone(), job);
                }
                Effect::CancelJob { key, .. } => drop(self.jobs.remove(&key)),
                Effect::SetTimer { key, due_at } => drop(self.timers.insert(key, due_at)),
                Effect::ClearTimer { key } => drop(self.timers.remove(&key)),
                Effect::OpenApproval(asked) => {
                    drop(self.approvals.insert(asked.key.clone(), asked));
                }
                Effect::CloseApproval { key } => drop(self.approvals.remove(&key)),
                Effect::StartChild(child) => drop(self.children.insert(child.key.clone(), child)),
                Effect::CancelChild { key } => drop(self.children.remove(&key)),
            }
        }
        let mut waited: Vec<String> = self
            .run
            .jobs_in_flight()
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        waited.sort();
        let submitted: Vec<String> = self.jobs.keys().cloned().collect();
        assert_eq!(waited, submitted, "the run waits for what was submitted");
        self.reload();
    }

    pub(crate) fn reload(&mut self) {
        let records = RunRecords {
            header: self.run.header(),
            nodes: self.records.clone().into_iter().collect(),
        };
        assert!(records.header.len() < 4096, "the header is small");
        for id in Run::blobs(&records) {
            assert!(self.blobs.contains_key(&id), "{id} is missing");
        }
        let mut blob = |id: &str| serde_json::from_slice(self.blobs.get(id)?).ok();
        let again = Run::load(Arc::clone(&self.base), &records, &mut blob).expect("it loads");
        assert_eq!(again, self.run);
        let all: BTreeMap<_, _> = self.run.records().nodes.into_iter().collect();
        for (key, record) in &all {
            assert_eq!(self.records.get(key), Some(record), "{key}");
        }
        self.run = again;
    }

    pub(crate) fn step(&mut self, input: Input) -> Option<Value> {
        self.try_step(input).expect("it is taken")
    }

    pub(crate) fn try_step(&mut self, input: Input) -> Result<Option<Value>, Refusal> {
        self.now += 1;
        let before = self.run.clone();
        match self.run.step(input, &self.limits, self.now) {
            Ok(mut step) => {
                let answer = step.answer.take();
                self.store(step);
                Ok(answer)
            }
            Err(refusal) => {
                assert_eq!(before, self.run, "a refusal changes nothing");
                Err(refusal)
            }
        }
    }

    /// The key of the only job of a node that waits.
    pub(crate) fn job(&self, node: &str) -> String {
        let of_node = self.jobs.iter().filter(|(_, job)| job.node_id == node);
        let keys: Vec<_> = of_node.map(|(key, _)| key.clone()).collect();
        assert_eq!(keys.len(), 1, "jobs of {node}: {keys:?}");
        keys[0].clone()
    }

    pub(crate) fn succeed(&mut self, node: &str, value: Value) {
        let key = self.job(node);
        self.succeed_job(&key, value);
    }

    pub(crate) fn succeed_job(&mut self, key: &str, value: Value) {
        self.jobs.remove(key);
        self.step(Input::Succeeded {
            key: key.to_owned(),
            output: Output::inline(value),
            metrics: Some(json!({"ms": 1})),
            patch: None,
        });
    }

    pub(crate) fn fail(&mut self, node: &str, retryable: bool) {
        let key = self.job(node);
        self.fail_job(&key, retryable);
    }

    pub(crate) fn fail_job(&mut self, key: &str, retryable: bool) {
        self.jobs.remove(key);
        self.step(Input::Failed {
            key: key.to_owned(),
            failure: Failure {
                message: "boom".to_owned(),
                retryable,
            },
            metrics: None,
            otherwise: None,
        });
    }

    /// An attempt fails, and says what the node answers should no other follow.
    pub(crate) fn fail_unless_last(&mut self, key: &str, retryable: bool, otherwise: Value) {
        self.jobs.remove(key);
        self.step(Input::Failed {
            key: key.to_owned(),
            failure: Failure {
                message: "boom".to_owned(),
                retryable,
            },
            metrics: None,
            otherwise: Some(Output::inline(otherwise)),
        });
    }

    pub(crate) fn due(&mut self, key: &str) {
        let due_at = self.timers.remove(key).expect("the timer is set");
        self.now = self.now.max(due_at);
        self.step(Input::TimerDue {
            key: key.to_owned(),
        });
    }

    pub(crate) fn decide(&mut self, key: &str, approved: bool, by: &str) {
        self.approvals.remove(key).expect("it is asked");
        self.step(Input::Decided {
            key: key.to_owned(),
            approved,
            by: by.to_owned(),
            data: json!({"comment": "ok", "data": {"n": 1}}),
        });
    }

    pub(crate) fn status(&self, node: &str) -> NodeStatus {
        let nodes = self.run.nodes();
        let last = nodes.iter().rfind(|view| view.node_id == node);
        last.map_or(NodeStatus::NotExecuted, |view| view.status)
    }

    pub(crate) fn output(&self, node: &str) -> Value {
        let nodes = self.run.nodes();
        let last = nodes.iter().rfind(|view| view.node_id == node);
        let output = last.and_then(|view| view.output.clone());
        output.map_or(Value::Null, |output| (*output).clone())
    }

    pub(crate) fn error(&self, node: &str) -> String {
        let nodes = self.run.nodes();
        let last = nodes.iter().rfind(|view| view.node_id == node);
        last.and_then(|view| view.error.clone()).unwrap_or_default()
    }

    pub(crate) fn count(&self, kind: EventKind, node: &str) -> usize {
        let events = self.events.iter();
        events
            .filter(|event| event.kind == kind && event.node_id.as_deref() == Some(node))
            .count()
    }

    pub(crate) fn is(&self, status: RunStatus) {
        assert_eq!(self.run.status(), status, "{:?}", self.run.error());
        if status.is_final() {
            assert!(self.jobs.is_empty(), "{:?}", self.jobs);
            assert!(self.timers.is_empty(), "{:?}", self.timers);
            assert!(self.approvals.is_empty(), "{:?}", self.approvals);
            assert!(self.children.is_empty(), "{:?}", self.children);
        }
    }
}

/// A workflow of nodes that are jobs, unless they are written out, and edges `a>b`.
pub(crate) fn graph(nodes: &[Value], edges: &[Value]) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|node| match node {
            Value::String(id) => job(id),
            other => other.clone(),
        })
        .collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|edge| match edge {
            Value::String(text) => {
                let (from, to) = text.split_once('>').expect("a>b");
                json!({"from": from, "to": to})
            }
            other => other.clone(),
        })
        .collect();
    json!({"nodes": nodes, "edges": edges})
}

pub(crate) fn job(id: &str) -> Value {
    json!({"id": id, "type": "call", "config": {"service": "s", "method": "p.S/M"}})
}

/// A job with more fields.
pub(crate) fn job_with(id: &str, fields: &Value) -> Value {
    let mut node = job(id);
    if let (Value::Object(node), Value::Object(fields)) = (&mut node, fields) {
        node.extend(fields.clone());
    }
    node
}
