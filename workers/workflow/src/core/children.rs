//! Child runs: started, called off, and what their parents hear of them.

use std::{collections::BTreeMap, sync::Arc};

use runs::{Command, Error, NewRun};
use serde_json::{Value, json};
use tokio::time::sleep;
use workflow::{ChildRequest, Failure, Input, Output, RunStatus, Start};

use super::{Core, Done, Env, active::ActiveRun, change::Incoming};
use crate::{
    loaded::{DEPTH, RunMeta},
    spans,
};

/// How many runs may be above one.
const MAX_DEPTH: u32 = 16;
/// Whose tags all may use.
const GLOBAL: &str = "_global_";

/// A child whose workflow was looked for.
#[derive(Debug)]
pub(super) struct Resolved {
    run_id: String,
    /// Shard, epoch and number of the effect.
    effect: (u16, u64, u64),
    key: String,
    outcome: Result<Box<NewRun>, String>,
}

/// The command that calls a child off.
pub(super) fn cancel(key: &str) -> Command {
    Command {
        run_id: runs::id_of(key),
        id: runs::id_of(&format!("cancel {key}")),
        kind: "cancel".to_owned(),
        body: json!({ "by": "", "reason": "the run that it is a part of called it off" }),
    }
}

/// What the parent of a run that ended hears of it.
pub(super) fn ended(active: &ActiveRun, at: u64) -> Option<Command> {
    let parent = active.meta.parent.clone()?;
    let run = &active.run;
    let result = match run.status() {
        RunStatus::Completed => Ok(run.output()),
        status => {
            let word = || format!("the run {} is {}", active.meta.run_id, status.as_str());
            Err(run.error().map_or_else(word, ToOwned::to_owned))
        }
    };
    Some(ended_command(&active.meta.run_id, parent, at, result))
}

/// The command that tells a parent of the end of its child.
pub(super) fn ended_command(
    child: &str,
    parent: (String, String),
    at: u64,
    result: Result<Value, String>,
) -> Command {
    let (run_id, key) = parent;
    let body = match result {
        Ok(output) => json!({ "key": key, "output": output }),
        Err(error) => json!({ "key": key, "error": error }),
    };
    Command {
        run_id,
        id: runs::id_of(&format!("ended {child} {at}")),
        kind: "child_ended".to_owned(),
        body,
    }
}

/// The input that such a command is.
pub(super) fn ended_input(body: &mut Value) -> Input {
    let key = body["key"].as_str().unwrap_or_default().to_owned();
    let result = match body["error"].as_str() {
        Some(error) => Err(Failure {
            message: error.to_owned(),
            retryable: true,
        }),
        None => Ok(Output::inline(body["output"].take())),
    };
    Input::ChildEnded { key, result }
}

impl Core {
    /// Starts a child whose workflow stands in the request.
    pub(super) fn start_inline_child(&mut self, run_id: &str, request: ChildRequest) {
        let Some(active) = self.runs.get(run_id) else {
            return;
        };
        if active.meta.depth >= MAX_DEPTH {
            let (key, reason) = (request.key, too_deep());
            return self.deliver(run_id, Incoming::NoChild { key, reason });
        }
        let content = request.workflow.to_string().into_bytes();
        let id = runs::content_id(&content);
        let base = ("inline".to_owned(), String::new());
        let child = child(&active.meta, &request, None, base, id.clone());
        let change = self.changes.of(run_id);
        change.blobs.push((id, content));
        change.children.push(child);
    }

    /// Looks for the workflow of a child that is named by a tag.
    pub(super) fn resolve_child(
        &mut self,
        run_id: &str,
        effect: (u16, u64, u64),
        request: ChildRequest,
    ) {
        let known = self.runs.get(run_id).map(|active| active.meta.clone());
        let (env, run_id) = (Arc::clone(&self.env), run_id.to_owned());
        self.tasks.spawn(async move {
            let key = request.key.clone();
            let mut known = known;
            let outcome = loop {
                match resolve(&env, &run_id, &mut known, &request).await {
                    Err(Error::Unavailable(reason)) => {
                        tracing::debug!(reason, "the workflow of a child is not found yet");
                        sleep(std::time::Duration::from_millis(200)).await;
                    }
                    Ok(child) => break Ok(Box::new(child)),
                    Err(error) => break Err(error.to_string()),
                }
            };
            Done::Child(Resolved {
                run_id,
                effect,
                key,
                outcome,
            })
        });
    }

    pub(super) fn child_resolved(&mut self, resolved: Resolved) {
        let Resolved {
            run_id,
            effect: (shard, epoch, number),
            key,
            outcome,
        } = resolved;
        if self.shards.get(&shard).is_none_or(|it| it.epoch != epoch) {
            return;
        }
        match outcome {
            Ok(child) => self.deliver(&run_id, Incoming::Child { child, number }),
            Err(reason) => {
                self.carried(shard, epoch, number, Ok(()));
                self.deliver(&run_id, Incoming::NoChild { key, reason });
            }
        }
    }
}

async fn resolve(
    env: &Env,
    run_id: &str,
    known: &mut Option<RunMeta>,
    request: &ChildRequest,
) -> Result<NewRun, Error> {
    if known.is_none() {
        let records = env.store.load(&[run_id.to_owned()]).await?;
        let (mut runs, _) = env.loader.read(records).await?;
        *known = runs.pop().map(|run| run.meta);
    }
    let gone = || Error::NotFound(format!("there is no run {run_id}"));
    let parent = known.as_ref().ok_or_else(gone)?;
    if parent.depth >= MAX_DEPTH {
        return Err(Error::Invalid(too_deep()));
    }
    let tag = request.workflow.as_str().unwrap_or_default();
    let found = match env.store.versions(&parent.owner, tag, None).await {
        Err(Error::NotFound(_)) => env.store.versions(GLOBAL, tag, None).await,
        found => found,
    };
    let (_, mut versions) = found.map_err(|error| match error {
        Error::NotFound(_) => Error::NotFound(format!("there is no workflow {tag:?}")),
        error => error,
    })?;
    let version = versions.pop();
    let version = version.ok_or_else(|| Error::NotFound(format!("{tag:?} has no version")))?;
    let workflow = env.store.put_blob(&version.workflow).await?;
    let base = ("tag".to_owned(), tag.to_owned());
    Ok(child(parent, request, Some(tag.to_owned()), base, workflow))
}

fn child(
    parent: &RunMeta,
    request: &ChildRequest,
    tag: Option<String>,
    base: (String, String),
    workflow: String,
) -> NewRun {
    let run_id = runs::id_of(&request.key);
    let above = (parent.run_id.clone(), request.key.clone());
    let start = Start {
        run_id: run_id.clone(),
        owner: parent.owner.clone(),
        tag: tag.clone(),
        inputs: request.inputs.clone(),
        priority: request.priority,
        trace: spans::of_jobs(parent),
        parent: Some(above.clone()),
    };
    NewRun {
        run_id,
        owner: parent.owner.clone(),
        submitted_by: parent.owner.clone(),
        tag,
        base,
        workflow,
        // It is made of texts and numbers.
        start: serde_json::to_vec(&start).unwrap_or_default(),
        priority: request.priority,
        labels: BTreeMap::from([(DEPTH.to_owned(), (parent.depth + 1).to_string())]),
        parent: Some(above),
        keep_ms: parent.keep_ms,
        ..NewRun::default()
    }
}

fn too_deep() -> String {
    format!("a run has at most {MAX_DEPTH} runs above it")
}
