//! Runs of the pipeline that the queue knows, for who completes the address of one of their files.

use jobs::{JobFilter, JobRecord};
use serde_json::Value;
use tokio::time::timeout;

use super::{PATIENCE, Tasks};

/// Jobs that are looked through, the latest first.
const MAX_JOBS: usize = 500;
/// The kind of jobs whose runs leave files.
const PIPELINE: &str = "pipeline";

impl Tasks {
    /// The ids of runs that begin with what is typed, the latest first. With a caller those that are its
    /// own: of others it learns nothing.
    pub async fn runs(&self, caller: Option<&str>, typed: &str) -> Vec<String> {
        let filter = JobFilter {
            kind: Some(PIPELINE.to_owned()),
            ..JobFilter::default()
        };
        // Nothing is suggested while the queue does not tell.
        let listed = timeout(PATIENCE, self.jobs.list(&filter, MAX_JOBS, None)).await;
        let Ok(Ok(listed)) = listed else {
            return Vec::new();
        };
        let is_own = |record: &&JobRecord| {
            caller.is_none_or(|caller| record.header.caller.as_deref() == Some(caller))
        };
        let mut runs: Vec<String> = Vec::new();
        for record in listed.jobs.iter().filter(is_own) {
            if let Some(run) = run(record).filter(|run| run.starts_with(typed))
                && !runs.contains(&run)
            {
                runs.push(run);
            }
        }
        runs
    }
}

/// The run of a job: its payload names it, and its result.
fn run(record: &JobRecord) -> Option<String> {
    let said = record.payload.as_ref().or(record.result.as_ref())?;
    let said: Value = serde_json::from_slice(said.bytes()).ok()?;
    Some(said["run_id"].as_str()?.to_owned())
}
