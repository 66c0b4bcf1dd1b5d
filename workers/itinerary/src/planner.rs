//! The planner: pure functions from a city, interests and weather to days with routes.
//!
//! [`choose`] picks the sights, [`group`] puts near ones into the same day and dry ones into wet
//! days, [`route`] orders a day. None of them knows a clock, chance or the network.

mod choose;
mod group;
mod route;

pub use choose::{Choice, choose};
pub use group::{Outing, group};
pub use route::{Route, route};

/// Sights a day before the evening: a morning and an afternoon.
pub(crate) const SIGHTS_A_DAY: usize = 2;
