//! Least calls in flight.

use super::{Policy, PolicyRow};
use crate::pick::PickContext;
use crate::shares::Shares;

pub(super) const ROW: PolicyRow = PolicyRow {
    name: "least_request",
    aliases: &["least_conn", "leastconn", "least_request_experimental"],
    about: "the instance with the fewest calls in flight per weight: among all of up to 8, among \
            four at random in larger sets; in turn while they are idle",
    wants_reports: false,
    wants_session: false,
    build: |_, _| Box::new(LeastRequest),
};

/// The first candidate is the next in turn, and another must be strictly better. So idle members
/// get calls exactly evenly; random choices would be uneven.
///
/// A call follows its caller's previous call in flight, while that member has hardly more load than
/// the picked one: calls to one place together are written together. An idle member is never passed
/// over.
pub(super) struct LeastRequest;

impl Policy for LeastRequest {
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize> {
        let picked = least_loaded(context, &context.members.shares)?;
        if context.member(picked).load.in_flight() == 0 {
            return Some(picked);
        }
        context.affinity(picked).or(Some(picked))
    }
}

pub(super) fn least_loaded(context: &mut PickContext<'_>, shares: &Shares) -> Option<usize> {
    let first = context.in_turn_by(shares)?;
    if context.member(first).load.in_flight() == 0 {
        // No member is strictly better than an idle one.
        return Some(first);
    }
    Some(context.cheapest(first, 1.0, |context, index| context.load_by(shares, index)))
}
