//! A run with all that happened in it.

use std::{collections::BTreeMap, sync::Arc};

use runs::{Error, RunRecord};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use workflow::{Limits, NodeStatus, NodeView, PatchView, Run, RunRecords, Workflow};

use super::{Workflows, commands::unknown_run, ids, ir, versions::count, views::RunView};
use crate::{
    job_view::{error, time},
    problem::Problem,
};

/// A run, read as a whole.
#[derive(Debug)]
pub(crate) struct LoadedRun {
    pub(crate) record: RunRecord,
    /// The workflow that it was started with.
    pub(crate) base: Arc<Workflow>,
    /// `None` before it has started.
    pub(crate) run: Option<Run>,
}

/// What one node did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NodeExecution {
    /// The node.
    node_id: String,
    /// `not_executed`, `running`, `waiting_for_approval`, `completed`, `failed`, `skipped` or
    /// `cancelled`.
    status: &'static str,
    /// Its configuration, filled in.
    #[schema(value_type = Option<Object>)]
    input: Option<Value>,
    /// What it answered.
    #[serde(serialize_with = "shared")]
    #[schema(value_type = Option<Object>)]
    output: Option<Arc<Value>>,
    /// `sha256:…` of an output that is kept by itself.
    output_ref: Option<String>,
    /// When it started.
    started_at: Option<String>,
    /// When it ended.
    completed_at: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// What it cost, as of a job.
    #[schema(value_type = Option<Object>)]
    metrics: Option<Value>,
    /// How many attempts were started.
    attempt: u32,
    /// In a loop, the latest iteration, from 0.
    iteration: u32,
}

/// A value that others hold too.
fn shared<S: Serializer>(value: &Option<Arc<Value>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

impl NodeExecution {
    fn none(node_id: &str, status: NodeStatus) -> Self {
        Self {
            node_id: node_id.to_owned(),
            status: status.as_str(),
            input: None,
            output: None,
            output_ref: None,
            started_at: None,
            completed_at: None,
            error: None,
            metrics: None,
            attempt: 0,
            iteration: 0,
        }
    }

    fn of(node: NodeView) -> Self {
        Self {
            status: node.status.as_str(),
            input: node.input,
            output: node.output,
            output_ref: node.blob,
            started_at: node.started_at.and_then(time),
            completed_at: node.completed_at.and_then(time),
            error: node.error.as_deref().map(error),
            metrics: node.metrics,
            attempt: node.attempt,
            iteration: node.iteration,
            node_id: node.node_id,
        }
    }
}

/// A run with all that happened in it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"run": RunView::example(),
    "base_workflow_ir": {"nodes": [{"id": "a", "type": "noop"}], "edges": []},
    "workflow_ir": {"version": "1.0", "nodes": {"a": {"id": "a", "type": "noop", "dependents": [],
        "dependencies": [], "is_terminal": true, "wait_for_all": false}}, "edges": [], "metadata": {}},
    "node_executions": {"a": {"node_id": "a", "status": "completed", "input": null, "output": {},
        "output_ref": null, "started_at": "2026-01-02T03:04:05.681Z",
        "completed_at": "2026-01-02T03:04:05.682Z", "error": null, "metrics": null, "attempt": 1,
        "iteration": 0}},
    "node_outputs_raw": {"a": {}}, "patches": [], "output": {}}))]
pub(crate) struct RunDetails {
    /// The run.
    run: RunView,
    /// The workflow that it was started with.
    #[schema(value_type = Object)]
    base_workflow_ir: Value,
    /// Its graph now, patches included: the nodes by id.
    #[schema(value_type = Object)]
    workflow_ir: Value,
    /// What each node did, by id.
    node_executions: BTreeMap<String, NodeExecution>,
    /// The outputs by node, and under `<node>_failure` why one failed.
    #[schema(value_type = Object)]
    node_outputs_raw: Value,
    /// The patches that count.
    patches: Vec<PatchDetails>,
    /// What the run answers, once it has completed.
    #[schema(value_type = Option<Object>)]
    output: Option<Value>,
}

/// A patch, with what it changes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatchDetails {
    /// Its number, from 1.
    seq: u64,
    /// The node that asked for it.
    node_id: Option<String>,
    /// The operations.
    #[schema(value_type = Vec<Object>)]
    operations: Value,
    /// What was said of it.
    description: String,
}

/// A patch of a run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"id": "0193a7c0-f2b1-800d-8e1f-8a3c2d4e5f62",
    "run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "artifact_id": "0193a7c0-f2b1-800d-8e1f-8a3c2d4e5f62",
    "cas_id": "sha256:e3b0c442…", "seq": 1, "op_count": 2, "description": "tell sales", "created_by": "test-user",
    "node_id": null, "created_at": "2026-01-02T03:04:05.678Z", "depth": 1, "state": "applied"}))]
pub(crate) struct PatchSummary {
    /// Its id.
    pub(crate) id: String,
    /// The run.
    run_id: String,
    /// The same as its id.
    artifact_id: String,
    /// `sha256:…` of its operations.
    pub(crate) cas_id: String,
    /// Its number, from 1.
    seq: u64,
    /// How many operations it has.
    op_count: u32,
    /// What was said of it.
    description: String,
    /// Who asked.
    created_by: String,
    /// The node that asked for it.
    node_id: Option<String>,
    /// When.
    created_at: Option<String>,
    /// As its number.
    depth: u64,
    /// `applied`, `refused`, `proposed` while a person has to agree, or `pending` until its node has
    /// succeeded.
    pub(crate) state: String,
}

impl PatchSummary {
    pub(crate) fn of(run_id: &str, patch: &PatchView) -> Self {
        let id = ids::of(&["patch", run_id, &patch.seq.to_string()]);
        Self {
            artifact_id: id.clone(),
            id,
            run_id: run_id.to_owned(),
            cas_id: runs::content_id(patch.operations.to_string().as_bytes()),
            seq: patch.seq,
            op_count: count(&patch.operations),
            description: patch.description.clone(),
            created_by: patch.author.clone(),
            node_id: patch.node_id.clone(),
            created_at: time(patch.created_at),
            depth: patch.seq,
            state: patch.state.clone(),
        }
    }
}

impl Workflows {
    /// A run with what its records say.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn load(&self, run_id: &str) -> Result<LoadedRun, Problem> {
        let store = self.store();
        let record = self.ask(store.run(run_id)).await.map_err(unknown_run)?;
        let damaged = |text: String| Problem::from(Error::Damaged(text));
        let blob = self
            .ask(store.blobs(std::slice::from_ref(&record.workflow)))
            .await?;
        let text = blob.first().map(Vec::as_slice).unwrap_or_default();
        let document: Value = serde_json::from_slice(text).map_err(|it| damaged(it.to_string()))?;
        let base = Workflow::parse(&document, &Limits::default());
        let base = Arc::new(base.map_err(|invalid| damaged(invalid.to_string()))?);
        let run = if record.header.is_empty() {
            None
        } else {
            let records = RunRecords {
                header: record.header.clone(),
                nodes: record.nodes.clone(),
            };
            let outputs = self.outputs(&records).await?;
            let mut output = |id: &str| outputs.get(id).cloned();
            let run = Run::load(base.clone(), &records, &mut output);
            Some(run.map_err(|refusal| damaged(refusal.to_string()))?)
        };
        Ok(LoadedRun { record, base, run })
    }

    /// The outputs that are kept by themselves.
    async fn outputs(&self, records: &RunRecords) -> Result<BTreeMap<String, Value>, Problem> {
        let names = Run::blobs(records);
        if names.is_empty() {
            return Ok(BTreeMap::new());
        }
        let contents = self.ask(self.store().blobs(&names)).await?;
        let pairs = names.into_iter().zip(contents);
        let read = pairs.filter_map(|(id, text)| Some((id, serde_json::from_slice(&text).ok()?)));
        Ok(read.collect())
    }
}

impl LoadedRun {
    /// The graph as it is now.
    pub(crate) fn document(&self) -> &Value {
        let run = self.run.as_ref();
        run.map_or_else(|| self.base.document(), |run| run.workflow().document())
    }

    pub(crate) fn patches(&self) -> Vec<PatchView> {
        self.run.as_ref().map(Run::patches).unwrap_or_default()
    }

    pub(crate) fn details(self) -> RunDetails {
        let document = self.document().clone();
        let mut nodes = BTreeMap::new();
        for node in document["nodes"].as_array().into_iter().flatten() {
            if let Some(id) = node["id"].as_str() {
                let none = NodeExecution::none(id, NodeStatus::NotExecuted);
                nodes.insert(id.to_owned(), none);
            }
        }
        let mut outputs = Map::new();
        for node in self.run.iter().flat_map(Run::nodes) {
            let known = nodes.get(&node.node_id);
            if known.is_some_and(|known| known.iteration > node.iteration) {
                continue;
            }
            let id = node.node_id.clone();
            if let Some(output) = &node.output {
                outputs.insert(id.clone(), Value::clone(output));
            }
            if let Some(reason) = &node.error {
                let failure = json!({"status": "failed", "error": error(reason)});
                outputs.insert(format!("{id}_failure"), failure);
            }
            nodes.insert(id, NodeExecution::of(node));
        }
        let applied = self
            .patches()
            .into_iter()
            .filter(|patch| patch.state == "applied");
        let patches = applied.map(|patch| PatchDetails {
            seq: patch.seq,
            node_id: patch.node_id,
            operations: patch.operations,
            description: patch.description,
        });
        let completed = self
            .run
            .as_ref()
            .filter(|run| run.status() == workflow::RunStatus::Completed);
        RunDetails {
            run: RunView::of(&self.record.summary),
            base_workflow_ir: self.base.document().clone(),
            workflow_ir: ir::graph(&document),
            node_executions: nodes,
            node_outputs_raw: outputs.into(),
            patches: patches.collect(),
            output: completed.map(Run::output),
        }
    }
}
