//! Least calls in flight, of two.

use super::{Policy, Row};
use crate::draw::Draw;

pub(super) const ROW: Row = Row {
    name: "least_request",
    aliases: &["least_conn", "leastconn", "least_request_experimental"],
    about: "the less busy of two members: even when idle, least loaded under load",
    build: |_, _, _| Box::new(LeastRequest),
};

/// The power of two choices (Mitzenmacher 2001): comparing two members is nearly as good as
/// comparing all, and cannot send everybody to the one that looked idle to all.
///
/// The first of the two is taken in turn, and the random second must be strictly better. So idle
/// members get calls exactly evenly, where two random choices would be uneven by chance.
pub(super) struct LeastRequest;

impl Policy for LeastRequest {
    fn pick(&self, draw: &mut Draw<'_>) -> Option<usize> {
        let first = draw.in_turn()?;
        if draw.member(first).load.in_flight() == 0 {
            // Nobody is strictly better than idle.
            return Some(first);
        }
        let better = draw
            .second(first)
            .filter(|second| draw.load(*second) < draw.load(first));
        better.or(Some(first))
    }
}
