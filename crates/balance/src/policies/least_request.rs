//! Least calls in flight.

use super::{Policy, Row};
use crate::draw::Draw;
use crate::shares::Shares;

pub(super) const ROW: Row = Row {
    name: "least_request",
    aliases: &["least_conn", "leastconn", "least_request_experimental"],
    about: "the least busy of a small set, of four in a larger one: even when idle",
    build: |_, _, _| Box::new(LeastRequest),
};

/// The first is taken in turn, and another must be strictly better. So idle members get calls
/// exactly evenly, where random choices would be uneven by chance.
///
/// A call whose caller has others under way follows the one before it while that member has hardly
/// more to do than the one picked: what goes to one place together is written together.
/// Before an idle member none is preferred so.
pub(super) struct LeastRequest;

impl Policy for LeastRequest {
    fn pick(&self, draw: &mut Draw<'_>) -> Option<usize> {
        let picked = least_loaded(draw, &draw.set.shares)?;
        if draw.member(picked).load.in_flight() == 0 {
            return Some(picked);
        }
        draw.following(picked).or(Some(picked))
    }
}

pub(super) fn least_loaded(draw: &mut Draw<'_>, shares: &Shares) -> Option<usize> {
    let first = draw.in_turn_by(shares)?;
    if draw.member(first).load.in_flight() == 0 {
        // Nobody is strictly better than idle.
        return Some(first);
    }
    Some(draw.cheapest(first, 1.0, |draw, index| draw.load_by(shares, index)))
}
