//! The members of a set, and what every policy needs to know of them.

use std::{ops::Deref, sync::Arc, time::Duration};

use crate::{BalanceOptions, Load, TurnCounter, shares::Shares, slow_start::SlowStart};

/// One endpoint, as policies see it.
#[derive(Clone, Debug)]
pub struct Member {
    /// [`hash`](crate::hash) of the instance's key, the same in every process.
    pub hash: u64,
    /// Its capacity relative to others. 0 gets no calls, unless all are 0: then all are equal.
    pub weight: u32,
    /// Its load, shared by every set that has the endpoint.
    pub load: Arc<Load>,
}

/// The arguments of a pick.
#[derive(Clone, Copy, Debug, Default)]
pub struct PickArgs {
    /// [`hash`](crate::hash) of the session's id, if the call belongs to one.
    pub session: Option<u64>,
    /// The time since the epoch of the members' [loads](Load).
    pub now: Duration,
}

/// The member that took the caller's previous call, which may still be in flight.
#[derive(Clone, Copy, Debug)]
pub struct PreviousPick {
    /// Its index in the set.
    pub member: usize,
    /// Whether the two calls come together.
    pub together: bool,
}

/// The members of a set with their shares, for policies.
pub(crate) struct Members {
    list: Vec<Member>,
    pub(crate) shares: Shares,
    pub(crate) slow_start: SlowStart,
    pub(crate) turn: Arc<TurnCounter>,
    pub(crate) affinity_slack: u32,
}

impl Members {
    pub(crate) fn new(list: Vec<Member>, options: &BalanceOptions, turn: Arc<TurnCounter>) -> Self {
        for member in &list {
            member.load.tune(options);
        }
        let shares = Shares::new(list.iter().map(|member| member.weight));
        let callable = (0..list.len()).filter(|index| shares.of(*index) > 0);
        let slow_start = SlowStart::new(callable.map(|index| &*list[index].load), options);
        Self {
            list,
            shares,
            slow_start,
            turn,
            affinity_slack: options.affinity_slack,
        }
    }
}

impl Deref for Members {
    type Target = [Member];

    fn deref(&self) -> &[Member] {
        &self.list
    }
}
