//! The itinerary worker: plans days in a city from its sights, the caller's interests and the
//! weather, which it asks of the mesh.
//!
//! A task reads [`brief`] → [`plan`](mod@plan) → [`planner`] → `schedule`; [`board`] says how far it is.

pub mod board;
pub mod brief;
mod error;
pub mod forecast;
pub mod guide;
pub mod plan;
pub mod planner;
mod schedule;

pub use error::Error;
