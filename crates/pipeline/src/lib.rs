//! A goal becomes notes, a design and a review: three agents called in turn through the mesh.
//!
//! [`run`] keeps what it did in the run's directory, through the fs tool: an artifact per step, and
//! a blackboard (`blackboard.jsonl`, and its sum in `blackboard.json`). A run that was killed is
//! called again with the same id: a step whose artifact and entry are there is not repeated.

mod blackboard;
mod error;
mod files;
mod report;
mod run;
mod step;

pub use error::Error;
pub use report::{Report, RunMetrics, StepReport};
pub use run::{Progress, Run, run};
pub use step::{STEPS, Step};

/// The log of a run: an entry a line, only ever appended to.
pub const LOG: &str = "blackboard.jsonl";
/// What the log adds up to.
pub const SNAPSHOT: &str = "blackboard.json";
