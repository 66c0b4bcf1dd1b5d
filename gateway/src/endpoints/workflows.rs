//! The endpoints of workflows, their runs and approvals: a file for each subject.

pub(super) mod approval;
pub(super) mod approvals;
pub(super) mod artifacts;
pub(super) mod catalog;
pub(super) mod health;
pub(super) mod logs;
pub(super) mod page;
pub(super) mod run_control;
pub(super) mod run_events;
pub(super) mod run_patches;
pub(super) mod runs;
pub(super) mod short_runs;
pub(super) mod tags;
pub(super) mod versions;

mod prelude;
