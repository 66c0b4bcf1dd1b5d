//! Load-balancing policies: numbers in, a choice out. Nothing here knows a socket or a clock: time
//! and chance are arguments.
//!
//! A [`Set`] is immutable. Whoever owns the endpoints builds a new one when membership, weights or
//! availability change (rarely), so that a pick (often) costs the same with 10 members and 10,000.

mod load;
mod policies;
mod set;
mod turn;

pub use load::Load;
pub use policies::{POLICIES, Policy, Row, row};
pub use set::{Member, Request, Set};
