//! An agent that patches its run while those who run its attempts are killed.

use std::{collections::BTreeMap, future::pending, sync::Arc, time::Duration};

use agentkit::{About, Agent, OutputStream, Task, TaskError, TaskOutcome};
use discovery::backends::Memory;
use mesh_testkit::{local, until};
use parking_lot::Mutex;
use runs::{Command, RunStore};
use serde_json::{Value, json};
use service::Spec;
use tokio::time::sleep;
use workflow::EventKind;

use crate::{
    audit::counts,
    fleet::{Fleet, PATIENCE},
    load::create,
};

const SPEC: Spec = Spec {
    program: "patching-agent",
    service: "agent-patching",
    tags: &["agent"],
    about: "Patches its run",
    ..agentkit::AGENT
};

/// The keys of the attempts, in order.
type Attempts = Arc<Mutex<Vec<String>>>;

#[derive(Debug)]
struct Patching {
    attempts: Attempts,
    store: Arc<dyn RunStore>,
}

/// Operations that add a node after `a`.
fn add(node: &str) -> Value {
    let task =
        json!({"id": node, "type": "agent", "config": {"agent": "echo-agent", "task": node}});
    json!([
        {"op": "add", "path": "/nodes/-", "value": task},
        {"op": "add", "path": "/edges/-", "value": {"from": "a", "to": node}},
    ])
}

/// Each attempt patches the run as a client does, for its node. The first two then never end; the third one's
/// answer also patches the run itself.
#[async_trait::async_trait]
impl Agent for Patching {
    async fn run(&self, task: &Task, _: &OutputStream) -> Result<TaskOutcome, TaskError> {
        let run_id = task.id.split('.').next().unwrap_or_default().to_owned();
        let command = Command {
            run_id,
            id: runs::new_id(),
            kind: "patch".to_owned(),
            body: json!({"operations": add("more"), "description": "more", "author": "patching-agent",
                "node_id": "a"}),
        };
        self.store.send(&command).await.unwrap();
        let answer = loop {
            let answers = self.store.answers(std::slice::from_ref(&command.id)).await;
            match answers.ok().and_then(|mut answers| answers.pop()) {
                Some((_, answer)) => break answer,
                None => sleep(Duration::from_millis(10)).await,
            }
        };
        assert_eq!(answer.status, 200, "{:?}", answer.body);
        let attempt = {
            let mut attempts = self.attempts.lock();
            attempts.push(task.id.clone());
            attempts.len()
        };
        if attempt < 3 {
            return pending().await;
        }
        Ok(TaskOutcome {
            output: "patched".to_owned(),
            metadata: BTreeMap::from([("workflow_patch", add("added").to_string())]),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_attempts_are_killed_and_repeated_patches_its_run_once() {
    const ABOUT: About = About {
        name: "Patching",
        description: "Patches its run",
        ..About::EMPTY
    };
    let mut fleet = Fleet::start().await;
    let (attempts, store) = (Attempts::default(), Arc::clone(&fleet.store));
    let agent = Patching {
        attempts: Arc::clone(&attempts),
        store,
    };
    let build = move |context: &service::Context| Ok(agentkit::serve_agent(context, ABOUT, agent));
    let serving = local::start(&SPEC, build, &Arc::new(Memory::new()), &[]).await;
    fleet.register(SPEC.service, serving.grpc_addr).await;
    let retry = json!({"max_attempts": 5, "backoff_ms": 50});
    let a = json!({"id": "a", "type": "agent", "retry": retry,
        "config": {"agent": "patching-agent", "task": "patch it"}});
    let b = json!({"id": "b", "type": "agent", "config": {"agent": "echo-agent", "task": "b"}});
    let graph = json!({"nodes": [a, b], "edges": [{"from": "a", "to": "b"}]});
    let run_id = create(&*fleet.store, &graph).await;
    for attempt in 1..3 {
        let begun = async || (attempts.lock().len() == attempt).then_some(());
        until("an attempt has begun and patched", PATIENCE, begun).await;
        // One of them has it.
        for runner in 0..2 {
            fleet.kill_job_runner(runner).await;
        }
    }
    let ended = async || {
        let summary = fleet.store.summary(&run_id).await.ok()?;
        summary.ended_at.map(|_| summary.status)
    };
    assert_eq!(until("it ended", PATIENCE, ended).await, "COMPLETED");
    let keys: Vec<String> = (1..4).map(|n| format!("{run_id}.a.0.{n}")).collect();
    assert_eq!(*attempts.lock(), keys);
    let counts = counts(&*fleet.store).await;
    let of = |kind, node: &str| {
        let key = (run_id.clone(), kind, node.to_owned());
        counts.get(&key).copied().unwrap_or(0)
    };
    for node in ["a", "b", "more", "added"] {
        assert_eq!(of(EventKind::NodeCompleted, node), 1, "{node}");
    }
    assert_eq!(of(EventKind::NodeRetrying, "a"), 2);
    let patches = |wanted| {
        let all = counts.iter().filter(|((_, kind, _), _)| *kind == wanted);
        all.map(|(_, times)| times).sum::<usize>()
    };
    // What a client wants and what the answer wants count once each; those of the killed attempts do not.
    assert_eq!(patches(EventKind::PatchApplied), 2);
    assert_eq!(patches(EventKind::PatchRefused), 2);
    serving.drain().await;
}
