//! By the load that instances report.

use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::least_request::least_loaded;
use super::{Policy, PolicyRow};
use crate::members::Members;
use crate::pick::PickContext;
use crate::shares::Shares;

pub(super) const ROW: PolicyRow = PolicyRow {
    name: "load_aware",
    aliases: &["client_side_weighted_round_robin"],
    about: "by the load that instances report (ORCA), else as `least_request`",
    wants_reports: true,
    wants_session: false,
    build: |_, options| {
        Box::new(LoadAware {
            blackout: options.load_blackout,
            made: AtomicU64::new(0),
            shares: RwLock::new(None),
        })
    },
};

/// How often the weights are computed, in ms. That reads every member.
const PERIOD_MS: u64 = 1000;
/// The weight of the strongest member, which sets the resolution.
const MOST: f64 = 1000.0;

/// A member's weight is its reported capacity, as in gRPC's proposal A58, times the registry's
/// weight. One without a report counts as the mean of the others. Idle members get calls in turn by
/// weight. Busy ones are compared by their calls in flight, unlike in the proposal: when an
/// instance falls behind, its report is seconds old, but its calls in flight are not.
struct LoadAware {
    blackout: Duration,
    /// When the shares were made, in ms from 1; 0 for never.
    made: AtomicU64,
    shares: RwLock<Option<Shares>>,
}

impl Policy for LoadAware {
    fn pick(&self, context: &mut PickContext<'_>) -> Option<usize> {
        self.refresh(context.members, context.now());
        // Poisoned only by a panic while shares were computed; the old ones are intact.
        let shares = self.shares.read().unwrap_or_else(|e| e.into_inner());
        match &*shares {
            Some(shares) => least_loaded(context, shares),
            None => least_loaded(context, &context.members.shares),
        }
    }
}

impl LoadAware {
    fn refresh(&self, members: &Members, now: Duration) {
        let now_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX).max(1);
        let made = self.made.load(Ordering::Relaxed);
        if made != 0 && now_ms.saturating_sub(made) < PERIOD_MS {
            return;
        }
        let taken = self
            .made
            .compare_exchange(made, now_ms, Ordering::Relaxed, Ordering::Relaxed);
        if taken.is_ok() {
            let shares = shares(members, self.blackout, now);
            *self.shares.write().unwrap_or_else(|e| e.into_inner()) = shares;
        }
    }
}

/// `None` unless two members can be compared.
fn shares(members: &Members, blackout: Duration, now: Duration) -> Option<Shares> {
    let capacities: Vec<Option<f64>> = members
        .iter()
        .map(|member| member.load.reported().capacity(blackout, now))
        .collect();
    let known = capacities.iter().flatten();
    let count = known.clone().count();
    if count < 2 {
        return None;
    }
    let mean = known.sum::<f64>() / count as f64;
    // Times the member's share, so that weight 0 stays 0.
    let weights: Vec<f64> = capacities
        .iter()
        .enumerate()
        .map(|(index, capacity)| capacity.unwrap_or(mean) * members.shares.relative(index))
        .collect();
    let most = weights.iter().copied().fold(0.0, f64::max);
    let scaled = weights.iter().map(|weight| match *weight {
        0.0 => 0,
        weight => ((weight / most * MOST) as u32).max(1),
    });
    Some(Shares::new(scaled))
}
