//! Least latency, raised to a power, times calls in flight.

use std::time::Duration;

use rand::RngExt;

use super::{Policy, PolicyRow};
use crate::pick::PickContext;

pub(super) const ROW: PolicyRow = PolicyRow {
    name: "peak_ewma",
    aliases: &["ewma"],
    about: "the instance with the lowest recent latency; by calls in flight among those about as fast",
    wants_reports: false,
    wants_session: false,
    build: |_, _| Box::new(PeakEwma),
};

/// One call in this many probes an idle member, to see whether it has become faster.
const PROBE_ONE_IN: u32 = 256;
/// How long a member is idle before it is probed.
const PROBE_AFTER: Duration = Duration::from_millis(100);
/// How much less another member must cost than the one whose turn it is.
const MARGIN: f64 = 2.0 / 3.0;
/// Latencies below this many seconds are equal.
const FLOOR: f64 = 0.000_1;

/// After the peak EWMA balancer of Finagle, which multiplies latency by calls in flight. Here the
/// latency is cubed, because it already includes the wait behind calls in flight. Without the cube,
/// a member ten times slower looks equal as soon as the fast ones have ten calls each, although
/// they answer none of them later. With the cube it gets one call in 10,000.
///
/// A slow member gets few calls, in the end only probes ([`PROBE_ONE_IN`]): its latency has to be
/// measured to improve.
///
/// An idle member that has never answered keeps its turn. Its latency is only assumed, and where
/// others are faster than that, it would never get its first call.
struct PeakEwma;

impl Policy for PeakEwma {
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize> {
        let first = context.in_turn()?;
        let load = &context.member(first).load;
        if !load.is_observed() && load.in_flight() == 0 {
            return Some(first);
        }
        if context.rng.random_ratio(1, PROBE_ONE_IN)
            && let Some(quiet) = context.longest_idle(PROBE_AFTER)
        {
            return Some(quiet);
        }
        Some(context.cheapest(first, MARGIN, cost))
    }
}

fn cost(context: &PickContext<'_>, index: usize) -> f64 {
    let latency = context.member(index).load.latency(context.now()).max(FLOOR);
    latency.powi(3) * context.load(index)
}
