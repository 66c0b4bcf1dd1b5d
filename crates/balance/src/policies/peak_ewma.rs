//! Least latency times calls in flight, of two.

use super::{Policy, Row};
use crate::draw::Draw;

pub(super) const ROW: Row = Row {
    name: "peak_ewma",
    aliases: &["ewma"],
    about: "the faster of two members: decayed peak latency times calls in flight",
    build: |_, _, _| Box::new(PeakEwma),
};

/// Finagle's `aperture`-less peak EWMA balancer: a member costs what its last peak of latency, as
/// time has decayed it, says that its calls in flight and one more will take.
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

fn cost(draw: &Draw<'_>, index: usize) -> f64 {
    draw.member(index).load.latency(draw.now()) * draw.load(index)
}
