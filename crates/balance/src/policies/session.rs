//! A session stays with its member.

use super::least_request::LeastRequest;
use super::{Policy, Row};
use crate::draw::Draw;
use crate::ring::Ring;

pub(super) const ROW: Row = Row {
    name: "session",
    aliases: &[
        "ring_hash",
        "ring_hash_experimental",
        "maglev",
        "consistent_hash",
    ],
    about: "a session stays with its member while it lives; calls without one as least_request",
    build: |members, shares, options| {
        let bound = options.session_bound.map(|bound| bound.max(1.0));
        Box::new(Session {
            ring: Ring::new(members, shares),
            bound,
        })
    },
};

/// How many members tell the mean of a larger set: enough to be off by a few per cent.
const SAMPLE: usize = 64;
/// How many points of the ring a session that must spill over looks at before it stays at home.
const SPILL_POINTS: usize = 256;

/// Consistent hashing (Karger 1997), with bounded loads (Mirrokni 2016) where a bound is set.
///
/// There is no slow start for sessions: holding one back now would move it later.
struct Session {
    ring: Ring,
    bound: Option<f64>,
}

impl Policy for Session {
    fn pick(&self, draw: &mut Draw<'_>) -> Option<usize> {
        let Some(session) = draw.request.session else {
            return LeastRequest.pick(draw);
        };
        let home = self.owners(session, draw).next()?;
        let Some(bound) = self.bound else {
            return Some(home);
        };
        // The bound allows everybody one call.
        if draw.member(home).load.in_flight() == 0 {
            return Some(home);
        }
        let most = bound * mean(draw);
        let has_room = |index: &usize| {
            let most = (most * draw.set.shares.of(*index) as f64).ceil();
            f64::from(draw.member(*index).load.in_flight()) < most
        };
        self.owners(session, draw)
            .take(SPILL_POINTS)
            .find(has_room)
            .or(Some(home))
    }
}

impl Session {
    fn owners(&self, session: u64, draw: &Draw<'_>) -> impl Iterator<Item = usize> {
        self.ring
            .from(session)
            .filter(|index| !draw.is_excluded(*index))
    }
}

/// Calls in flight per unit of weight, with the one that is to come.
fn mean(draw: &mut Draw<'_>) -> f64 {
    let set = draw.set;
    let calls = |index: usize| f64::from(set.members()[index].load.in_flight());
    let coming = 1.0 / set.shares.total() as f64;
    if set.len() <= SAMPLE {
        return coming + (0..set.len()).map(calls).sum::<f64>() / set.shares.total() as f64;
    }
    // Heavy members are drawn as much more often as their calls are divided by more.
    let drawn = (0..SAMPLE).map(|_| {
        let index = draw.random();
        calls(index) / set.shares.of(index) as f64
    });
    coming + drawn.sum::<f64>() / SAMPLE as f64
}
