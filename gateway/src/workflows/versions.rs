//! Versions of workflows: checked, stored and shown.

use runs::{Error, NewVersion, Tag, Version};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use workflow::{Invalid, Limits, Workflow};

use super::{Workflows, body::bad_request, tags};
use crate::{
    job_view::time,
    problem::{FieldProblem, Problem, ProblemKind},
};

/// Largest number of operations that a patch may have is the engine's; this is what one request may
/// describe in words.
const MAX_DESCRIPTION: usize = 4_096;

/// A stored workflow.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"tag": "main", "owner": "test-user",
    "artifact_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60", "kind": "dag_version", "depth": 0, "patch_count": 0,
    "created_at": "2026-01-02T03:04:05.678Z", "created_by": "test-user", "workflow": null, "seq": 0,
    "version": 1, "description": "",
    "components": {"base_cas_id": "sha256:e3b0c442…", "base_version_hash": "sha256:e3b0c442…",
        "base_version": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f60", "patches": []}}))]
pub(crate) struct WorkflowView {
    /// Its name.
    tag: String,
    /// Whose it is.
    owner: String,
    /// The artifact of this version.
    artifact_id: String,
    /// `dag_version`, or `patch_set` for one that is patched.
    kind: String,
    /// How many patches are on top of its base.
    depth: u32,
    /// The same.
    patch_count: u32,
    /// When this version was made.
    created_at: Option<String>,
    /// By whom.
    created_by: String,
    /// The whole workflow with all patches, where `materialize=true` asks for it.
    #[schema(value_type = Option<Object>)]
    workflow: Option<Value>,
    /// How many of the patches count: 0 is the base.
    seq: u32,
    /// The version's number within the name, which `move` takes.
    version: u64,
    /// What was said of this version.
    description: String,
    /// What it is made of.
    components: Components,
}

/// What a version is made of.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Components {
    /// `sha256:…` of the base.
    base_cas_id: String,
    /// The same.
    base_version_hash: String,
    /// The artifact of the base.
    base_version: String,
    /// The patches in order.
    patches: Vec<PatchComponent>,
}

/// A patch of a workflow.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PatchComponent {
    /// Its number, from 1.
    seq: u32,
    /// Its artifact.
    artifact_id: String,
    /// `sha256:…` of its operations.
    cas_id: String,
    /// How many patches there were with it.
    depth: u32,
    /// How many operations it has.
    op_count: u32,
    /// When it was made.
    created_at: Option<String>,
    /// By whom.
    created_by: String,
    /// What was said of it.
    description: String,
}

impl WorkflowView {
    /// The last of the versions, which begin with its base.
    pub(crate) fn of(tag: &Tag, chain: &[Version], materialize: bool) -> Option<Self> {
        let (base, patches) = chain.split_first()?;
        let head = chain.last()?;
        let workflow = materialize.then(|| serde_json::from_slice(&head.workflow).ok());
        Some(Self {
            tag: tag.tag.clone(),
            owner: tag.owner.clone(),
            artifact_id: head.artifact.artifact_id.clone(),
            kind: head.artifact.kind.clone(),
            depth: head.depth,
            patch_count: head.depth,
            created_at: time(head.artifact.created_at),
            created_by: head.artifact.created_by.clone(),
            workflow: workflow.flatten(),
            seq: head.depth,
            version: head.seq,
            description: head.description.clone(),
            components: Components {
                base_cas_id: base.artifact.cas_id.clone(),
                base_version_hash: base.artifact.cas_id.clone(),
                base_version: base.artifact.artifact_id.clone(),
                patches: patches.iter().map(PatchComponent::of).collect(),
            },
        })
    }
}

impl PatchComponent {
    fn of(version: &Version) -> Self {
        Self {
            seq: version.depth,
            artifact_id: version.artifact.artifact_id.clone(),
            cas_id: version.artifact.cas_id.clone(),
            depth: version.depth,
            op_count: version.op_count,
            created_at: time(version.artifact.created_at),
            created_by: version.artifact.created_by.clone(),
            description: version.description.clone(),
        }
    }
}

/// Checks a workflow.
///
/// # Errors
/// 422 with every mistake and its place.
pub(crate) fn checked(document: &Value) -> Result<Workflow, Problem> {
    Workflow::parse(document, &Limits::default()).map_err(|invalid| mistakes(&invalid, "/workflow"))
}

/// All mistakes, each below the field that has the workflow.
pub(crate) fn mistakes(invalid: &Invalid, below: &str) -> Problem {
    let mut problem = Problem::new(ProblemKind::Invalid, format!("invalid workflow: {invalid}"));
    let errors = invalid.mistakes.iter().map(|mistake| FieldProblem {
        field: format!("{below}{}", mistake.path),
        reason: mistake.message.clone(),
    });
    problem.errors = errors.collect();
    problem
}

/// What a request says of a change, within bounds.
pub(crate) fn described(description: Option<String>) -> Result<String, Problem> {
    let description = description.unwrap_or_default();
    match description.chars().count() > MAX_DESCRIPTION {
        true => Err(bad_request(format!(
            "description: has to be at most {MAX_DESCRIPTION} characters"
        ))),
        false => Ok(description),
    }
}

/// The operations of a patch, in the predecessor's words when there are none.
pub(crate) fn operations(operations: Option<Value>) -> Result<Value, Problem> {
    match operations {
        Some(Value::Array(list)) if !list.is_empty() => Ok(Value::Array(list)),
        None | Some(Value::Null | Value::Array(_)) => Err(bad_request(
            "operations array is required and cannot be empty",
        )),
        Some(_) => Err(bad_request("operations: has to be an array")),
    }
}

/// How many operations there are.
pub(crate) fn count(operations: &Value) -> u32 {
    let count = operations.as_array().map_or(0, Vec::len);
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Workflows {
    /// A user's name and its versions from the base to the named one. The global name where the user
    /// has none.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn versions(
        &self,
        owner: &str,
        tag: &str,
    ) -> Result<(Tag, Vec<Version>), Problem> {
        let store = self.store();
        for owner in [owner, tags::GLOBAL] {
            match self.ask(store.versions(owner, tag, None)).await {
                Err(problem) if problem.status == 404 => {}
                found => return found,
            }
        }
        Err(tags::unknown())
    }

    /// Stores a whole workflow as the next version of a name.
    ///
    /// # Errors
    /// Of the store.
    pub(crate) async fn put(
        &self,
        owner: &str,
        tag: &str,
        workflow: &Workflow,
        description: String,
    ) -> Result<Version, Problem> {
        let text = text(workflow.document())?;
        let version = NewVersion {
            kind: "dag_version".to_owned(),
            content: text.clone(),
            workflow: text,
            op_count: 0,
            description,
            created_by: owner.to_owned(),
            after: None,
        };
        self.ask(self.store().put_version(owner, tag, &version))
            .await
    }

    /// Stores a patch as the next version of a user's name.
    ///
    /// # Errors
    /// 400 for operations that cannot be applied, 422 when the result is no valid workflow, 409 when
    /// another patch came first.
    pub(crate) async fn patch(
        &self,
        owner: &str,
        tag: &str,
        operations: &Value,
        description: String,
        if_version: Option<u64>,
    ) -> Result<Version, Problem> {
        let store = self.store();
        let versions = self.ask(store.versions(owner, tag, None)).await;
        let (_, chain) = versions.map_err(|problem| match problem.status {
            404 => tags::unknown(),
            _ => problem,
        })?;
        let head = chain.last().ok_or_else(tags::unknown)?;
        if if_version.is_some_and(|expected| expected != head.seq) {
            let text = format!("the workflow is at version {} by now", head.seq);
            return Err(Problem::new(ProblemKind::Conflict, text));
        }
        let current: Value = serde_json::from_slice(&head.workflow)
            .map_err(|error| Problem::from(Error::Damaged(error.to_string())))?;
        let patched = Workflow::patched(&current, operations).map_err(|mistake| {
            let text = format!("invalid patch operations: {}", mistake.message);
            let mut problem = bad_request(text);
            problem.errors.push(FieldProblem {
                field: mistake.path,
                reason: mistake.message,
            });
            problem
        })?;
        let workflow = checked(&patched)?;
        let version = NewVersion {
            kind: "patch_set".to_owned(),
            content: text(operations)?,
            workflow: text(workflow.document())?,
            op_count: count(operations),
            description,
            created_by: owner.to_owned(),
            after: Some(head.seq),
        };
        self.ask(store.put_version(owner, tag, &version)).await
    }
}

/// A document's text.
pub(crate) fn text(document: &Value) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(document).map_err(|error| bad_request(error.to_string()))
}

/// As [`WorkflowView`] is documented.
pub(crate) fn created(version: &Version, tag: &str, owner: &str, workflow: &Workflow) -> Value {
    json!({
        "artifact_id": version.artifact.artifact_id,
        "cas_id": version.artifact.cas_id,
        "version_hash": version.artifact.cas_id,
        "tag": tag,
        "owner": owner,
        "nodes_count": workflow.nodes_count(),
        "edges_count": workflow.edges_count(),
        "created_at": time(version.artifact.created_at),
        "version": version.seq,
    })
}
