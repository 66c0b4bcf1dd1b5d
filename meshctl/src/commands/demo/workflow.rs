//! The workflow of the demo: a branch, a join, and a person who is asked.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, bail, ensure};
use runs::{ApprovalFilter, Decision, EventCursor, EventFilter, NewRun, RunStore};
use serde_json::{Value, json};
use tokio::time::sleep;
use workflow::{Limits, Start, Workflow};

use super::calls::Step;
use crate::local::LocalMesh;

/// How often the store is asked what became of the run.
const LOOK: Duration = Duration::from_millis(20);
/// Who the demo is.
const USER: &str = "demo";

/// A folder for what the demo keeps, which goes when the demo does.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let name = format!("meshctl-demo-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    /// The variables that say where jobs and runs are kept.
    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        let path = |name: &str| self.0.join(name).display().to_string();
        BTreeMap::from([
            ("JOBS_PATH".to_owned(), path("jobs")),
            ("WORKFLOWS_PATH".to_owned(), path("workflows")),
        ])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of it is in the folder of temporary files.
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The weather decides between two trips; a person has to agree to the one that is left.
fn document() -> Value {
    let echo = |id: &str, task: &str| json!({ "id": id, "type": "agent", "config": { "agent": "echo-agent", "task": task } });
    json!({
        "nodes": [
            {"id": "weather", "type": "tool", "config": {
                "tool": "weather-tool", "operation": "get_weather", "parameters": {"location": "$inputs.city"}}},
            {"id": "warm", "type": "conditional", "config": {}},
            echo("river", "A day at the river of ${$inputs.city}"),
            echo("museum", "A day in the museums of ${$inputs.city}"),
            {"id": "trip", "type": "join", "config": {}},
            {"id": "agree", "type": "hitl", "config": {"message": "Shall I book it?"}},
            echo("book", "Booked"),
        ],
        "edges": [
            {"from": "weather", "to": "warm"},
            {"from": "warm", "to": "river", "condition": "ctx.weather.result.temperature >= 20"},
            {"from": "warm", "to": "museum"},
            {"from": "river", "to": "trip"},
            {"from": "museum", "to": "trip"},
            {"from": "trip", "to": "agree"},
            {"from": "agree", "to": "book", "condition": "output.approved"},
        ],
        "metadata": {},
    })
}

/// Carries it out, and tells how it went.
pub(super) async fn carry_out(local: &LocalMesh) -> anyhow::Result<Step> {
    let runner = local.workflow_runner().context("a runner of workflows")?;
    let store = work::open_runs(runner.context())?;
    let run_id = begin(&*store).await?;
    let approval = asked(&*store, &run_id).await?;
    let decision = Decision {
        approved: true,
        by: USER.to_owned(),
        comment: String::new(),
        data: json!({}),
        at: 0,
    };
    store.decide(&approval, &decision).await?;
    ended(&*store, &run_id).await?;
    let completed = completed(&store, &run_id).await?;
    ensure!(
        completed.contains(&"trip".to_owned()) && completed.contains(&"book".to_owned()),
        "the workflow ended without its join or its last node: {completed:?}"
    );
    Ok(Step {
        call: "workflow",
        answered_by: runner.instance_id.clone(),
        what: completed.join(" → "),
    })
}

async fn begin(store: &dyn RunStore) -> anyhow::Result<String> {
    let document = document();
    Workflow::parse(&document, &Limits::default())?;
    let run_id = runs::new_id();
    let start = Start {
        run_id: run_id.clone(),
        owner: USER.to_owned(),
        inputs: json!({ "city": "Paris" }),
        priority: 3,
        ..Start::default()
    };
    let run = NewRun {
        run_id: run_id.clone(),
        owner: USER.to_owned(),
        submitted_by: USER.to_owned(),
        base: ("inline".to_owned(), String::new()),
        workflow: store.put_blob(document.to_string().as_bytes()).await?,
        start: serde_json::to_vec(&start)?,
        priority: 3,
        keep_ms: 3_600_000,
        ..NewRun::default()
    };
    store.create_run(&run, 0).await?;
    Ok(run_id)
}

/// The question that waits for a person.
async fn asked(store: &dyn RunStore, run_id: &str) -> anyhow::Result<String> {
    let filter = ApprovalFilter {
        run_id: Some(run_id.to_owned()),
        pending: true,
        limit: 1,
        ..ApprovalFilter::default()
    };
    loop {
        if let Some(approval) = store.approvals(&filter).await?.pop() {
            return Ok(approval.asked.key);
        }
        let summary = store.run(run_id).await?.summary;
        if summary.ended_at.is_some() {
            let why = summary.error.unwrap_or_default();
            bail!(
                "the workflow is {} before anybody was asked: {why}",
                summary.status
            );
        }
        sleep(LOOK).await;
    }
}

async fn ended(store: &dyn RunStore, run_id: &str) -> anyhow::Result<()> {
    loop {
        let summary = store.run(run_id).await?.summary;
        if summary.ended_at.is_some() {
            let (status, why) = (summary.status, summary.error.unwrap_or_default());
            ensure!(status == "COMPLETED", "the workflow is {status}: {why}");
            return Ok(());
        }
        sleep(LOOK).await;
    }
}

/// The nodes that completed, in their order.
async fn completed(store: &Arc<dyn RunStore>, run_id: &str) -> anyhow::Result<Vec<String>> {
    let filter = EventFilter {
        run_id: Some(run_id.to_owned()),
        owner: None,
    };
    let page = store
        .events(&filter, &EventCursor::default(), 1_000)
        .await?;
    let events = page.events.into_iter().map(|stored| stored.event);
    let completed = events.filter(|event| event["kind"] == "node_completed");
    Ok(completed
        .filter_map(|event| event["node_id"].as_str().map(ToOwned::to_owned))
        .collect())
}
