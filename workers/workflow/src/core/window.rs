//! How many nodes of one owner are in flight at most: as many as keep all workers busy, and so few that the queue
//! is short and others do not wait behind them.

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use jobs::QueueStats;
use tokio::time::Instant;

/// How often the queues are looked at, while nodes are held.
pub(super) const PROBE: Duration = Duration::from_millis(50);
/// Of a longer time a rate would say too little.
const LONG: Duration = Duration::from_secs(1);
/// How long a job should wait in the queue, in seconds: with less before it workers may soon be idle, with more
/// those of other owners wait.
const WAIT: RangeInclusive<f64> = 0.001..=0.005;
/// So many may wait however long that takes: whoever scales workers sees that there are more than these can do.
const SHORT: f64 = 2.0;
/// The most of both while several owners are served.
const BESIDE: (f64, f64) = (0.002, 1.0);
/// The bounds of a [`Window`] that the keys do not bound.
const SIZES: RangeInclusive<usize> = 2..=100_000;
/// While transactions are shorter there is room for more; while they are longer, everybody waits for them.
const COMMIT: RangeInclusive<f64> = 0.006..=0.012;
/// Long transactions alone do not make a window smaller than this: with fewer nodes each would do less.
const ENOUGH: usize = 64;

/// The queues as a runner sees them, and what it has in them.
#[derive(Debug)]
pub(super) struct Load<'a> {
    /// Those that its nodes are in.
    pub(super) queues: &'a [QueueStats],
    /// Whether several owners are served.
    pub(super) several: bool,
    /// Which part of all shards the runner owns, above 0.
    pub(super) part: f64,
    /// How many of its nodes are in flight, of all owners.
    pub(super) in_flight: usize,
    /// How many of one owner may be in flight by the keys.
    pub(super) limit: usize,
}

#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    /// How long transactions take of late, in seconds.
    commit: f64,
    /// When the queues were looked at, and how many jobs of each had ended by then.
    looked: Instant,
    ended: HashMap<String, u64>,
    /// How many jobs end in a second, of late.
    rate: Option<f64>,
    /// How many nodes are held because of it.
    pub(super) held: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: ENOUGH,
            commit: 0.0,
            looked: Instant::now(),
            ended: HashMap::new(),
            rate: None,
            held: 0,
        }
    }
}

impl Window {
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A transaction took so many seconds.
    pub(super) fn committed(&mut self, seconds: f64) {
        self.commit += (seconds - self.commit) / 8.0;
    }

    /// Follows the queues. All runners see the same ones: whoever has more in them than its part of the shards makes
    /// room for the others.
    pub(super) fn observe(&mut self, load: &Load<'_>, now: Instant) {
        let Some((rate, moving)) = self.rate(load.queues, now) else {
            return;
        };
        // One that nothing comes out of would not be shorter if fewer were in flight.
        let mut judged = moving;
        let moves = !judged.is_empty();
        if !moves {
            let served = load.queues.iter().filter(|it| it.served != Some(false));
            judged.extend(served);
        }
        if judged.is_empty() {
            return;
        }
        let queued: u64 = judged.iter().map(|it| it.counts.queued).sum();
        let running: u64 = judged.iter().map(|it| it.counts.running).sum();
        let (size, depth, running) = (self.size, queued as f64, running as f64);
        let (longest, short) = match load.several {
            true => BESIDE,
            false => (*WAIT.end(), SHORT),
        };
        let (fewest, most) = (rate * WAIT.start(), (rate * longest).max(short));
        // What it would have if all runners had as much to do for each of their shards.
        let part = load.part * (running + depth);
        let in_flight = load.in_flight as f64;
        let size = if depth > most && moves {
            let factor = ((running + most) / (running + depth)).max(0.75);
            let factor = if in_flight < depth * load.part {
                // That would not help: most of those that wait are not of runs.
                1.0
            } else if in_flight < part * 0.9 {
                factor.powf(0.25)
            } else {
                factor
            };
            (size as f64 * factor) as usize
        } else if self.commit > *COMMIT.end() && size > ENOUGH {
            (size * 3 / 4).max(ENOUGH)
        } else if (depth <= fewest || in_flight < part * 0.75)
            && (self.commit < *COMMIT.start() || size < ENOUGH)
        {
            size + ((running * load.part) as usize / 8).max(2)
        } else {
            size
        };
        self.size = size.min(load.limit).clamp(*SIZES.start(), *SIZES.end());
    }

    /// How many jobs end in a second, and the queues of those that have ended since the last look; nothing when that
    /// was long ago.
    fn rate<'a>(
        &mut self,
        queues: &'a [QueueStats],
        now: Instant,
    ) -> Option<(f64, Vec<&'a QueueStats>)> {
        let (mut ended, mut moving) = (0, Vec::new());
        for stats in queues {
            let all = stats.counts.succeeded + stats.counts.cancelled;
            let before = self.ended.insert(stats.queue.clone(), all).unwrap_or(all);
            if before < all {
                ended += all - before;
                moving.push(stats);
            }
        }
        let since = now.saturating_duration_since(self.looked);
        self.looked = now;
        if since > LONG {
            self.rate = None;
            return None;
        }
        let rate = ended as f64 / since.max(PROBE / 2).as_secs_f64();
        let rate = self.rate.map_or(rate, |it| it + (rate - it) / 4.0);
        self.rate = Some(rate);
        Some((rate, moving))
    }
}

#[cfg(test)]
mod tests {
    use jobs::JobCounts;

    use super::*;

    /// Workers of so many places, each job of which takes so many milliseconds, and runners with endless work.
    struct World {
        places: usize,
        job_ms: u64,
        several: bool,
        /// How many wait in another queue, out of which nothing comes.
        long: u64,
        now: Instant,
        ms: u64,
        windows: Vec<Window>,
        /// Of each runner: how many are in flight, and how many have ended.
        in_flight: Vec<usize>,
        ended: Vec<u64>,
        /// How many jobs that are of no runner have ended.
        foreign: u64,
        /// Whose jobs wait, and whose run until when. Those of nobody here are of `usize::MAX`.
        queued: std::collections::VecDeque<usize>,
        running: Vec<(u64, usize)>,
    }

    impl World {
        fn new(runners: usize, places: usize, job_ms: u64) -> Self {
            Self {
                places,
                job_ms,
                several: true,
                long: 0,
                now: Instant::now(),
                ms: 0,
                windows: (0..runners).map(|_| Window::default()).collect(),
                in_flight: vec![0; runners],
                ended: vec![0; runners],
                foreign: 0,
                queued: std::collections::VecDeque::new(),
                running: Vec::new(),
            }
        }

        fn stats(&self) -> [QueueStats; 2] {
            let stats = |queue: &str, queued, running, succeeded| QueueStats {
                queue: queue.to_owned(),
                counts: JobCounts {
                    queued,
                    running,
                    succeeded,
                    ..JobCounts::default()
                },
                served: Some(self.places > 0),
            };
            let (queued, running) = (self.queued.len() as u64, self.running.len() as u64);
            let other = stats("other", self.long, self.long.min(1), 7);
            let ended = self.ended.iter().sum::<u64>() + self.foreign;
            [stats("default", queued, running, ended), other]
        }

        fn run(&mut self, seconds: u64) {
            for _ in 0..seconds * 1_000 {
                self.ms += 1;
                let (ms, ended) = (self.ms, &mut self.ended);
                for (_, runner) in self.running.extract_if(.., |(until, _)| *until <= ms) {
                    match ended.get_mut(runner) {
                        Some(count) => {
                            *count += 1;
                            self.in_flight[runner] -= 1;
                        }
                        None => self.foreign += 1,
                    }
                }
                for (runner, window) in self.windows.iter().enumerate() {
                    while self.in_flight[runner] < window.size {
                        self.in_flight[runner] += 1;
                        self.queued.push_back(runner);
                    }
                }
                while self.running.len() < self.places
                    && let Some(runner) = self.queued.pop_front()
                {
                    // Half of the time to one and a half times as long, in turn.
                    let odd = (self.ms * 7 + self.running.len() as u64 * 13) % 11;
                    let until = ms + (self.job_ms / 2 + self.job_ms * odd / 10).max(1);
                    self.running.push((until, runner));
                }
                let probe = u64::try_from(PROBE.as_millis()).unwrap();
                for runner in 0..self.windows.len() {
                    if (ms + runner as u64 * 17).is_multiple_of(probe) {
                        let load = Load {
                            queues: &self.stats(),
                            several: self.several,
                            part: 1.0 / self.windows.len() as f64,
                            in_flight: self.in_flight[runner],
                            limit: usize::MAX,
                        };
                        let now = self.now + Duration::from_millis(ms);
                        self.windows[runner].observe(&load, now);
                    }
                }
            }
        }

        fn size(&self) -> usize {
            self.windows[0].size
        }
    }

    #[test]
    fn workers_are_busy_and_the_queue_is_short() {
        for (places, job_ms) in [(1, 20), (16, 50), (32, 20), (64, 1_000), (256, 20)] {
            let mut world = World::new(1, places, job_ms);
            world.run(10);
            world.ended = vec![0];
            let mut longest = 0;
            for _ in 0..20 {
                world.run(1);
                longest = longest.max(world.queued.len());
            }
            let busy = world.ended[0] as f64 * job_ms as f64 / 20_000.0 / places as f64;
            assert!(busy > 0.85, "{places} {job_ms}: {busy}");
            let rate = places as f64 * 1_000.0 / job_ms as f64;
            let most = (rate * WAIT.end()).max(4.0) + places as f64 / 4.0;
            assert!(longest as f64 <= most, "{places} {job_ms}: {longest}");
        }
    }

    #[test]
    fn runners_of_the_same_queue_have_the_same_part_of_it() {
        for (places, job_ms) in [(32, 20), (16, 50), (64, 1_000), (256, 20), (256, 5)] {
            for several in [false, true] {
                let mut world = World::new(2, places, job_ms);
                world.several = several;
                // One begins with much, and one with little.
                world.windows[0].size = 300;
                world.windows[1].size = 2;
                world.run(20);
                world.ended = vec![0; 2];
                world.run(40);
                let part = world.ended[1] as f64 / world.ended.iter().sum::<u64>() as f64;
                assert!((0.3..=0.7).contains(&part), "{places} {job_ms}: {part}");
            }
        }
    }

    #[test]
    fn a_queue_without_workers_does_not_make_it_smaller() {
        let mut world = World::new(1, 64, 20);
        world.run(5);
        let before = world.size();
        world.places = 0;
        world.run(5);
        // Those that ran last were seen to end.
        assert!(world.size() >= before * 3 / 4, "{}", world.size());
        world.places = 64;
        world.ended = vec![0];
        world.run(1);
        assert!(world.ended[0] > 2_500, "{:?}", world.ended);
    }

    #[test]
    fn a_queue_whose_jobs_take_long_does_not_make_it_smaller() {
        let mut world = World::new(1, 64, 1_000);
        // Three wait for a worker that is at one for minutes.
        world.long = 3;
        world.run(10);
        assert!(world.size() >= 60, "{}", world.size());
        // Nor does a first one, which runs for long on all of few places.
        let mut world = World::new(1, 4, 600_000);
        world.run(60);
        assert_eq!(world.size(), ENOUGH);
    }

    #[test]
    fn jobs_that_are_not_of_runs_do_not_make_it_smaller() {
        let mut world = World::new(1, 32, 20);
        world.run(5);
        let before = world.size();
        world.queued.extend(vec![usize::MAX; 20_000]);
        world.run(5);
        assert!(world.size() >= before * 3 / 4, "{}", world.size());
    }

    #[test]
    fn it_is_no_larger_than_the_keys_allow() {
        let mut window = Window::default();
        for millis in 1..1_000 {
            let load = Load {
                queues: &World::new(1, 8, 20).stats(),
                several: false,
                part: 1.0,
                in_flight: 8,
                limit: 100,
            };
            window.observe(&load, window.looked + Duration::from_millis(millis % 60));
        }
        assert_eq!(window.size, 100);
    }

    #[test]
    fn long_transactions_make_it_smaller_though_not_small() {
        let mut world = World::new(1, 10 * ENOUGH, 20);
        world.windows[0].size = 4 * ENOUGH;
        world.windows[0].commit = 0.03;
        world.run(2);
        assert_eq!(world.size(), ENOUGH);
        // Nor do they keep a small one small.
        world.windows[0].size = 3;
        world.run(5);
        assert!((ENOUGH..2 * ENOUGH).contains(&world.size()));
        world.windows[0].commit = 0.002;
        world.run(1);
        assert!(world.size() > 2 * ENOUGH, "{}", world.size());
    }
}
