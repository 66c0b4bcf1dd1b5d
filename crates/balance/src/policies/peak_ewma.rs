//! Least latency times calls in flight, of two.

use super::{Policy, Row};
use crate::draw::Draw;

pub(super) const ROW: Row = Row {
    name: "peak_ewma",
    aliases: &["ewma"],
    about: "the faster of two members: decayed peak latency times calls in flight",
    build: |_, _, _| Box::new(PeakEwma),
};

/// The peak EWMA balancer of Finagle: a member costs what its last peak of latency, as time has
/// decayed it, says that its calls in flight and one more will take.
///
/// An idle member that has never answered keeps its turn: its latency is only assumed, and where
/// others answer faster than that it would never get the call that tells.
struct PeakEwma;

impl Policy for PeakEwma {
    fn pick(&self, draw: &mut Draw<'_>) -> Option<usize> {
        let first = draw.in_turn()?;
        let load = &draw.member(first).load;
        if !load.is_observed() && load.in_flight() == 0 {
            return Some(first);
        }
        let better = draw
            .second(first)
            .filter(|second| cost(draw, *second) < cost(draw, first));
        better.or(Some(first))
    }
}

/// Seconds below which latencies are equal. Without it a member that was quiet for minutes, and so
/// has decayed to nothing, would outbid all others however many calls it is sent.
const FLOOR: f64 = 0.000_1;

fn cost(draw: &Draw<'_>, index: usize) -> f64 {
    draw.member(index).load.latency(draw.now()).max(FLOOR) * draw.load(index)
}
