//! The numbers that policies are tuned with.

use std::time::Duration;

/// How a [`Set`](crate::Set) picks, whatever its policy.
#[derive(Clone, Debug, PartialEq)]
pub struct BalanceOptions {
    /// How long a member that [joined](crate::Load::joined_at) warm ones gets less than its share.
    /// Default 10 s; zero switches slow start off.
    pub slow_start: Duration,
    /// The part of its share that such a member begins with, 0 to 1; it grows evenly to 1. Default
    /// 0.1.
    pub slow_start_from: f64,
    /// How long `peak_ewma` takes to forget all but 1/e of a slow answer when few faster ones come;
    /// many forget it sooner. Default 10 s; zero remembers only the last answer.
    pub ewma_decay: Duration,
    /// How many times the mean of calls in flight, by weight, a member may have before `session`
    /// lets its sessions spill over to the next on the ring; less than 1 counts as 1. Default
    /// `None`: a session never leaves its member. 1.25 is a good value to switch it on with.
    pub session_bound: Option<f64>,
    /// How long an instance reports its load before `load_aware` goes by it. Default 10 s.
    pub load_blackout: Duration,
    /// How long a load report counts when no other follows. Default 3 min.
    pub load_expiry: Duration,
    /// How many calls in flight more than the member that is picked the one before may have when
    /// `least_request` lets a call [follow](crate::Set::pick_after) it; never more than half of what
    /// that one has to do, or an eighth when they do not come together. One that answers half as
    /// fast is not followed. Default 16; 0 lets none follow.
    pub affinity_slack: u32,
}

impl Default for BalanceOptions {
    fn default() -> Self {
        Self {
            slow_start: Duration::from_secs(10),
            slow_start_from: 0.1,
            ewma_decay: Duration::from_secs(10),
            session_bound: None,
            load_blackout: Duration::from_secs(10),
            load_expiry: Duration::from_secs(180),
            affinity_slack: 16,
        }
    }
}
