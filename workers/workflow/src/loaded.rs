//! Runs from the store: read, with their workflows and blobs.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use runs::{Error, RunStore, StoredRun};
use serde_json::Value;
use tokio::sync::Mutex;
use workflow::{Limits, Run, RunRecords, RunStatus, Start, Workflow};

/// Workflows that are kept in memory; beyond that the table starts over.
const MAX_WORKFLOWS: usize = 1_000;
/// How many blobs are asked for at once.
const BLOBS: usize = 64;

/// What is known of a run beside its state.
#[derive(Debug, Clone)]
pub(crate) struct RunMeta {
    pub(crate) run_id: String,
    pub(crate) shard: u16,
    pub(crate) owner: String,
    pub(crate) tag: Option<String>,
    pub(crate) parent: Option<(String, String)>,
    /// How many runs are above it.
    pub(crate) depth: u32,
    pub(crate) keep_ms: u64,
    pub(crate) started_at: Option<u64>,
    pub(crate) ended_at: Option<u64>,
    /// How it ended.
    pub(crate) ended: Option<RunStatus>,
    pub(crate) error: Option<String>,
    pub(crate) start: Start,
}

/// A run as it was stored.
#[derive(Debug)]
pub(crate) struct LoadedRun {
    pub(crate) meta: RunMeta,
    pub(crate) workflow: Arc<Workflow>,
    /// `None` before it has begun.
    pub(crate) run: Option<Run>,
}

/// A run that cannot be read.
#[derive(Debug)]
pub(crate) struct BrokenRun {
    pub(crate) run_id: String,
    pub(crate) header: Vec<u8>,
    pub(crate) reason: String,
    pub(crate) parent: Option<(String, String)>,
    /// Whether it has ended already.
    pub(crate) ended: bool,
}

/// Reads runs.
#[derive(Debug)]
pub(crate) struct Loader {
    store: Arc<dyn RunStore>,
    limits: Limits,
    workflows: Mutex<HashMap<String, Arc<Workflow>>>,
}

/// What a run needs beside its record.
type Blobs = BTreeMap<String, Arc<[u8]>>;

impl Loader {
    pub(crate) fn new(store: Arc<dyn RunStore>, limits: Limits) -> Self {
        Self {
            store,
            limits,
            workflows: Mutex::default(),
        }
    }

    /// Reads runs by their records.
    pub(crate) async fn read(
        &self,
        records: Vec<StoredRun>,
    ) -> Result<(Vec<LoadedRun>, Vec<BrokenRun>), Error> {
        let workflows = self.workflows(&records).await?;
        let (mut loaded, mut broken) = (Vec::with_capacity(records.len()), Vec::new());
        for record in records {
            let id = record.summary.run_id.clone();
            let header = record.header.clone();
            let parent = record.summary.parent.clone();
            let ended = record.summary.ended_at.is_some();
            let read = match workflows.get(&record.workflow) {
                Some(Ok(workflow)) => self.read_one(record, workflow).await?,
                Some(Err(reason)) => Err(reason.clone()),
                None => Err(format!("its workflow {} is not there", record.workflow)),
            };
            match read {
                Ok(run) => loaded.push(run),
                Err(reason) => broken.push(BrokenRun {
                    run_id: id,
                    header,
                    reason,
                    parent,
                    ended,
                }),
            }
        }
        Ok((loaded, broken))
    }

    async fn read_one(
        &self,
        record: StoredRun,
        workflow: &Arc<Workflow>,
    ) -> Result<Result<LoadedRun, String>, Error> {
        let start: Start = match serde_json::from_slice(&record.start) {
            Ok(start) => start,
            Err(error) => return Ok(Err(format!("what it starts with cannot be read: {error}"))),
        };
        let summary = record.summary;
        let depth = summary.labels.get(DEPTH).and_then(|text| text.parse().ok());
        let meta = RunMeta {
            shard: runs::shard_of(&summary.run_id),
            run_id: summary.run_id,
            owner: summary.owner,
            tag: summary.tag,
            parent: summary.parent,
            depth: depth.unwrap_or(0),
            keep_ms: record.keep_ms,
            started_at: summary.started_at,
            ended_at: summary.ended_at,
            ended: RunStatus::of(&summary.status).filter(|status| status.is_final()),
            error: summary.error,
            start,
        };
        let workflow = Arc::clone(workflow);
        if record.header.is_empty() {
            let run = None;
            return Ok(Ok(LoadedRun {
                meta,
                workflow,
                run,
            }));
        }
        let records = RunRecords {
            header: record.header,
            nodes: record.nodes,
        };
        let blobs = self.blobs(&Run::blobs(&records)).await?;
        let mut blob = |id: &str| -> Option<Value> {
            let content = blobs.get(id)?;
            serde_json::from_slice(content).ok()
        };
        let run = Run::load(Arc::clone(&workflow), &records, &mut blob);
        Ok(run
            .map(|run| LoadedRun {
                meta,
                workflow,
                run: Some(run),
            })
            .map_err(|refusal| format!("its state cannot be read: {refusal}")))
    }

    /// The workflows of records, each read once.
    async fn workflows(
        &self,
        records: &[StoredRun],
    ) -> Result<HashMap<String, Result<Arc<Workflow>, String>>, Error> {
        let wanted: BTreeSet<&String> = records.iter().map(|record| &record.workflow).collect();
        let mut found = HashMap::new();
        let mut missing = Vec::new();
        {
            let known = self.workflows.lock().await;
            for id in wanted {
                match known.get(id) {
                    Some(workflow) => drop(found.insert(id.clone(), Ok(Arc::clone(workflow)))),
                    None => missing.push(id.clone()),
                }
            }
        }
        for (id, content) in self.blobs(&missing).await? {
            let read = self.parse(&content);
            if let Ok(workflow) = &read {
                let mut known = self.workflows.lock().await;
                if known.len() >= MAX_WORKFLOWS {
                    known.clear();
                }
                known.insert(id.clone(), Arc::clone(workflow));
            }
            found.insert(id, read);
        }
        Ok(found)
    }

    fn parse(&self, content: &[u8]) -> Result<Arc<Workflow>, String> {
        let document: Value = serde_json::from_slice(content)
            .map_err(|error| format!("its workflow is no JSON: {error}"))?;
        let parsed = Workflow::parse(&document, &self.limits);
        parsed
            .map(Arc::new)
            .map_err(|invalid| format!("its workflow cannot run: {invalid}"))
    }

    /// Content by its name; what is not there is left out.
    pub(crate) async fn blobs(&self, ids: &[String]) -> Result<Blobs, Error> {
        let mut found = Blobs::new();
        for some in ids.chunks(BLOBS) {
            match self.store.blobs(some).await {
                Ok(contents) => {
                    let pairs = some.iter().cloned().zip(contents);
                    found.extend(pairs.map(|(id, content)| (id, content.into())));
                }
                Err(Error::NotFound(_)) => {
                    for id in some {
                        match self.store.blobs(std::slice::from_ref(id)).await {
                            Ok(mut content) => {
                                let content = content.pop().unwrap_or_default();
                                found.insert(id.clone(), content.into());
                            }
                            Err(Error::NotFound(_) | Error::Damaged(_)) => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }
}

/// The label of a child that tells how many runs are above it.
pub(crate) const DEPTH: &str = "mesh.depth";
