//! Runs that are started.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use parking_lot::Mutex;
use runs::{CreateOutcome, NewRun};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;
use workflow::{Start, Workflow};

use super::{
    Workflows,
    body::bad_request,
    tags,
    versions::{self, checked},
};
use crate::{
    problem::{Problem, ProblemKind},
    request_context::RequestContext,
};

/// How many labels a run may have, and how long their names and values may be.
const MAX_LABELS: usize = 16;
const MAX_LABEL: usize = 128;
/// How many workflows are remembered, so that a start need not read them.
const REMEMBERED: usize = 1_000;

/// A run that was taken in.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61",
    "artifact_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "status": "QUEUED", "tag": "main"}))]
pub(crate) struct StartedRun {
    /// Its id.
    pub(crate) run_id: String,
    /// The artifact of the workflow as this run has it, whatever becomes of its name.
    pub(crate) artifact_id: String,
    /// `QUEUED`.
    pub(crate) status: &'static str,
    /// The name that it was started by.
    pub(crate) tag: Option<String>,
}

/// What a caller says of a run.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) inputs: Option<Value>,
    pub(crate) priority: Option<u8>,
    pub(crate) labels: BTreeMap<String, String>,
}

/// What is known of a version that was run before: versions never change.
#[derive(Debug, Default)]
pub(crate) struct KnownVersions(Mutex<HashMap<String, Known>>);

#[derive(Debug, Clone)]
struct Known {
    /// `sha256:…` of the whole workflow.
    blob: String,
    agents: usize,
    priority: Option<u8>,
    keep_ms: Option<u64>,
    keep_last: u32,
}

impl Known {
    fn of(blob: String, document: &Value) -> Self {
        let nodes = document["nodes"].as_array();
        let agents = nodes.map_or(0, |nodes| {
            nodes.iter().filter(|node| node["type"] == "agent").count()
        });
        let option = |name: &str| {
            let metadata = &document["metadata"][name];
            if metadata.is_null() {
                &document[name]
            } else {
                metadata
            }
            .clone()
        };
        Self {
            blob,
            agents,
            priority: option("priority")
                .as_u64()
                .and_then(|it| u8::try_from(it).ok()),
            keep_ms: option("retention")["age_ms"].as_u64(),
            keep_last: option("retention")["count"]
                .as_u64()
                .and_then(|it| u32::try_from(it).ok())
                .unwrap_or(0),
        }
    }
}

/// What a run is made from.
struct Source {
    known: Known,
    /// `None`: the run's own artifact.
    base: Option<(String, String)>,
    tag: Option<String>,
    tags_snapshot: Value,
}

impl Workflows {
    /// Starts a run of a named workflow.
    ///
    /// # Errors
    /// 404 for an unknown name, 409 for a key that stands for another request, 429 when a limit is met.
    pub(crate) async fn execute(
        &self,
        owner: &str,
        tag: &str,
        wanted: Wanted,
        caller: &RequestContext,
    ) -> Result<StartedRun, Problem> {
        let named = self.tag(owner, tag).await?;
        let known = self.known.0.lock().get(&named.target.artifact_id).cloned();
        let known = match known {
            Some(known) => known,
            None => {
                self.learn(&named.owner, tag, named.seq, &named.target.artifact_id)
                    .await?
            }
        };
        let source = Source {
            known,
            tags_snapshot: json!({ tag: named.target.artifact_id }),
            base: None,
            tag: Some(tag.to_owned()),
        };
        self.start(owner, source, wanted, caller).await
    }

    /// Starts a run of a workflow that comes with the request.
    ///
    /// # Errors
    /// 422 for an invalid workflow; else as [`Self::execute`].
    pub(crate) async fn run_inline(
        &self,
        owner: &str,
        tag: Option<String>,
        document: &Value,
        wanted: Wanted,
        caller: &RequestContext,
    ) -> Result<StartedRun, Problem> {
        let workflow: Workflow = checked(document)?;
        let text = versions::text(workflow.document())?;
        let blob = self.ask(self.store().put_blob(&text)).await?;
        let source = Source {
            base: Some(("inline".to_owned(), blob.clone())),
            known: Known::of(blob, workflow.document()),
            tag,
            tags_snapshot: json!({}),
        };
        self.start(owner, source, wanted, caller).await
    }

    /// Reads a version for the first time.
    async fn learn(
        &self,
        owner: &str,
        tag: &str,
        seq: u64,
        artifact_id: &str,
    ) -> Result<Known, Problem> {
        let store = self.store();
        let (_, chain) = self.ask(store.versions(owner, tag, Some(seq))).await?;
        let head = chain.last().ok_or_else(tags::unknown)?;
        let document = serde_json::from_slice(&head.workflow)
            .map_err(|error| Problem::from(runs::Error::Damaged(error.to_string())))?;
        let blob = self.ask(store.put_blob(&head.workflow)).await?;
        let known = Known::of(blob, &document);
        let mut all = self.known.0.lock();
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(artifact_id.to_owned(), known.clone());
        Ok(known)
    }

    async fn start(
        &self,
        owner: &str,
        source: Source,
        wanted: Wanted,
        caller: &RequestContext,
    ) -> Result<StartedRun, Problem> {
        let store = self.store();
        let inputs = inputs(wanted.inputs)?;
        let priority = priority(wanted.priority.or(source.known.priority))?;
        labels(&wanted.labels)?;
        let idempotency = caller.key.as_ref().map(|key| {
            let said = json!([
                source.tag,
                source.known.blob,
                inputs,
                priority,
                wanted.labels
            ]);
            (
                format!("{owner}/{key}"),
                runs::content_id(said.to_string().as_bytes()),
            )
        });
        self.limits
            .run(owner, source.known.agents, Instant::now())?;
        let run_id = runs::new_id();
        let start = Start {
            run_id: run_id.clone(),
            owner: owner.to_owned(),
            tag: source.tag.clone(),
            inputs,
            priority,
            trace: caller.trace.clone(),
            parent: None,
        };
        let run = NewRun {
            run_id: run_id.clone(),
            owner: owner.to_owned(),
            submitted_by: owner.to_owned(),
            tag: source.tag.clone(),
            base: source
                .base
                .unwrap_or_else(|| ("dag_version".to_owned(), run_id.clone())),
            tags_snapshot: source.tags_snapshot,
            workflow: source.known.blob,
            start: serde_json::to_vec(&start).map_err(|error| bad_request(error.to_string()))?,
            forked: None,
            priority,
            labels: wanted.labels,
            idempotency,
            parent: None,
            keep_last: source.known.keep_last,
            keep_ms: source.known.keep_ms.unwrap_or_else(|| self.keep_ms()),
        };
        let created = self
            .ask(store.create_run(&run, self.keys.max_queued_runs))
            .await?;
        let run_id = match created {
            CreateOutcome::Created => run_id,
            CreateOutcome::Existing(run_id) => run_id,
        };
        Ok(StartedRun {
            artifact_id: run_id.clone(),
            run_id,
            status: "QUEUED",
            tag: source.tag,
        })
    }

    /// How long runs are kept whose workflow does not say.
    pub(crate) fn keep_ms(&self) -> u64 {
        u64::try_from(self.keys.run_retention.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Inputs are an object; none are an empty one.
pub(crate) fn inputs(given: Option<Value>) -> Result<Value, Problem> {
    match given {
        None | Some(Value::Null) => Ok(json!({})),
        Some(inputs @ Value::Object(_)) => Ok(inputs),
        Some(_) => Err(bad_request("inputs: has to be an object")),
    }
}

fn priority(given: Option<u8>) -> Result<u8, Problem> {
    let priority = given.unwrap_or(3);
    match (1..=5).contains(&priority) {
        true => Ok(priority),
        false => Err(bad_request(format!("priority: {priority} is not 1 to 5"))),
    }
}

fn labels(labels: &BTreeMap<String, String>) -> Result<(), Problem> {
    if labels.len() > MAX_LABELS {
        let text = format!(
            "labels: there are {}, and at most {MAX_LABELS} may be",
            labels.len()
        );
        return Err(Problem::new(ProblemKind::Malformed, text));
    }
    let long = |text: &str| text.is_empty() || text.chars().count() > MAX_LABEL;
    let wrong = labels
        .iter()
        .find(|(name, value)| long(name) || value.chars().count() > MAX_LABEL);
    match wrong {
        None => Ok(()),
        Some(_) => Err(bad_request(format!(
            "labels: names are 1 to {MAX_LABEL} characters, values at most {MAX_LABEL}"
        ))),
    }
}
