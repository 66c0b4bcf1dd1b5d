//! Load-balancing policies: numbers in, a choice out. There are no sockets and no clock: time and
//! chance are arguments.
//!
//! A [`Set`] is immutable. The owner of the endpoints builds a new one when membership, weights or
//! availability change, which is rare. So a pick costs the same with 10 members and with 10,000.
//! Sets share what must outlive a rebuild: each member's [`Load`] and the [`TurnCounter`].
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use mesh_balance::{DEFAULT, Load, Member, BalanceOptions, PickArgs, Set, TurnCounter, hash};
//!
//! let members = ["a", "b", "c"]
//!     .map(|key| Member { hash: hash(key), weight: 1, load: Arc::new(Load::new()) });
//! let set = Set::new(members.into(), DEFAULT, &BalanceOptions::default(), Arc::new(TurnCounter::new()));
//!
//! let request = PickArgs { session: None, now: Duration::ZERO };
//! let index = set.pick(&request, &mut rand::rng(), &[]).expect("the set is not empty");
//! set.members()[index].load.begin(request.now);
//! ```

mod load;
mod members;
mod options;
mod pick;
mod policies;
mod report;
mod ring;
mod set;
mod shares;
mod slow_start;
mod turn;

pub use load::Load;
pub use members::{Member, PickArgs, PreviousPick};
pub use options::BalanceOptions;
pub use policies::{DEFAULT, POLICIES, PolicyRow, find_policy};
pub use report::LoadReport;
pub use ring::{POINTS, hash};
pub use set::Set;
pub use turn::TurnCounter;
