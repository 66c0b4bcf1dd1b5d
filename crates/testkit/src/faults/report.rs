//! What became of the calls.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;
use tonic::Status;

use super::fault::Fault;
use crate::load::Call;

/// What became of the calls.
#[derive(Debug)]
pub struct FaultReport {
    /// What was done.
    pub fault: Fault,
    /// Every call.
    pub calls: Vec<Call>,
    /// When it began to be done.
    pub from: Instant,
    /// When it was done: a killed process was gone.
    pub at: Instant,
    /// When it was over.
    pub over: Option<Instant>,
    /// The instance it was done to.
    pub victim: Option<String>,
    /// The instances that came later.
    pub newcomers: Vec<String>,
}

impl FaultReport {
    /// How many calls succeeded.
    #[must_use]
    pub fn succeeded(&self) -> usize {
        self.calls
            .iter()
            .filter(|call| call.outcome.is_ok())
            .count()
    }

    /// The calls that failed.
    pub fn failed(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| call.outcome.is_err())
    }

    /// How many calls failed with each status, such as `3 Unavailable`; 0 when none did.
    #[must_use]
    pub fn losses(&self) -> String {
        let mut counts = BTreeMap::<String, usize>::new();
        for status in self.failed().filter_map(|call| call.outcome.as_ref().err()) {
            *counts.entry(format!("{:?}", status.code())).or_default() += 1;
        }
        if counts.is_empty() {
            return "0".to_owned();
        }
        let each = counts.iter().map(|(code, count)| format!("{count} {code}"));
        each.collect::<Vec<_>>().join(", ")
    }

    /// The calls that a newcomer answered.
    pub fn to_newcomers(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| {
            let by = call.outcome.as_ref();
            by.is_ok_and(|id| self.newcomers.contains(id))
        })
    }

    /// How many calls were in flight when it was done.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.calls
            .iter()
            .filter(|call| self.was_in_flight(call))
            .count()
    }

    /// Whether a call was in flight when it was done.
    #[must_use]
    pub fn was_in_flight(&self, call: &Call) -> bool {
        call.sent <= self.at && call.ended >= self.from
    }

    /// The calls that were sent later than `after` the fault, while it lasted, and went to the
    /// instance it was done to.
    pub fn misled(&self, after: Duration) -> impl Iterator<Item = &Call> {
        let end = self
            .over
            .unwrap_or_else(|| self.at + Duration::from_secs(3600));
        let late = move |call: &&Call| call.sent > self.at + after && call.sent < end;
        self.calls
            .iter()
            .filter(late)
            .filter(|call| call.outcome.as_ref().ok() == self.victim.as_ref())
    }

    /// The longest that a call took which was sent later than `after` the fault.
    #[must_use]
    pub fn slowest(&self, after: Duration) -> Duration {
        let late = self.calls.iter().filter(|call| call.sent > self.at + after);
        late.map(|call| call.ended - call.sent)
            .max()
            .unwrap_or_default()
    }

    /// Fails the test, with what is known, unless `holds`.
    pub fn expect(&self, what: &str, holds: bool) {
        assert!(holds, "{}: {what}\n{}", self.fault.name(), self.told());
    }

    /// The calls that failed, a line each; times are since it was done.
    #[must_use]
    pub fn told(&self) -> String {
        let line = |call: &Call| {
            let since = |at: Instant| {
                at.saturating_duration_since(self.at).as_secs_f64()
                    - self.at.saturating_duration_since(at).as_secs_f64()
            };
            let error = call.outcome.as_ref().map_or_else(cause, String::clone);
            format!(
                "sent {:+.3} s, ended {:+.3} s: {error}",
                since(call.sent),
                since(call.ended)
            )
        };
        self.failed().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A status with what is at the bottom of it: the reason of a reset, for example.
fn cause(status: &Status) -> String {
    let cause = telemetry::root_cause(status);
    format!("{:?} {}: {cause}", status.code(), status.message())
}
