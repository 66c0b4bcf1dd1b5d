//! Runs as the doors see them.

use std::collections::BTreeMap;

use serde_json::Value;

/// A header, and node records by their keys.
pub type Records = (Vec<u8>, Vec<(String, Vec<u8>)>);

/// A run to be created.
#[derive(Debug, Clone, Default)]
pub struct NewRun {
    /// A UUID, best of [`new_id`](crate::new_id); of a child, [`id_of`](crate::id_of) the key of its parent. A
    /// known id: nothing happens again.
    pub run_id: String,
    /// Whose.
    pub owner: String,
    /// Who submitted it.
    pub submitted_by: String,
    /// The tag that it was started by.
    pub tag: Option<String>,
    /// What it was made from: `tag`, `dag_version` or `inline`, and the name or id of it.
    pub base: (String, String),
    /// What the tags of its owner named when it was created, for people.
    pub tags_snapshot: Value,
    /// `sha256:…` of the whole workflow, which [`RunStore::put_blob`](crate::RunStore::put_blob) stored. As an
    /// artifact of the kind `run_snapshot` its id is the run's.
    pub workflow: String,
    /// The `workflow::Start` that it begins with, JSON.
    pub start: Vec<u8>,
    /// Header and node records that it begins with: a fork's. Else it begins from nothing.
    pub forked: Option<Records>,
    /// 1 to 5.
    pub priority: u8,
    /// To find it by.
    pub labels: BTreeMap<String, String>,
    /// The client's name for it, and a fingerprint of what it sent.
    pub idempotency: Option<(String, String)>,
    /// The run that it is a child of, and the key that this knows it by.
    pub parent: Option<(String, String)>,
    /// How long it is kept once it has ended.
    pub keep_ms: u64,
    /// How many ended runs of its owner and tag are kept besides, the latest; 0: any number.
    pub keep_last: u32,
}

/// What became of a [`NewRun`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateOutcome {
    /// It is there now.
    Created,
    /// It was there before: this run, from the same request.
    Existing(String),
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    /// Its id.
    pub run_id: String,
    /// Whose.
    pub owner: String,
    /// Who submitted it.
    pub submitted_by: String,
    /// The tag that it was started by.
    pub tag: Option<String>,
    /// What it was made from.
    pub base: (String, String),
    /// What the tags named then.
    pub tags_snapshot: Value,
    /// `workflow::RunStatus`, its word.
    pub status: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Unix milliseconds.
    pub submitted_at: u64,
    /// Unix milliseconds.
    pub started_at: Option<u64>,
    /// Unix milliseconds.
    pub ended_at: Option<u64>,
    /// To find it by.
    pub labels: BTreeMap<String, String>,
    /// Nodes that run or wait now.
    pub active_nodes: Vec<String>,
    /// The run that it is a child of, and its key there.
    pub parent: Option<(String, String)>,
}

/// All that is kept of a run: enough for `workflow::Run::load`.
#[derive(Debug, Clone)]
pub struct RunRecord {
    /// For people.
    pub summary: RunSummary,
    /// `sha256:…` of the workflow that it was started with.
    pub workflow: String,
    /// How long it is kept once it has ended.
    pub keep_ms: u64,
    /// The `workflow::Start`, JSON.
    pub start: Vec<u8>,
    /// The header; empty before it was started.
    pub header: Vec<u8>,
    /// The node records.
    pub nodes: Vec<(String, Vec<u8>)>,
}

/// A run that a runner takes over.
pub type StoredRun = RunRecord;

/// Which runs are listed. Latest first.
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    /// Its word.
    pub status: Option<String>,
    /// The tag.
    pub tag: Option<String>,
    /// Whose.
    pub owner: Option<String>,
    /// Submitted at or after, Unix milliseconds.
    pub since: Option<u64>,
    /// Submitted before, Unix milliseconds.
    pub until: Option<u64>,
    /// All of these labels.
    pub labels: BTreeMap<String, String>,
    /// A part of the id, the tag or the error.
    pub q: Option<String>,
    /// Where the page before ended.
    pub cursor: Option<String>,
    /// How many, at most 1,000.
    pub limit: usize,
}

/// A page of runs.
#[derive(Debug, Clone, Default)]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunSummary>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Something that a door wants of the owner of a run's shard.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// The run.
    pub run_id: String,
    /// A UUID; a known one: nothing happens again.
    pub id: String,
    /// `signal`, `patch`, `patch_decided`, `cancel`, `terminate`, `pause`, `resume`, `retry`, `decided`,
    /// `child_ended`.
    pub kind: String,
    /// The fields of the `workflow::Input` of that kind.
    pub body: Value,
}

/// What the owner answered.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandAnswer {
    /// An HTTP status: 200, 400, 409, 422.
    pub status: u16,
    /// `{"message": …, "path": …}` of a refusal, else what the input was answered with.
    pub body: Value,
}
