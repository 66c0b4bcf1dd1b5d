//! A session stays with its member.

use super::least_request::LeastRequest;
use super::{Policy, PolicyRow};
use crate::pick::PickContext;
use crate::ring::Ring;

pub(super) const ROW: PolicyRow = PolicyRow {
    name: "session",
    aliases: &[
        "ring_hash",
        "ring_hash_experimental",
        "maglev",
        "consistent_hash",
    ],
    about: "by consistent hashing of the session; calls without one as `least_request`",
    wants_reports: false,
    wants_session: true,
    build: |members, options| {
        let bound = options.session_bound.map(|bound| bound.max(1.0));
        Box::new(Session {
            ring: Ring::new(members),
            bound,
        })
    },
};

/// The size of the sample for the mean of a larger set: it is off by a few per cent.
const SAMPLE: usize = 64;
/// How many points of the ring an overflowing session tries before it stays with its member.
const SPILL_POINTS: usize = 256;

/// Consistent hashing (Karger 1997), with bounded loads (Mirrokni 2016) where a bound is set.
///
/// There is no slow start for sessions: one that goes elsewhere first would move later.
struct Session {
    ring: Ring,
    bound: Option<f64>,
}

impl Policy for Session {
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize> {
        let Some(session) = context.request.session else {
            return LeastRequest.pick(context);
        };
        let home = self.owners(session, context).next()?;
        let Some(bound) = self.bound else {
            return Some(home);
        };
        // The bound allows each member one call.
        if context.member(home).load.in_flight() == 0 {
            return Some(home);
        }
        let most = bound * mean(context);
        let has_room = |index: &usize| {
            let most = (most * context.members.shares.of(*index) as f64).ceil();
            f64::from(context.member(*index).load.in_flight()) < most
        };
        self.owners(session, context)
            .take(SPILL_POINTS)
            .find(has_room)
            .or(Some(home))
    }
}

impl Session {
    fn owners(&self, session: u64, context: &PickContext<'_>) -> impl Iterator<Item = usize> {
        self.ring
            .from(session)
            .filter(|index| !context.is_excluded(*index))
    }
}

/// Calls in flight per unit of weight, the coming one included.
fn mean(context: &mut PickContext<'_>) -> f64 {
    let members = context.members;
    let calls = |index: usize| f64::from(members[index].load.in_flight());
    let coming = 1.0 / members.shares.total() as f64;
    if members.len() <= SAMPLE {
        return coming + (0..members.len()).map(calls).sum::<f64>() / members.shares.total() as f64;
    }
    // Heavy members are drawn more often by the same factor that divides their calls.
    let drawn = (0..SAMPLE).map(|_| {
        let index = context.random();
        calls(index) / members.shares.of(index) as f64
    });
    coming + drawn.sum::<f64>() / SAMPLE as f64
}
