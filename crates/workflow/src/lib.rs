//! Workflows: graphs of agents, tools, workers and people, and how a run of one goes on.
//!
//! Nothing here does I/O or reads a clock. [`Workflow`] is a checked graph. [`Run`] is one run of it: an
//! [`Input`] says what happened, [`Run::step`] answers with the [`Event`]s that record it and the
//! [`Effect`]s that have to follow. Whoever keeps the run stores both, and carries out the effects
//! afterwards.

mod blob;
mod effect;
mod event;
mod expression;
mod form;
mod input;
mod patch;
mod reference;
mod run;
mod status;
mod workflow;

pub use blob::{MAX_INLINE, MAX_OUTPUT, blob_id};
pub use effect::{ApprovalRequest, ChildRequest, Effect, JobRequest};
pub use event::{Event, EventKind};
pub use expression::{Expression, ExpressionError, MAX_ELEMENTS, MAX_LENGTH, MAX_NESTING};
pub use form::check_form;
pub use input::{Failure, Input, Output, PatchRequest, Start};
pub use run::{NodeView, PatchView, Refusal, Run, RunRecords, Step};
pub use status::{NodeStatus, RunStatus};
pub use workflow::{Invalid, Limits, MAX_DOCUMENT, MAX_EDGES, MAX_ITEMS, Mistake, Workflow};
