//! The short forms: other shapes of the same jobs, which older scripts send.

pub(crate) mod enqueue;
pub(crate) mod health;
pub(crate) mod jobs;
pub(crate) mod tasks;
