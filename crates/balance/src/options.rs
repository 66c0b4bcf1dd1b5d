//! The parameters of policies. Each field is a configuration key.

use std::time::Duration;

use config::{DefaultValue, duration, integer, keys, number, optional_number};

keys! {
    /// How a [`Set`](crate::Set) picks, whatever its policy.
    #[derive(Clone, Debug, PartialEq)]
    pub struct BalanceOptions: "Balancing", absent: "does not call other services" {
        /// How long a new instance takes to come to its full share of calls.
        slow_start: Duration = duration("10s").zero("it has its full share at once").per_service(),
        /// Part of its share that a new instance begins with. It grows evenly to 1.
        slow_start_from: f64 = number(0.1, 0.0..=1.0, "of its share")
            .zero("none at first")
            .per_service(),
        /// How long `peak_ewma` takes to forget all but 1/e of a slow answer.
        ewma_decay: Duration = duration("10s")
            .zero("it remembers the last answer only")
            .per_service(),
        /// How many calls in flight more than another instance one may have when `least_request`
        /// keeps a client's calls together.
        affinity_slack: u32 = integer(16, 0..=u32::MAX as u64, "calls")
            .named("burst")
            .zero("it does not keep them together")
            .per_service(),
        /// How many times the mean load an instance may have before `session` moves its sessions to
        /// the next, such as 1.25. Less than 1 counts as 1.
        session_bound: Option<f64> = optional_number(DefaultValue::Number(0.0), 0.0..=100.0, "times the mean load")
            .zero("sessions never move")
            .per_service(),
        /// How long an instance reports its load before `load_aware` goes by it.
        load_blackout: Duration = duration("10s").zero("at once").per_service(),
        /// How long a load report counts when no other follows.
        load_expiry: Duration = duration("3m").zero("it does not count").per_service(),
    }
}
