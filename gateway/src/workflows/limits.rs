//! The limits of the predecessor, which are off unless their keys say more than 0: requests of
//! everybody in a minute, and runs that a user starts in a minute by the number of agents in them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::{
    keys::WorkflowKeys,
    problem::{Problem, ProblemKind},
};

/// The window of a count. It begins with its first request.
const WINDOW: Duration = Duration::from_secs(60);
/// How many counts are remembered before those that are over are forgotten.
const SWEEP_ABOVE: usize = 65_536;

/// Counts by minute.
#[derive(Debug)]
pub(crate) struct MinuteLimits {
    requests: u64,
    runs: [(&'static str, u64); 3],
    counts: Mutex<HashMap<(String, &'static str), Count>>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Instant,
    count: u64,
}

/// A count that is over its limit.
struct Exceeded {
    limit: u64,
    count: u64,
    seconds: u64,
}

impl MinuteLimits {
    pub(crate) fn new(keys: &WorkflowKeys) -> Self {
        Self {
            requests: keys.minute_requests,
            runs: [
                ("simple", keys.minute_simple_runs),
                ("standard", keys.minute_standard_runs),
                ("heavy", keys.minute_heavy_runs),
            ],
            counts: Mutex::default(),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// 429 as the predecessor answers it.
    pub(crate) fn request(&self, now: Instant) -> Result<(), Problem> {
        let taken = self.take(String::new(), "", self.requests, now);
        taken.map_err(|over| {
            let message = "Service is experiencing high load. Please try again later.";
            let details = json!({
                "limit": over.limit,
                "window": "60 seconds",
                "retry_after_seconds": over.seconds,
            });
            refusal("global_rate_limit_exceeded", message, &over, details)
        })
    }

    /// Counts a run of a user, of a workflow with so many agents.
    ///
    /// # Errors
    /// 429 as the predecessor answers it.
    pub(crate) fn run(&self, owner: &str, agents: usize, now: Instant) -> Result<(), Problem> {
        let [simple, standard, heavy] = self.runs;
        let (tier, limit) = match agents {
            0 => simple,
            1 | 2 => standard,
            _ => heavy,
        };
        let taken = self.take(owner.to_owned(), tier, limit, now);
        taken.map_err(|over| {
            let message = format!(
                "rate limit exceeded: {tier} tier allows {limit} runs/minute, retry after {} seconds",
                over.seconds
            );
            let details = json!({
                "tier": tier,
                "limit": limit,
                "window": "60 seconds",
                "current_count": over.count,
                "retry_after_seconds": over.seconds,
            });
            refusal("rate_limit_exceeded", &message, &over, details)
        })
    }

    fn take(
        &self,
        who: String,
        what: &'static str,
        limit: u64,
        now: Instant,
    ) -> Result<(), Exceeded> {
        if limit == 0 {
            return Ok(());
        }
        let over = |since: Instant| now.saturating_duration_since(since) >= WINDOW;
        let mut counts = self.counts.lock();
        if counts.len() >= SWEEP_ABOVE {
            counts.retain(|_, count| !over(count.since));
        }
        let fresh = Count {
            since: now,
            count: 0,
        };
        let count = counts.entry((who, what)).or_insert(fresh);
        if over(count.since) {
            *count = fresh;
        }
        count.count += 1;
        if count.count <= limit {
            return Ok(());
        }
        let left = WINDOW.saturating_sub(now.saturating_duration_since(count.since));
        Err(Exceeded {
            limit,
            count: count.count,
            seconds: left.as_secs() + 1,
        })
    }
}

fn refusal(error: &str, message: &str, over: &Exceeded, details: Value) -> Problem {
    let mut problem = Problem::new(ProblemKind::TooManyRequests, message);
    problem.retry_after = Some(over.seconds);
    for (name, value) in [
        ("error", error.into()),
        ("message", message.into()),
        ("details", details),
    ] {
        problem.extensions.insert(name.to_owned(), value);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u64, heavy: u64) -> MinuteLimits {
        MinuteLimits {
            requests,
            runs: [("simple", 0), ("standard", 0), ("heavy", heavy)],
            counts: Mutex::default(),
        }
    }

    #[test]
    fn the_limits_are_off_unless_their_keys_say_otherwise() {
        let (limits, now) = (limits(0, 0), Instant::now());
        for _ in 0..1_000 {
            assert!(limits.request(now).is_ok() && limits.run("a", 3, now).is_ok());
        }
        assert!(limits.counts.lock().is_empty());
    }

    #[test]
    fn a_user_who_starts_too_many_heavy_runs_gets_the_predecessors_answer() {
        let (limits, now) = (limits(0, 2), Instant::now());
        assert!(limits.run("a", 3, now).is_ok() && limits.run("a", 9, now).is_ok());
        let problem = limits.run("a", 3, now).unwrap_err();
        let body = serde_json::to_value(&problem).unwrap();
        assert_eq!(
            (problem.status, &body["error"]),
            (429, &json!("rate_limit_exceeded"))
        );
        let details = &body["details"];
        assert_eq!(details["tier"], "heavy");
        assert_eq!(
            (&details["limit"], &details["current_count"]),
            (&json!(2), &json!(3))
        );
        assert_eq!(details["window"], "60 seconds");
        assert!(problem.retry_after.unwrap() <= 61);
        assert!(limits.run("b", 3, now).is_ok() && limits.run("a", 0, now).is_ok());
        assert!(
            limits.run("a", 3, now + WINDOW).is_ok(),
            "the next minute counts anew"
        );
    }

    #[test]
    fn requests_of_all_count_together() {
        let (limits, now) = (limits(1, 0), Instant::now());
        assert!(limits.request(now).is_ok());
        let body = serde_json::to_value(limits.request(now).unwrap_err()).unwrap();
        assert_eq!(body["error"], "global_rate_limit_exceeded");
        assert_eq!(body["details"]["limit"], 1);
    }
}
