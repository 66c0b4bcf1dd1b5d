//! Runs of workflows, driven by hand: jobs, timers and people are what the tests say.

mod control;
mod graphs;
mod invalid;
mod nodes;
mod patches;
mod predecessor;
mod support;
