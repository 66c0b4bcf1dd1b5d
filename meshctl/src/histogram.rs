//! Calls between two scrapes: how many, how many went well, and how long they took.

use std::collections::BTreeMap;

use telemetry::rpc::{code_name, is_server_error};

use crate::exposition::{Sample, Samples};

/// The histogram of served calls.
const CALLS: &str = "rpc_server_call_duration_seconds";
/// Calls of those who look at a program, which are no traffic.
const PROBES: [&str; 2] = ["grpc.health.", "grpc.reflection."];

/// Calls by duration, as counters that only grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Calls {
    /// Calls that took at most so long, by the bound's text.
    buckets: BTreeMap<String, f64>,
    all: f64,
    failed: f64,
}

/// Calls in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Traffic {
    pub(crate) calls: f64,
    /// The share that did not end with an error of the server, `None` without calls.
    pub(crate) success: Option<f64>,
    /// Durations in seconds that 50, 95 and 99 % of the calls did not exceed.
    pub(crate) quantiles: [Option<f64>; 3],
}

impl Calls {
    /// The calls of one program, of those series that are wanted.
    pub(crate) fn of(samples: &Samples, wanted: impl Fn(&Sample) -> bool) -> Self {
        let mut calls = Self::default();
        for sample in &samples.0 {
            let Some(part) = sample.name.strip_prefix(CALLS) else {
                continue;
            };
            let method = sample.label("rpc_method");
            if PROBES.iter().any(|probe| method.starts_with(probe)) || !wanted(sample) {
                continue;
            }
            match part {
                "_bucket" => {
                    let le = sample.label("le").to_owned();
                    *calls.buckets.entry(le).or_default() += sample.value;
                }
                "_count" => {
                    calls.all += sample.value;
                    if is_failure(sample.label("rpc_response_status_code")) {
                        calls.failed += sample.value;
                    }
                }
                _ => {}
            }
        }
        calls
    }

    /// Adds those of another program.
    pub(crate) fn add(&mut self, other: &Self) {
        for (le, count) in &other.buckets {
            *self.buckets.entry(le.clone()).or_default() += count;
        }
        self.all += other.all;
        self.failed += other.failed;
    }

    /// What came since an earlier look at the same program. One that was started again counts from 0.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        if self.all < earlier.all {
            return self.clone();
        }
        let before = |le: &String| earlier.buckets.get(le).copied().unwrap_or(0.0);
        let bucket = |(le, count): (&String, &f64)| (le.clone(), (count - before(le)).max(0.0));
        Self {
            buckets: self.buckets.iter().map(bucket).collect(),
            all: self.all - earlier.all,
            failed: (self.failed - earlier.failed).max(0.0),
        }
    }

    /// What they say.
    pub(crate) fn traffic(&self) -> Traffic {
        let bounds = self.bounds();
        Traffic {
            calls: self.all,
            success: (self.all > 0.0).then(|| 1.0 - self.failed / self.all),
            quantiles: [0.5, 0.95, 0.99].map(|share| quantile(&bounds, share)),
        }
    }

    /// The bounds in their order, each with the calls up to it.
    fn bounds(&self) -> Vec<(f64, f64)> {
        let read = |(le, count): (&String, &f64)| Some((bound(le)?, *count));
        let mut bounds: Vec<(f64, f64)> = self.buckets.iter().filter_map(read).collect();
        bounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        bounds
    }
}

fn bound(le: &str) -> Option<f64> {
    match le {
        "+Inf" => Some(f64::INFINITY),
        number => number.parse().ok(),
    }
}

/// Whether a status of this name is the server's fault.
fn is_failure(name: &str) -> bool {
    (0..=16).any(|code| code_name(code) == name && is_server_error(code))
}

/// The value that a share of the calls does not exceed: within its bucket by proportion, as
/// Prometheus' `histogram_quantile` has it. Beyond the last bound it is that bound.
fn quantile(bounds: &[(f64, f64)], share: f64) -> Option<f64> {
    let total = bounds.last()?.1;
    if total <= 0.0 {
        return None;
    }
    let rank = total * share;
    let mut below = (0.0, 0.0);
    for (bound, count) in bounds {
        if *count >= rank {
            if bound.is_infinite() {
                return Some(below.0);
            }
            let within = (count - below.1).max(f64::MIN_POSITIVE);
            return Some(below.0 + (bound - below.0) * (rank - below.1) / within);
        }
        below = (*bound, *count);
    }
    Some(below.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(ok: [u32; 3], failed: [u32; 3]) -> Calls {
        let mut text = String::new();
        for (code, [a, b, all]) in [("OK", ok), ("UNAVAILABLE", failed)] {
            let labels = format!("rpc_method=\"a.B/C\",rpc_response_status_code=\"{code}\"");
            for (le, count) in [("0.1", a), ("1.0", b), ("+Inf", all)] {
                text += &format!("{CALLS}_bucket{{{labels},le=\"{le}\"}} {count}\n");
            }
            text += &format!("{CALLS}_count{{{labels}}} {all}\n");
        }
        text += &format!("{CALLS}_count{{rpc_method=\"grpc.health.v1.Health/Check\"}} 99\n");
        Calls::of(&Samples::read(&text), |_| true)
    }

    #[test]
    fn what_came_between_two_scrapes_counts() {
        let (first, second) = (
            scrape([10, 10, 10], [0, 0, 0]),
            scrape([60, 100, 100], [0, 0, 10]),
        );
        let traffic = second.since(&first).traffic();
        assert_eq!((traffic.calls, traffic.success), (100.0, Some(0.9)));
        assert_eq!(traffic.quantiles[0], Some(0.1));
        assert_eq!(traffic.quantiles[2], Some(1.0), "beyond the last bound");
        // Between 0.1 and 1: 50 of 90 are below, 85 are asked for.
        let p85 = quantile(&second.since(&first).bounds(), 0.85);
        assert!((p85.unwrap() - 0.8875).abs() < 1e-9, "{p85:?}");
    }

    #[test]
    fn nothing_is_said_of_no_calls_and_a_new_process_begins_at_zero() {
        let some = scrape([60, 100, 100], [0, 0, 10]);
        let none = some.since(&some).traffic();
        assert_eq!(
            (none.calls, none.success, none.quantiles),
            (0.0, None, [None; 3])
        );
        let anew = scrape([1, 1, 1], [0, 0, 0]);
        assert_eq!(anew.since(&some).traffic().calls, 1.0);
    }
}
