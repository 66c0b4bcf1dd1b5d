//! The ring of consistent hashing.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::members::Members;

/// How many points on the ring a member of the largest weight has. Others have fewer by their
/// weight, but at least one. With 160 (ketama's number) the shares of equal members differ by about
/// 8 %. The scale is the largest weight, not the mean, so that a member that joins or leaves does
/// not change the points of others.
pub const POINTS: u32 = 160;

/// The hash of members and sessions: xxh3, which is the same everywhere.
#[must_use]
pub fn hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// Points in order, each of a member. The owner of a point depends only on the members' hashes and
/// weights, not on their order.
#[derive(Debug)]
pub(crate) struct Ring(Vec<(u64, u32)>);

impl Ring {
    pub(crate) fn new(members: &Members) -> Self {
        let shares = &members.shares;
        let most = (0..members.len())
            .map(|index| shares.of(index))
            .max()
            .unwrap_or(1);
        let mut points = Vec::new();
        for (index, member) in members.iter().enumerate() {
            let share = shares.of(index);
            let count = (share as f64 / most as f64 * f64::from(POINTS)).round() as u64;
            let count = count.max(share.min(1));
            let place = |replica| xxh3_64_with_seed(&member.hash.to_le_bytes(), replica);
            // Indices fit in 32 bits.
            points.extend((0..count).map(|replica| (place(replica), index as u32)));
        }
        points.sort_unstable_by_key(|(place, index)| (*place, members[*index as usize].hash));
        Self(points)
    }

    /// The owners of all points, once around from the session's place. Each member comes as often
    /// as it has points.
    pub(crate) fn from(&self, session: u64) -> impl Iterator<Item = usize> {
        // Hashed again, so that numbers that are no good hashes spread too.
        let place = xxh3_64(&session.to_le_bytes());
        let (before, after) = self
            .0
            .split_at(self.0.partition_point(|(point, _)| *point < place));
        after.iter().chain(before).map(|(_, index)| *index as usize)
    }
}
