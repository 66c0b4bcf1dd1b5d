//! Routers, instances and calls in virtual time: events in a heap, chance from a seed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use mesh_balance::{
    BalanceOptions, Load, LoadReport, Member, PickArgs, PolicyRow, Set, TurnCounter, hash,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// What is simulated.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) instances: usize,
    pub(crate) routers: usize,
    /// Calls that an instance works on at once; more wait in its queue.
    pub(crate) cores: usize,
    pub(crate) arrivals: Arrivals,
    /// One in so many instances is ten times slower; 0 for none.
    pub(crate) slow_one_in: usize,
    /// How often other instances become the slow ones, and one in 50 is replaced by a new one.
    pub(crate) churn: Option<Duration>,
    /// How often all instances stop, for 40 ms, as the processes of a busy machine do.
    pub(crate) stalls: Option<Duration>,
    pub(crate) length: Duration,
    pub(crate) seed: u64,
}

/// How calls come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrivals {
    /// At random times, so that healthy instances would be so busy, 0 to 1.
    Open(f64),
    /// So many callers, each calling again when it has its answer.
    Closed(usize),
}

/// What came of it, the first fifth of the time left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Calls on the busiest instance by the mean, averaged over time.
    pub(crate) peak: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// The part of the calls that went to slow instances.
    pub(crate) slow: f64,
}

/// Mean time of a call on a healthy instance, in µs.
const SERVICE: f64 = 5_000.0;
const SLOWER: f64 = 10.0;
const SAMPLE: u64 = 10_000;
const STALL: u64 = 40_000;
/// What a load report is about.
const WINDOW: u64 = 200_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    /// A call on this instance is done.
    Done(usize, Call),
    Sample,
    Churn,
    Stall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    router: usize,
    began: u64,
}

struct Instance {
    slow: bool,
    /// Of one load per router.
    loads: Vec<Arc<Load>>,
    /// Of all that was ever called so, this one's number.
    key: usize,
    busy: usize,
    queue: VecDeque<Call>,
    report: Meter,
}

/// What an instance knows of itself.
#[derive(Default)]
struct Meter {
    since: u64,
    calls: u64,
    busy_us: f64,
    last: LoadReport,
}

struct World<'a> {
    scenario: &'a Scenario,
    policy: &'static PolicyRow,
    rng: StdRng,
    now: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    instances: Vec<Instance>,
    next_key: usize,
    sets: Vec<Set>,
    turns: Vec<Arc<TurnCounter>>,
    stalled_until: u64,
    latencies: Vec<u64>,
    slow_calls: usize,
    peaks: Vec<f64>,
}

/// Runs a scenario with a policy.
pub(crate) fn run(scenario: &Scenario, policy: &'static PolicyRow) -> Outcome {
    let mut rng = StdRng::seed_from_u64(scenario.seed);
    let turns = (0..scenario.routers)
        .map(|_| Arc::new(TurnCounter::starting_at(rng.random::<u32>().into())))
        .collect();
    let mut world = World {
        scenario,
        policy,
        rng,
        now: 0,
        events: BinaryHeap::new(),
        number: 0,
        instances: Vec::new(),
        next_key: 0,
        sets: Vec::new(),
        turns,
        stalled_until: 0,
        latencies: Vec::new(),
        slow_calls: 0,
        peaks: Vec::new(),
    };
    for _ in 0..scenario.instances {
        let instance = world.instance(false);
        world.instances.push(instance);
    }
    world.choose_slow();
    world.rebuild();
    world.at(0, Event::Sample);
    if let Some(churn) = scenario.churn {
        world.at(micros(churn), Event::Churn);
    }
    if let Some(stalls) = scenario.stalls {
        world.at(micros(stalls), Event::Stall);
    }
    let callers = match scenario.arrivals {
        Arrivals::Open(_) => 1,
        Arrivals::Closed(callers) => callers,
    };
    (0..callers).for_each(|_| world.at(0, Event::Arrive));
    world.play();
    world.outcome()
}

impl World<'_> {
    fn play(&mut self) {
        let end = micros(self.scenario.length);
        while let Some(Reverse((time, _, event))) = self.events.pop() {
            if time > end {
                return;
            }
            self.now = time;
            match event {
                Event::Arrive => self.arrive(),
                Event::Done(key, call) => self.done(key, call),
                Event::Sample => self.sample(),
                Event::Churn => self.churn(),
                Event::Stall => {
                    self.stalled_until = self.now + STALL;
                    let every = micros(self.scenario.stalls.unwrap_or_default());
                    self.at(every, Event::Stall);
                }
            }
        }
    }

    fn arrive(&mut self) {
        if let Arrivals::Open(busy) = self.scenario.arrivals {
            let capacity = (self.scenario.instances * self.scenario.cores) as f64 / SERVICE;
            let pause = self.exponential() / (capacity * busy);
            self.at(pause as u64, Event::Arrive);
        }
        let router = self.rng.random_range(0..self.scenario.routers);
        let sessions = self.scenario.instances as u64 * 20;
        let request = PickArgs {
            session: Some(self.rng.random_range(0..sessions)),
            now: self.time(),
        };
        let picked = self.sets[router].pick(&request, &mut self.rng, &[]);
        let index = picked.expect("the set is not empty");
        let call = Call {
            router,
            began: self.now,
        };
        self.instances[index].loads[router].begin(request.now);
        if self.measures() {
            self.slow_calls += usize::from(self.instances[index].slow);
        }
        if self.instances[index].busy < self.scenario.cores {
            self.serve(index, call);
        } else {
            self.instances[index].queue.push_back(call);
        }
    }

    fn serve(&mut self, index: usize, call: Call) {
        // Half fixed, half by chance.
        let mut time = SERVICE * 0.5 * (1.0 + self.exponential());
        let instance = &mut self.instances[index];
        if instance.slow {
            time *= SLOWER;
        }
        instance.busy += 1;
        instance.report.busy_us += time;
        let key = instance.key;
        let stall = self.stalled_until.saturating_sub(self.now);
        self.at(time as u64 + stall, Event::Done(key, call));
    }

    fn done(&mut self, key: usize, call: Call) {
        let latency = self.now - call.began;
        if self.measures() {
            self.latencies.push(latency);
        }
        if matches!(self.scenario.arrivals, Arrivals::Closed(_)) {
            self.at(0, Event::Arrive);
        }
        // One that was replaced has finished its calls, and is nobody's any more.
        let Some(index) = self.instances.iter().position(|i| i.key == key) else {
            return;
        };
        let (now, time, cores) = (self.now, self.time(), self.scenario.cores);
        let instance = &mut self.instances[index];
        let load = &instance.loads[call.router];
        load.end();
        load.observe(Duration::from_micros(latency), false, time);
        load.report(&instance.report.done(now, cores), time);
        instance.busy -= 1;
        if let Some(next) = instance.queue.pop_front() {
            self.serve(index, next);
        }
    }

    fn sample(&mut self) {
        if self.measures() {
            let calls = |i: &Instance| (i.busy + i.queue.len()) as f64;
            let most = self.instances.iter().map(calls).fold(0.0, f64::max);
            let all: f64 = self.instances.iter().map(calls).sum();
            if all > 0.0 {
                self.peaks.push(most * self.instances.len() as f64 / all);
            }
        }
        self.at(SAMPLE, Event::Sample);
    }

    fn churn(&mut self) {
        for _ in 0..self.scenario.instances.div_ceil(50) {
            let index = self.rng.random_range(0..self.instances.len());
            let new = self.instance(true);
            let old = std::mem::replace(&mut self.instances[index], new);
            // It drains: what waits is done on its time, which the model does not follow further.
            for call in old.queue {
                let time = SERVICE as u64;
                self.at(time, Event::Done(old.key, call));
            }
        }
        self.choose_slow();
        self.rebuild();
        let every = micros(self.scenario.churn.unwrap_or_default());
        self.at(every, Event::Churn);
    }

    fn choose_slow(&mut self) {
        let one_in = self.scenario.slow_one_in;
        let offset = self.rng.random_range(0..one_in.max(1));
        for (index, instance) in self.instances.iter_mut().enumerate() {
            instance.slow = one_in > 0 && index % one_in == offset;
        }
    }

    fn instance(&mut self, joins: bool) -> Instance {
        let load = || {
            Arc::new(if joins {
                Load::joined_at(self.time())
            } else {
                Load::new()
            })
        };
        let loads = (0..self.scenario.routers).map(|_| load()).collect();
        self.next_key += 1;
        Instance {
            slow: false,
            loads,
            key: self.next_key,
            busy: 0,
            queue: VecDeque::new(),
            report: Meter::default(),
        }
    }

    fn rebuild(&mut self) {
        let options = BalanceOptions {
            // In proportion to the time that is simulated.
            slow_start: Duration::from_secs(1),
            load_blackout: Duration::from_millis(500),
            ..BalanceOptions::default()
        };
        let set = |router: usize| {
            let members = self.instances.iter().map(|instance| Member {
                hash: hash(&format!("instance-{}", instance.key)),
                weight: 1,
                load: Arc::clone(&instance.loads[router]),
            });
            let turn = Arc::clone(&self.turns[router]);
            Set::new(members.collect(), self.policy, &options, turn)
        };
        self.sets = (0..self.scenario.routers).map(set).collect();
    }

    fn outcome(mut self) -> Outcome {
        self.latencies.sort_unstable();
        let at = |q: f64| {
            let index = (self.latencies.len() as f64 * q) as usize;
            Duration::from_micros(self.latencies.get(index).copied().unwrap_or_default())
        };
        Outcome {
            peak: self.peaks.iter().sum::<f64>() / self.peaks.len().max(1) as f64,
            p50: at(0.5),
            p99: at(0.99),
            slow: self.slow_calls as f64 / self.latencies.len().max(1) as f64,
        }
    }

    fn at(&mut self, later: u64, event: Event) {
        // The number keeps events of one time in their order.
        self.number += 1;
        self.events
            .push(Reverse((self.now + later, self.number, event)));
    }

    fn measures(&self) -> bool {
        self.now >= micros(self.scenario.length) / 5
    }

    fn time(&self) -> Duration {
        Duration::from_micros(self.now)
    }

    /// With mean 1.
    fn exponential(&mut self) -> f64 {
        -(1.0 - self.rng.random::<f64>()).ln()
    }
}

impl Meter {
    fn done(&mut self, now: u64, cores: usize) -> LoadReport {
        self.calls += 1;
        let passed = (now - self.since) as f64;
        if passed >= WINDOW as f64 {
            self.last = LoadReport {
                utilization: self.busy_us / passed / cores as f64,
                calls: self.calls as f64 * 1e6 / passed,
                errors: 0.0,
            };
            (self.since, self.calls, self.busy_us) = (now, 0, 0.0);
        }
        self.last
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
