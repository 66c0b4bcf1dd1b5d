//! One pick: the ways in which a policy may choose a member.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::{
    members::{Member, Members, PickArgs, PreviousPick},
    shares::Shares,
};

/// How many candidates are drawn before a cold one is taken or all are scanned. In a set that is
/// nine tenths cold, 97 of 100 picks still find a warm one.
const TRIES: usize = 16;
/// Sets up to this size are compared as a whole, which costs no more than drawing.
const SCAN: usize = 8;
/// How many members of a larger set are compared.
const CHOICES: usize = 4;

/// How many times the load of another member one may get by calls that follow to it: by calls that
/// come together, whose load ends with them, and by calls one after another.
const FOLLOWED: (f64, f64) = (1.5, 1.125);
/// How many times slower than the picked member one may be and still be followed. A slow one keeps
/// its calls for long.
const SLOWER: f64 = 2.0;

/// What a policy sees of a pick. Draws respect weights, slow start and exclusions, so a policy only
/// has to choose.
pub(crate) struct PickContext<'a> {
    pub(crate) members: &'a Members,
    /// The member that took the caller's previous call.
    pub(crate) previous: Option<PreviousPick>,
    pub(crate) request: &'a PickArgs,
    pub(crate) rng: &'a mut dyn Rng,
    pub(crate) exclude: &'a [usize],
}

impl<'a> PickContext<'a> {
    /// The member whose turn it is; `None` when all members are excluded.
    pub(crate) fn in_turn(&mut self) -> Option<usize> {
        self.in_turn_by(&self.members.shares)
    }

    /// The same by other shares than those by the registry's weights.
    pub(crate) fn in_turn_by(&mut self, shares: &Shares) -> Option<usize> {
        self.first_of(|context| shares.in_turn(context.members.turn.take()))
    }

    /// A random member; `None` when all members are excluded.
    pub(crate) fn at_random(&mut self) -> Option<usize> {
        self.first_of(Self::random)
    }

    /// The member of the least cost among a few: all of a small set, else `first` and random ones
    /// (the power of choices, Mitzenmacher 2001). Another than `first` is taken only if it costs
    /// less than `margin` times as much, so that about equal members keep their turns.
    pub(crate) fn cheapest(
        &mut self,
        first: usize,
        margin: f64,
        cost: impl Fn(&Self, usize) -> f64,
    ) -> usize {
        let mut best = (first, cost(self, first) * margin);
        let len = self.members.len();
        let all = len <= SCAN;
        // From a random one on. Otherwise the neighbour of a busy member would get all its calls.
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

    /// A member without calls that has not answered for `age`, if a random sample has one. Of
    /// several, the one that was idle the longest.
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

    /// The load of a member: 1 plus its calls in flight divided by its share. With equal weights it
    /// orders like calls in flight.
    ///
    /// The weight divides only the calls, not the 1. Candidates are drawn by weight already, and
    /// idle members compared by weight again would get more than their share.
    pub(crate) fn load(&self, index: usize) -> f64 {
        self.load_by(&self.members.shares, index)
    }

    /// The same by other shares than those by the registry's weights.
    pub(crate) fn load_by(&self, shares: &Shares, index: usize) -> f64 {
        1.0 + f64::from(self.member(index).load.in_flight()) / shares.relative(index)
    }

    /// The member that took the caller's previous call, if it has hardly more load than `picked`
    /// and is about as fast.
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
        // A member in slow start must not get more calls by following than by its turns.
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

    /// A random member by weight only, for statistics.
    pub(crate) fn random(&mut self) -> usize {
        let position = self.rng.random_range(0..self.members.shares.total());
        self.members.shares.owner(position)
    }

    /// Decided for each candidate by chance, so that it needs no state.
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

    /// The last resort, when excluded members of large weight hide the others: all in order, from a
    /// random one on.
    fn scan(&mut self) -> Option<usize> {
        let start = self.random();
        (start..self.members.len())
            .chain(0..start)
            .find(|index| self.members.shares.of(*index) > 0 && !self.is_excluded(*index))
    }
}
