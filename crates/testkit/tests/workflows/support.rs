//! A mesh that carries out workflows within the test, and what is asked of it.

use std::{collections::BTreeMap, ffi::OsStr, sync::Arc, time::Duration};

use discovery::backends::Memory;
use mesh_testkit::{local, until};
use runs::{Command, NewRun, RunStore};
use serde_json::{Value, json};
use service::ServerHandle;
use tempfile::TempDir;
use workflow::{Event, EventKind, Limits, Run, RunRecords, RunStatus, Start, Workflow};

use crate::agent::{self, Asked, AtOnce};

/// Longer than anything takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A job runner and a workflow runner around two agents, on stores in one folder.
pub(crate) struct Mesh {
    pub(crate) store: Arc<dyn RunStore>,
    pub(crate) asked: Asked,
    at_once: AtOnce,
    registry: Arc<Memory>,
    agents: Vec<ServerHandle>,
    runners: Vec<ServerHandle>,
    folder: TempDir,
}

impl Mesh {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// One with these keys for its workflow runner.
    pub(crate) async fn with(set: &[(&str, &str)]) -> Self {
        let (registry, folder) = (Arc::new(Memory::new()), TempDir::new().unwrap());
        let (asked, at_once) = (Asked::default(), AtOnce::default());
        let helper = agent::build(Arc::clone(&asked), Arc::clone(&at_once));
        let agents = vec![
            local::start(&agent::SPEC, helper, &registry, &[]).await,
            program("echo-agent", &registry, &[]).await,
        ];
        let runners = runners(&registry, &folder, set).await;
        Self {
            store: work::open_runs(runners[1].context()).unwrap(),
            asked,
            at_once,
            registry,
            agents,
            runners,
            folder,
        }
    }

    /// How many tasks the helper had at once at most.
    pub(crate) fn most(&self) -> usize {
        self.at_once.lock().1
    }

    /// Drops the workflow runner, which leaves its shards to their leases, and starts another.
    pub(crate) async fn replace_workflow_runner(&mut self, set: &[(&str, &str)]) {
        drop(self.runners.pop());
        let mut fresh = runners(&self.registry, &self.folder, set).await;
        self.runners.extend(fresh.pop());
        while let Some(spare) = fresh.pop() {
            spare.drain().await;
        }
    }

    /// Ends both runners and starts them again. The stores are closed between.
    pub(crate) async fn restart(self, between: Duration) -> Self {
        let Self {
            store,
            asked,
            at_once,
            registry,
            agents,
            runners: mut old,
            folder,
        } = self;
        drop(store);
        while let Some(runner) = old.pop() {
            runner.drain().await;
        }
        tokio::time::sleep(between).await;
        let runners = runners(&registry, &folder, &[]).await;
        Self {
            store: work::open_runs(runners[1].context()).unwrap(),
            asked,
            at_once,
            registry,
            agents,
            runners,
            folder,
        }
    }

    /// Ends the workflow runner; a restart brings it back.
    pub(crate) async fn without_workflow_runner(mut self) -> Self {
        if let Some(runner) = self.runners.pop() {
            runner.drain().await;
        }
        self
    }

    pub(crate) async fn drain(self) {
        drop(self.store);
        for running in self.runners.into_iter().rev().chain(self.agents) {
            running.drain().await;
        }
        drop(self.registry);
    }

    /// Begins a run of a workflow.
    pub(crate) async fn begin(&self, workflow: &Value, inputs: Value) -> String {
        self.begin_as("ann", workflow, inputs).await
    }

    /// The same of another owner.
    pub(crate) async fn begin_as(&self, owner: &str, workflow: &Value, inputs: Value) -> String {
        let parsed = Workflow::parse(workflow, &Limits::default());
        parsed.unwrap_or_else(|invalid| panic!("{:?}", invalid.mistakes));
        let content = workflow.to_string();
        let (run_id, owner) = (runs::new_id(), owner.to_owned());
        let start = Start {
            run_id: run_id.clone(),
            owner: owner.clone(),
            tag: None,
            inputs,
            priority: 3,
            trace: BTreeMap::new(),
            parent: None,
        };
        let run = NewRun {
            run_id: run_id.clone(),
            owner: owner.clone(),
            submitted_by: owner,
            base: ("inline".to_owned(), String::new()),
            workflow: self.store.put_blob(content.as_bytes()).await.unwrap(),
            start: serde_json::to_vec(&start).unwrap(),
            priority: 3,
            keep_ms: 3_600_000,
            ..NewRun::default()
        };
        self.store.create_run(&run, 0).await.unwrap();
        run_id
    }

    /// A run as it is stored; `None` before it has begun.
    pub(crate) async fn look(&self, run_id: &str) -> Option<Run> {
        let record = self.store.run(run_id).await.unwrap();
        if record.header.is_empty() {
            return None;
        }
        let document = self.blob(&record.workflow).await;
        let workflow = Workflow::parse(&document, &Limits::default()).unwrap();
        let records = RunRecords {
            header: record.header,
            nodes: record.nodes,
        };
        let mut blobs = BTreeMap::new();
        for id in Run::blobs(&records) {
            let value = self.blob(&id).await;
            blobs.insert(id, value);
        }
        let mut blob = |id: &str| blobs.get(id).cloned();
        Some(Run::load(Arc::new(workflow), &records, &mut blob).unwrap())
    }

    async fn blob(&self, id: &str) -> Value {
        let content = self.store.blobs(&[id.to_owned()]).await.unwrap();
        serde_json::from_slice(&content[0]).unwrap()
    }

    /// Waits until a run has a status.
    pub(crate) async fn becomes(&self, run_id: &str, status: RunStatus) -> Run {
        until(&format!("{run_id} is {status:?}"), PATIENCE, async || {
            let run = self.look(run_id).await?;
            let is = run.status();
            assert!(
                !is.is_final() || is == status,
                "it is {is:?}: {:?} {:#?}",
                run.error(),
                run.nodes()
            );
            (is == status).then_some(run)
        })
        .await
    }

    /// Begins a run and waits until it has ended well.
    pub(crate) async fn carry_out(&self, workflow: &Value, inputs: Value) -> (String, Run) {
        let id = self.begin(workflow, inputs).await;
        let run = self.becomes(&id, RunStatus::Completed).await;
        (id, run)
    }

    /// What happened to a run, in order.
    pub(crate) async fn events(&self, run_id: &str) -> Vec<Event> {
        let filter = runs::EventFilter {
            run_id: Some(run_id.to_owned()),
            owner: None,
        };
        let after = runs::EventCursor::default();
        let page = self.store.events(&filter, &after, 10_000).await.unwrap();
        let events = page.events.into_iter();
        events
            .map(|stored| serde_json::from_value(stored.event).unwrap())
            .collect()
    }

    /// How often something happened to a node.
    pub(crate) async fn count(&self, run_id: &str, kind: EventKind, node: &str) -> usize {
        let events = self.events(run_id).await;
        let of_node = |event: &&Event| event.kind == kind && event.node_id.as_deref() == Some(node);
        events.iter().filter(of_node).count()
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn send(&self, run_id: &str, kind: &str, body: Value) -> (u16, Value) {
        let id = runs::new_id();
        let command = Command {
            run_id: run_id.to_owned(),
            id: id.clone(),
            kind: kind.to_owned(),
            body,
        };
        self.store.send(&command).await.unwrap();
        let answer = until("the command is answered", PATIENCE, async || {
            let answers = self.store.answers(std::slice::from_ref(&id)).await.unwrap();
            answers.into_iter().next()
        })
        .await;
        (answer.1.status, answer.1.body)
    }
}

async fn runners(
    registry: &Arc<Memory>,
    folder: &TempDir,
    set: &[(&str, &str)],
) -> Vec<ServerHandle> {
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (jobs, runs) = (path("jobs"), path("runs"));
    let both = [("jobs_path", jobs.as_str()), ("workflows_path", &runs)];
    let workflows = [&both[..], set].concat();
    let jobs = [
        both[0],
        ("workers", "16"),
        ("allow_external_requests", "yes"),
        ("external_allow_hosts", "127.0.0.1"),
    ];
    vec![
        program("job-runner", registry, &jobs).await,
        program("workflow-runner", registry, &workflows).await,
    ]
}

async fn program(name: &str, registry: &Arc<Memory>, set: &[(&str, &str)]) -> ServerHandle {
    let (spec, build) = programs::named(OsStr::new(name)).unwrap();
    local::start(&spec, build, registry, set).await
}

/// A workflow of these nodes and edges.
#[expect(
    clippy::needless_pass_by_value,
    reason = "a call reads as the graph does"
)]
pub(crate) fn graph(nodes: Value, edges: &[(&str, &str)]) -> Value {
    let edges = edges
        .iter()
        .map(|(from, to)| json!({ "from": from, "to": to }));
    json!({ "nodes": nodes, "edges": edges.collect::<Vec<_>>(), "metadata": {} })
}

/// A node that gives the helper a task.
pub(crate) fn task(id: &str, task: &str) -> Value {
    json!({ "id": id, "type": "agent", "config": { "agent": "helper-agent", "task": task } })
}

/// The output of a node.
pub(crate) fn output(run: &Run, node: &str) -> Value {
    let nodes = run.nodes();
    let found = nodes.iter().find(|view| view.node_id == node);
    let output = found.and_then(|view| view.output.clone());
    output.map_or(Value::Null, |output| (*output).clone())
}

/// The status of a node.
pub(crate) fn status(run: &Run, node: &str) -> workflow::NodeStatus {
    let nodes = run.nodes();
    let found = nodes.iter().find(|view| view.node_id == node);
    found.map_or(workflow::NodeStatus::NotExecuted, |view| view.status)
}
