//! Sets and calls for tests.
#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mesh_balance::{BalanceOptions, Load, Member, PickArgs, PolicyRow, Set, TurnCounter, hash};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The same numbers in every run.
pub(crate) fn rng() -> StdRng {
    StdRng::seed_from_u64(42)
}

pub(crate) fn member(number: usize, weight: u32) -> Member {
    let hash = hash(&format!("node-{number}/echo-agent-{number}"));
    Member {
        hash,
        weight,
        load: Arc::new(Load::new()),
    }
}

pub(crate) fn set(row: &PolicyRow, weights: &[u32]) -> Set {
    set_with(row, weights, &BalanceOptions::default())
}

pub(crate) fn set_with(row: &PolicyRow, weights: &[u32], options: &BalanceOptions) -> Set {
    let members = weights
        .iter()
        .enumerate()
        .map(|(n, weight)| member(n, *weight));
    Set::new(
        members.collect(),
        row,
        options,
        Arc::new(TurnCounter::new()),
    )
}

/// Ways to call a set; each returns how often each member was picked.
pub(crate) struct Calls;

impl Calls {
    /// One call after another.
    pub(crate) fn idle(set: &Set, count: usize) -> Vec<usize> {
        Self::idle_at(set, count, Duration::ZERO)
    }

    pub(crate) fn idle_at(set: &Set, count: usize, now: Duration) -> Vec<usize> {
        let mut rng = rng();
        let request = PickArgs { session: None, now };
        tally(set, (0..count).map(|_| pick(set, &request, &mut rng)))
    }

    /// So many at a time, the oldest ending as the next begins.
    pub(crate) fn busy(set: &Set, count: usize, at_a_time: usize) -> Vec<usize> {
        let mut rng = rng();
        let mut open = VecDeque::new();
        let picks = (0..count).map(|_| {
            let index = pick(set, &PickArgs::default(), &mut rng);
            set.members()[index].load.begin(Duration::ZERO);
            open.push_back(index);
            if open.len() > at_a_time {
                let oldest: usize = open.pop_front().expect("a call is open");
                set.members()[oldest].load.end();
            }
            index
        });
        tally(set, picks)
    }

    /// One call each of so many sessions.
    pub(crate) fn sessions(set: &Set, count: usize) -> Vec<usize> {
        let mut rng = rng();
        tally(
            set,
            sessions(count).map(|request| pick(set, &request, &mut rng)),
        )
    }
}

pub(crate) fn sessions(count: usize) -> impl Iterator<Item = PickArgs> {
    (0..count).map(|number| PickArgs {
        session: Some(hash(&format!("session-{number}"))),
        now: Duration::ZERO,
    })
}

/// Whether counts are what the weights say, give or take `tolerance` of each.
pub(crate) fn share(counts: &[usize], weights: &[f64], tolerance: f64) -> bool {
    let calls = counts.iter().sum::<usize>() as f64;
    let total: f64 = weights.iter().sum();
    counts.iter().zip(weights).all(|(count, weight)| {
        let fair = calls * weight / total;
        (*count as f64 - fair).abs() <= fair * tolerance
    })
}

fn pick(set: &Set, request: &PickArgs, rng: &mut StdRng) -> usize {
    set.pick(request, rng, &[]).expect("the set has members")
}

fn tally(set: &Set, picks: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut counts = vec![0; set.len()];
    for index in picks {
        counts[index] += 1;
    }
    counts
}
