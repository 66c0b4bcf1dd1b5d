//! Pages of runs.

use crate::{Error, RunPage, RunSummary};

/// The most that a page has.
const MOST: usize = 1000;

/// How many a page has.
pub(crate) fn limit(asked: usize) -> usize {
    asked.clamp(1, MOST)
}

/// Runs that were found in several ways, latest first and each once.
pub(crate) fn in_order(mut runs: Vec<RunSummary>) -> Vec<RunSummary> {
    runs.sort_by(|one, other| {
        (other.submitted_at, &other.run_id).cmp(&(one.submitted_at, &one.run_id))
    });
    runs.dedup_by(|one, other| one.run_id == other.run_id);
    runs
}

/// A page of one run more than it has, if there are more.
pub(crate) fn of(mut runs: Vec<RunSummary>, limit: usize) -> RunPage {
    let more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| more);
    let next = next.map(|run| format!("{:x}-{}", run.submitted_at, run.run_id));
    RunPage { runs, next }
}

/// The position that a page begins after.
pub(crate) fn position(cursor: &str) -> Result<(u64, String), Error> {
    let position = cursor.split_once('-').and_then(|(at, run_id)| {
        let at = u64::from_str_radix(at, 16).ok()?;
        Some((at, run_id.to_owned()))
    });
    position.ok_or_else(|| {
        Error::Invalid(format!(
            "the cursor {cursor:?} is none that a page before gave"
        ))
    })
}
