//! One pick in progress: the ways in which a policy may come by a member.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::{
    members::{Member, Members, PickArgs, PreviousPick},
    shares::Shares,
};

/// How many candidates are looked at before settling for one that is cold, or scanning. A set that
/// is nine tenths cold still finds one that is warm enough in 97 of 100 picks.
const TRIES: usize = 16;
/// Sets up to this size are compared whole, which costs no more than drawing from them.
const SCAN: usize = 8;
/// How many members of a larger set are compared.
const CHOICES: usize = 4;

/// How many times what another has to do a member may come to have by calls that follow to it: by
/// those that come together, which is over when they are, and by those that come one after another.
const FOLLOWED: (f64, f64) = (1.5, 1.125);
/// How many times slower than the member picked one may answer, and still be followed: what a slow
/// one is given stays with it.
const SLOWER: f64 = 2.0;

/// What a policy sees of a pick. Whatever it draws here has a share by its weight, is no more often
/// than its slow start allows, and was not excluded: a policy only has to choose.
pub(crate) struct PickContext<'a> {
    pub(crate) members: &'a Members,
    /// Who took the caller's call before.
    pub(crate) previous: Option<PreviousPick>,
    pub(crate) request: &'a PickArgs,
    pub(crate) rng: &'a mut dyn Rng,
    pub(crate) exclude: &'a [usize],
}

impl<'a> PickContext<'a> {
    /// The member whose turn it is; `None` when all that may be called are excluded.
    pub(crate) fn in_turn(&mut self) -> Option<usize> {
        self.in_turn_by(&self.members.shares)
    }

    /// The same by other shares than those of the registry's weights.
    pub(crate) fn in_turn_by(&mut self, shares: &Shares) -> Option<usize> {
        self.first_of(|context| shares.in_turn(context.members.turn.take()))
    }

    /// A random member; `None` when all that may be called are excluded.
    pub(crate) fn at_random(&mut self) -> Option<usize> {
        self.first_of(Self::random)
    }

    /// The member of the least cost among a few, of whom `first` is one: all of a small set, else
    /// random ones (the power of choices, Mitzenmacher 2001). Another than `first` only when its
    /// cost is below `margin` times the first one's: members that are about equal keep their turns.
    pub(crate) fn cheapest(
        &mut self,
        first: usize,
        margin: f64,
        cost: impl Fn(&Self, usize) -> f64,
    ) -> usize {
        let mut best = (first, cost(self, first) * margin);
        let len = self.members.len();
        let all = len <= SCAN;
        // From a random one on, or the neighbour of a busy member would get all that it does not.
        let start = self.rng.random_range(0..len);
        for step in 0..if all { len } else { CHOICES - 1 } {
            let index = if all {
                (start + step) % len
            } else {
                self.random()
            };
            if index == first || self.members.shares.of(index) == 0 || self.is_excluded(index) {
                continue;
            }
            let cost = cost(self, index);
            if cost < best.1 && self.is_warm_enough(index) {
                best = (index, cost);
            }
        }
        best.0
    }

    /// A member that has not answered for `age` and has no call, if chance comes by one; of several
    /// the one that has been quiet for the longest.
    pub(crate) fn longest_idle(&mut self, age: Duration) -> Option<usize> {
        let len = self.members.len();
        let start = self.rng.random_range(0..len);
        (0..len.min(SCAN))
            .map(|step| (start + step) % len)
            .filter(|index| self.members.shares.of(*index) > 0 && !self.is_excluded(*index))
            .filter(|index| self.member(*index).load.in_flight() == 0)
            .map(|index| (self.member(index).load.age(self.now()), index))
            .filter(|(quiet, _)| *quiet >= age)
            .max()
            .map(|(_, index)| index)
    }

    pub(crate) fn member(&self, index: usize) -> &'a Member {
        &self.members[index]
    }

    pub(crate) fn now(&self) -> Duration {
        self.request.now
    }

    /// What a member has to do, in units of an idle one's: 1 and its calls in flight by its share.
    /// For equal weights it orders as calls in flight do.
    ///
    /// The weight divides only the calls, not the 1: candidates come by weight already, and idle
    /// members that were compared by it once more would get more than their share.
    pub(crate) fn load(&self, index: usize) -> f64 {
        self.load_by(&self.members.shares, index)
    }

    /// The same by other shares than those of the registry's weights.
    pub(crate) fn load_by(&self, shares: &Shares, index: usize) -> f64 {
        1.0 + f64::from(self.member(index).load.in_flight()) / shares.relative(index)
    }

    /// The member that took the caller's call before, if it has hardly more to do than `picked`, and
    /// is about as fast.
    pub(crate) fn affinity(&self, picked: usize) -> Option<usize> {
        let PreviousPick { member, together } = self.previous?;
        let previous = Some(member).filter(|index| *index < self.members.len())?;
        let (at_once, in_time) = FOLLOWED;
        let most = if together { at_once } else { in_time };
        let with_this = self.load(previous) + 1.0 / self.members.shares.relative(previous);
        let other = self.load(picked);
        let close = with_this <= (other * most).min(other + f64::from(self.members.affinity_slack));
        let average = |index| self.member(index).load.average();
        let fast = || average(previous) <= average(picked) * SLOWER;
        // What starts slowly is not to get by calls that follow what it is not to get by turns.
        let warm = || {
            self.members
                .slow_start
                .factor(&self.member(previous).load, self.now())
                >= 1.0
        };
        (close && fast() && !self.is_excluded(previous) && warm()).then_some(previous)
    }

    pub(crate) fn is_excluded(&self, index: usize) -> bool {
        self.exclude.contains(&index)
    }

    /// A random member by weight alone, for statistics.
    pub(crate) fn random(&mut self) -> usize {
        let position = self.rng.random_range(0..self.members.shares.total());
        self.members.shares.owner(position)
    }

    /// Decided anew for each candidate; by chance, so that no state is kept for it.
    fn is_warm_enough(&mut self, index: usize) -> bool {
        let factor = self
            .members
            .slow_start
            .factor(&self.member(index).load, self.now());
        factor >= 1.0 || self.rng.random::<f64>() < factor
    }

    fn first_of(&mut self, mut candidate: impl FnMut(&mut Self) -> usize) -> Option<usize> {
        let mut cold = None;
        for _ in 0..TRIES {
            let index = candidate(self);
            if self.is_excluded(index) {
                continue;
            }
            if self.is_warm_enough(index) {
                return Some(index);
            }
            cold = Some(index);
        }
        cold.or_else(|| self.scan())
    }

    /// The last resort, when heavy members that are excluded hide the others: all in order, from a
    /// random one on.
    fn scan(&mut self) -> Option<usize> {
        let start = self.random();
        (start..self.members.len())
            .chain(0..start)
            .find(|index| self.members.shares.of(*index) > 0 && !self.is_excluded(*index))
    }
}
