//! Workflows: content, versions, and tags that name them.

use serde::{Deserialize, Serialize};

/// Content that was stored, and what it is: a whole workflow, or a patch of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// A UUID.
    pub artifact_id: String,
    /// `dag_version` or `patch_set`, or `run_snapshot` of a run.
    pub kind: String,
    /// `sha256:…` of its content.
    pub cas_id: String,
    /// The user.
    pub created_by: String,
    /// Unix milliseconds.
    pub created_at: u64,
}

/// A version of a workflow: a base, or a patch on top of the version before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its number within the tag, from 1.
    pub seq: u64,
    /// What it is.
    pub artifact: Artifact,
    /// The content that it adds: the workflow, or the operations.
    pub content: Vec<u8>,
    /// How many patches are between it and its base; 0 for a base.
    pub depth: u32,
    /// How many operations it has.
    pub op_count: u32,
    /// For people.
    pub description: String,
    /// The whole workflow as of this version, its JSON text.
    pub workflow: Vec<u8>,
}

/// What is stored as the next version of a tag.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// `dag_version` or `patch_set`.
    pub kind: String,
    /// The content that it adds.
    pub content: Vec<u8>,
    /// The whole workflow as of this version.
    pub workflow: Vec<u8>,
    /// How many operations it has.
    pub op_count: u32,
    /// For people.
    pub description: String,
    /// The user.
    pub created_by: String,
    /// The version that it is made for; another is a conflict. `None`: whatever is there.
    pub after: Option<u64>,
}

/// A name of a version, of one owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag {
    /// The name.
    pub tag: String,
    /// Whose.
    pub owner: String,
    /// What it names.
    pub target: Artifact,
    /// The version's number.
    pub seq: u64,
    /// How often it moved.
    pub version: u64,
    /// Unix milliseconds.
    pub moved_at: u64,
    /// Who made it.
    pub created_by: String,
    /// Who moved it last.
    pub moved_by: String,
}

impl Tag {
    /// Where a page of tags begins that goes on after it.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}\n{}", self.tag, self.owner)
    }
}

/// One move of a tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagMove {
    /// The move's number.
    pub version: u64,
    /// The version that it named before, if any.
    pub from: Option<u64>,
    /// The version that it named afterwards.
    pub to: u64,
    /// Who.
    pub moved_by: String,
    /// Unix milliseconds.
    pub moved_at: u64,
    /// `set`, `undo` or `redo`.
    pub why: String,
}

/// Whose tags are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Of one owner.
    User(String),
    /// Of the owner `_global_`.
    Global,
    /// Of one owner, and of `_global_`.
    All(String),
}
