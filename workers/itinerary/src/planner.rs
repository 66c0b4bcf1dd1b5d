//! The planner: pure functions from a city, interests and weather to days with routes.
//!
//! [`choose`] picks the sights. [`group`] puts near ones into the same day, and indoor ones into wet
//! days. [`route`] orders a day.

mod choose;
mod group;
mod route;

pub(crate) use choose::choose;
pub(crate) use group::group;
pub(crate) use route::{Route, route};
