//! A durable queue of jobs.
