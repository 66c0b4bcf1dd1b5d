//! The canonical API, under `/api/v1`.

pub(crate) mod batch;
pub(crate) mod call;
pub(crate) mod jobs;
pub(crate) mod queues;
pub(crate) mod schedules;
