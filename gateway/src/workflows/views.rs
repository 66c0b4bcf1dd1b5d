//! What the doors answer.

use std::collections::BTreeMap;

use runs::{RunSummary, Tag};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use workflow::{Mistake, RunStatus};

use crate::job_view::time;

/// A workflow's name, and what it names.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!(TagView::example()))]
pub(crate) struct TagView {
    /// The name.
    tag: String,
    /// Whose it is; `_global_` for one that all may use.
    owner: String,
    /// The artifact that it names.
    target_id: String,
    /// `dag_version` or `patch_set`.
    target_kind: String,
    /// `sha256:…` of its content.
    target_hash: String,
    /// How often the name moved.
    version: u64,
    /// The number of the version that it names.
    seq: u64,
    /// When it moved last.
    moved_at: Option<String>,
    /// Who made it.
    created_by: String,
    /// Who moved it last.
    moved_by: String,
}

impl TagView {
    pub(crate) fn example() -> Value {
        json!({
            "tag": "main", "owner": "test-user", "target_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60",
            "target_kind": "dag_version", "target_hash": "sha256:e3b0c442…", "version": 1, "seq": 1,
            "moved_at": "2026-01-02T03:04:05.678Z", "created_by": "test-user", "moved_by": "test-user",
        })
    }

    pub(crate) fn of(tag: &Tag) -> Self {
        Self {
            tag: tag.tag.clone(),
            owner: tag.owner.clone(),
            target_id: tag.target.artifact_id.clone(),
            target_kind: tag.target.kind.clone(),
            target_hash: tag.target.cas_id.clone(),
            version: tag.version,
            seq: tag.seq,
            moved_at: time(tag.moved_at),
            created_by: tag.created_by.clone(),
            moved_by: tag.moved_by.clone(),
        }
    }
}

/// The status of a run.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(dead_code, reason = "it describes the word that a store has kept")]
pub(crate) enum RunStatusWord {
    /// Taken in, not started.
    Queued,
    /// Something of it runs, or may run.
    Running,
    /// Nothing of it runs, and a person has to decide.
    WaitingForApproval,
    /// Every node is decided, and no failure is left.
    Completed,
    /// A node failed for good, or a deadline passed.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

/// A run.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!(RunView::example()))]
pub(crate) struct RunView {
    /// Its id.
    pub(crate) run_id: String,
    /// What it was made from: `dag_version`, `patch_set` or `inline`.
    base_kind: String,
    /// The artifact, or the hash of what came with the request.
    base_ref: String,
    /// What its workflow's name meant when it was submitted.
    #[schema(value_type = Object)]
    tags_snapshot: Value,
    /// Its status.
    #[schema(value_type = RunStatusWord)]
    pub(crate) status: String,
    /// Who submitted it.
    submitted_by: String,
    /// When.
    submitted_at: Option<String>,
    /// Whose it is.
    owner: String,
    /// The name that it was started by.
    tag: Option<String>,
    /// When it started.
    started_at: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// Why it failed.
    error: Option<String>,
    /// Nodes that run or wait now.
    active_nodes: Vec<String>,
    /// To find it by.
    labels: BTreeMap<String, String>,
    /// The run that it is a child of.
    parent_run_id: Option<String>,
}

impl RunView {
    pub(crate) fn example() -> Value {
        json!({
            "run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "base_kind": "dag_version",
            "base_ref": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60",
            "tags_snapshot": {"main": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60"}, "status": "COMPLETED",
            "submitted_by": "test-user", "submitted_at": "2026-01-02T03:04:05.678Z",
            "owner": "test-user", "tag": "main", "started_at": "2026-01-02T03:04:05.681Z",
            "ended_at": "2026-01-02T03:04:05.702Z", "error": null, "active_nodes": [], "labels": {},
            "parent_run_id": null,
        })
    }

    pub(crate) fn of(run: &RunSummary) -> Self {
        Self {
            run_id: run.run_id.clone(),
            base_kind: run.base.0.clone(),
            base_ref: run.base.1.clone(),
            tags_snapshot: run.tags_snapshot.clone(),
            status: run.status.clone(),
            submitted_by: run.submitted_by.clone(),
            submitted_at: time(run.submitted_at),
            owner: run.owner.clone(),
            tag: run.tag.clone(),
            started_at: run.started_at.and_then(time),
            ended_at: run.ended_at.and_then(time),
            error: run.error.as_deref().map(crate::job_view::error),
            active_nodes: run.active_nodes.clone(),
            labels: run.labels.clone(),
            parent_run_id: run.parent.as_ref().map(|(run_id, _)| run_id.clone()),
        }
    }

    /// Whether it has ended.
    pub(crate) fn is_final(status: &str) -> bool {
        RunStatus::of(status).is_some_and(RunStatus::is_final)
    }
}

/// A run as the predecessor's command line reads it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "status": "running",
    "started_at": "2026-01-02T03:04:05.681Z", "ended_at": null, "active_nodes": ["enrich"]}))]
pub(crate) struct ShortRun {
    /// Its id.
    run_id: String,
    /// Its status, in lower case.
    status: String,
    /// When it started; before that, when it was submitted.
    started_at: Option<String>,
    /// When it ended.
    ended_at: Option<String>,
    /// Nodes that run or wait now.
    active_nodes: Vec<String>,
}

impl ShortRun {
    pub(crate) fn of(run: &RunSummary) -> Self {
        Self {
            run_id: run.run_id.clone(),
            status: run.status.to_ascii_lowercase(),
            started_at: time(run.started_at.unwrap_or(run.submitted_at)),
            ended_at: run.ended_at.and_then(time),
            active_nodes: run.active_nodes.clone(),
        }
    }
}

/// A mistake in a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MistakeView {
    /// Where, a JSON pointer such as `/nodes/3/config/task`.
    path: String,
    /// What is wrong, and what is expected.
    message: String,
}

impl MistakeView {
    pub(crate) fn of(mistake: &Mistake) -> Self {
        Self {
            path: mistake.path.clone(),
            message: mistake.message.clone(),
        }
    }
}
