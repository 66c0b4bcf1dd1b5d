//! The store's clock. The queue keeps time by it alone: what other machines' clocks say, and
//! whether they jump, changes nothing. A process asks the store for the time now and then, and
//! counts on from the answer by its own monotonic clock.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Lane, clock::millis};

/// How long an answer is counted on from before the store is asked again.
const FRESH: Duration = Duration::from_secs(1);
/// A store's clock that is this much ahead of or behind what was counted has jumped; less is what
/// a slow answer looks like.
const JUMP: u64 = 3_000;
/// A jump this large, in ms, may make what is kept for a time look older than it is.
const LARGE_JUMP: u64 = 60_000;
/// How long after that nothing is forgotten: a clock that is wrong is mostly put right by then.
const RETENTION_PAUSE: Duration = Duration::from_secs(600);

/// What the store's clock says, lane by lane: the lanes of a cluster are on several machines.
#[derive(Debug, Default)]
pub(crate) struct StoreClock(Mutex<HashMap<Lane, ClockAnchor>>);

#[derive(Debug, Clone, Copy)]
struct ClockAnchor {
    observed: u64,
    at: Instant,
    jumped: bool,
    large_jump_at: Option<Instant>,
}

impl ClockAnchor {
    fn estimated(&self) -> u64 {
        self.observed.saturating_add(millis(self.at.elapsed()))
    }
}

impl StoreClock {
    /// Notes what the store just said.
    pub(crate) fn observe(&self, lane: &Lane, observed: u64) {
        let mut anchors = self.0.lock();
        let at = Instant::now();
        match anchors.get_mut(lane) {
            Some(anchor) => {
                let off = anchor.estimated().abs_diff(observed);
                let jumped = anchor.jumped || off > JUMP;
                let large_jump_at = if off > LARGE_JUMP {
                    Some(at)
                } else {
                    anchor.large_jump_at
                };
                *anchor = ClockAnchor {
                    observed,
                    at,
                    jumped,
                    large_jump_at,
                };
            }
            None => {
                let anchor = ClockAnchor {
                    observed,
                    at,
                    jumped: false,
                    large_jump_at: None,
                };
                anchors.insert(lane.clone(), anchor);
            }
        }
    }

    /// The time, when the store said it lately.
    pub(crate) fn fresh(&self, lane: &Lane) -> Option<u64> {
        let anchors = self.0.lock();
        let anchor = anchors.get(lane)?;
        (anchor.at.elapsed() < FRESH).then(|| anchor.estimated())
    }

    /// The time, counted on from whenever the store last said it.
    pub(crate) fn estimated(&self, lane: &Lane) -> Option<u64> {
        self.0.lock().get(lane).map(ClockAnchor::estimated)
    }

    /// Whether the clock has jumped since this was last asked.
    pub(crate) fn take_jump(&self, lane: &Lane) -> bool {
        let mut anchors = self.0.lock();
        let anchor = anchors.get_mut(lane);
        anchor.is_some_and(|anchor| std::mem::take(&mut anchor.jumped))
    }

    /// Whether the clock has not leapt lately, so that what looks old is old.
    pub(crate) fn is_stable(&self, lane: &Lane) -> bool {
        let anchors = self.0.lock();
        let large_jump_at = anchors.get(lane).and_then(|anchor| anchor.large_jump_at);
        large_jump_at.is_none_or(|at| at.elapsed() > RETENTION_PAUSE)
    }

    /// Notes a jump again that could not be heeded.
    pub(crate) fn restore_jump(&self, lane: &Lane) {
        if let Some(anchor) = self.0.lock().get_mut(lane) {
            anchor.jumped = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_stores_clock_is_noticed_once_and_a_slow_answer_is_none() {
        let (clock, lane) = (StoreClock::default(), Lane::new("default", 0).unwrap());
        assert_eq!(clock.fresh(&lane), None);
        clock.observe(&lane, 1_000_000);
        let counted = clock.fresh(&lane).unwrap();
        assert!((1_000_000..1_010_000).contains(&counted), "{counted}");
        clock.observe(&lane, 1_001_000);
        assert!(!clock.take_jump(&lane));
        for observed in [4_600_000, 1_000_000] {
            clock.observe(&lane, observed);
            assert!(clock.take_jump(&lane), "{observed}");
            assert!(!clock.take_jump(&lane), "{observed}");
        }
    }
}
