//! Lanes in which a claim found less than it would have taken: there is nothing left to claim before
//! something new comes, and where to wait for that is known without another claim.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{Claim, Lane, store::WaitPosition};

/// What one claimer knows of its lanes.
#[derive(Debug, Default)]
pub(crate) struct DrainedLanes(HashMap<Lane, DrainedLane>);

#[derive(Debug)]
struct DrainedLane {
    /// Everything up to these was claimed by somebody.
    positions: Vec<String>,
    /// When the next delayed job is due.
    due_at: Option<Instant>,
    /// Whether the latest claim left nothing.
    is_drained: bool,
}

impl DrainedLanes {
    /// Notes what a claim of up to `max` jobs found.
    pub(crate) fn claimed(&mut self, lane: &Lane, claim: &Claim, max: usize, now: Instant) {
        let WaitPosition { positions, due_in } = &claim.mark;
        if claim.jobs.is_empty() {
            let known = DrainedLane {
                positions: positions.clone(),
                due_at: due_in.map(|due| now + due),
                // Whoever claims waits from here by itself.
                is_drained: false,
            };
            self.0.insert(lane.clone(), known);
            return;
        }
        let Some(known) = self.0.get_mut(lane) else {
            return;
        };
        if positions.len() != known.positions.len() {
            self.0.remove(lane);
            return;
        }
        for (known, position) in known.positions.iter_mut().zip(positions) {
            if !position.is_empty() {
                known.clone_from(position);
            }
        }
        known.is_drained = claim.jobs.len() < max;
    }

    /// Where to wait in each of the lanes, if nothing is left in any of them. They are known once: after
    /// that it is claimed again, whatever came of the wait.
    pub(crate) fn marks(&mut self, lanes: &[Lane], now: Instant) -> Option<Vec<WaitPosition>> {
        let mut marks = Vec::with_capacity(lanes.len());
        for lane in lanes {
            let known = self.0.get_mut(lane).filter(|known| known.is_drained)?;
            let due_in = known.due_at.map(|at| at.saturating_duration_since(now));
            if due_in == Some(Duration::ZERO) {
                return None;
            }
            marks.push(WaitPosition {
                positions: known.positions.clone(),
                due_in,
            });
        }
        for lane in lanes {
            if let Some(known) = self.0.get_mut(lane) {
                known.is_drained = false;
            }
        }
        Some(marks)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{JobId, Lease};

    fn claim(jobs: usize, positions: &[&str], due_in: Option<Duration>) -> Claim {
        let lane = Lane::new("a", 0).unwrap();
        let lease = || Lease {
            id: JobId::new(&lane),
            token: Bytes::new(),
        };
        Claim {
            jobs: (0..jobs).map(|_| (lease(), Bytes::new())).collect(),
            now: 0,
            mark: WaitPosition {
                positions: positions.iter().map(ToString::to_string).collect(),
                due_in,
            },
        }
    }

    #[test]
    fn a_claim_that_left_nothing_says_once_where_to_wait() {
        let (lane, now) = (Lane::new("a", 0).unwrap(), Instant::now());
        let (lanes, mut drained) = ([lane.clone()], DrainedLanes::default());
        // Without an empty claim before it is not known what there was.
        drained.claimed(&lane, &claim(1, &["5", ""], None), 10, now);
        assert!(drained.marks(&lanes, now).is_none());
        let second = Duration::from_secs(1);
        drained.claimed(&lane, &claim(0, &["5", "7"], Some(second)), 10, now);
        assert!(drained.marks(&lanes, now).is_none());
        drained.claimed(&lane, &claim(10, &["6", ""], None), 10, now);
        assert!(drained.marks(&lanes, now).is_none(), "more may be left");
        drained.claimed(&lane, &claim(9, &["", "8"], None), 10, now);
        let half = now + second / 2;
        let marks = drained.marks(&lanes, half).unwrap();
        assert_eq!(marks[0].positions, ["6", "8"]);
        assert_eq!(marks[0].due_in, Some(second / 2));
        assert!(drained.marks(&lanes, half).is_none());
    }

    #[test]
    fn a_job_that_is_due_and_a_store_that_knows_no_positions_are_asked_again() {
        let (lane, now) = (Lane::new("a", 0).unwrap(), Instant::now());
        let (lanes, mut drained) = ([lane.clone()], DrainedLanes::default());
        let second = Duration::from_secs(1);
        drained.claimed(&lane, &claim(0, &["5"], Some(second)), 10, now);
        drained.claimed(&lane, &claim(1, &["6"], None), 10, now);
        assert!(drained.marks(&lanes, now + second).is_none());
        drained.claimed(&lane, &claim(1, &[], None), 10, now);
        assert!(drained.marks(&lanes, now).is_none());
    }
}
