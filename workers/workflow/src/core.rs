//! One task that owns everything: the leases of shards, the runs in memory, and what waits to be stored.
//! Whatever waits for a store runs in a task of [`Core::tasks`], and comes back as a [`Done`].

mod active;
mod approvals;
mod change;
mod children;
mod commit;
mod compare;
mod effects;
mod intake;
mod leases;
mod look;
mod short;
mod step;
mod window;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use backoff::{Backoff, Pauses};
use jobs::{Completion, Jobs};
use runs::{Error, InboxItem, OwnerLimits, RunStore, ShardLease, TimerRow};
use service::{Context, Severity};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use workflow::Limits;

use self::{
    active::{ActiveRun, Owner},
    change::{Changes, Incoming},
    commit::{Commits, Stored},
    compare::Compared,
    effects::{Effects, Sent},
    leases::{Shard, ShardContent},
    look::Look,
    window::Window,
};
use crate::{
    changes::{self, Owned},
    completions,
    dispatch::Dispatcher,
    http_api::Report,
    keys::WorkflowKeys,
    loaded::{BrokenRun, LoadedRun, Loader},
    metrics::Metrics,
};

/// Messages that may wait for the core.
const MESSAGES: usize = 64;
/// Messages that are taken before anything else is done.
const AT_ONCE: usize = 32;
/// Runs with something to store, above which nothing more is taken.
const MAX_UNSTORED: usize = 2_048;
/// Runs that are loaded at once.
const LOAD: usize = 256;
/// How often runs that wait are looked for in memory, to be let go.
const EVICT: Duration = Duration::from_secs(5);
/// How often a store is swept.
const SWEEP: Duration = Duration::from_secs(30);
/// How long what is left may take to be stored when the runner ends.
const LAST_COMMITS: Duration = Duration::from_secs(5);

/// What others tell the core.
#[derive(Debug)]
pub(crate) enum Message {
    /// Jobs ended.
    Completions {
        /// Their queue.
        queue: String,
        /// They.
        completions: Vec<Completion>,
    },
    /// There may be new runs, or commands.
    Changes {
        /// Runs.
        queued: bool,
        /// Commands.
        commands: bool,
    },
}

/// What all parts of a runner share.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) context: Context,
    pub(crate) keys: WorkflowKeys,
    pub(crate) queue: work::QueueKeys,
    pub(crate) links: work::ApprovalLinkKeys,
    pub(crate) store: Arc<dyn RunStore>,
    pub(crate) jobs: Jobs,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) loader: Loader,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    pub(crate) report: Arc<Report>,
}

/// A task that ended.
#[derive(Debug)]
enum Done {
    /// The leases, and whether the shards are still to be given up.
    Leased(Result<Vec<ShardLease>, Error>, bool),
    Shard(u16, u64, Result<ShardContent, Error>),
    Queued(usize, Result<intake::Taken, Error>),
    Inbox(Result<Vec<InboxItem>, Error>),
    Timers(Result<(Vec<TimerRow>, Option<u64>), Error>),
    Approvals(Result<bool, Error>),
    Loaded(Vec<String>, Result<(Vec<LoadedRun>, Vec<BrokenRun>), Error>),
    Committed(Stored),
    Sent(Vec<Sent>),
    Carried(u16, u64, u64, Result<(), String>),
    Acknowledged(String, Vec<(String, Vec<String>)>, Result<(), jobs::Error>),
    Compared(Result<Vec<Compared>, jobs::Error>),
    Queues(Result<Vec<jobs::QueueStats>, jobs::Error>),
    Child(children::Resolved),
    Swept(Result<usize, Error>),
    Reader,
}

/// The core of a runner.
pub(crate) struct Core {
    env: Arc<Env>,
    tasks: JoinSet<Done>,
    messages: mpsc::Receiver<Message>,
    to_messages: mpsc::Sender<Message>,
    owned: watch::Sender<Owned>,
    /// Queues whose completions are read.
    readers: BTreeSet<String>,
    shards: BTreeMap<u16, Shard>,
    runs: HashMap<String, ActiveRun>,
    owners: HashMap<String, Owner>,
    window: Window,
    probing: Look,
    /// Whether queued runs were left because there are as many in memory as there may be.
    no_room: bool,
    /// Whether there were as many queued runs as were taken, and so may be more.
    more_queued: bool,
    /// Owners whose queued runs were left, because many of their nodes are held.
    left_out: Vec<String>,
    /// What came for runs that are not in memory.
    waiting: HashMap<String, Vec<Incoming>>,
    to_load: VecDeque<String>,
    loading: bool,
    changes: Changes,
    commits: Commits,
    effects: Effects,
    leases: Look,
    /// Whether the shards are given up before they are leased again.
    release_first: bool,
    queued: Look,
    inbox: Look,
    /// Commands that are worked on or were answered since the latest look at the inbox began.
    handled: HashMap<(u16, u64), bool>,
    /// Runs that were called off before they began, and whether that is stored: a look at the queue that began
    /// before may still bring them.
    called_off: HashMap<String, bool>,
    timers: Look,
    /// The same of timers.
    fired: HashMap<(String, String), bool>,
    approvals: Look,
    comparing: Look,
    evicting: Look,
    sweeping: Look,
    store_pauses: Pauses,
    stopping: bool,
}

impl Core {
    pub(crate) fn new(env: Env) -> Self {
        let (to_messages, messages) = mpsc::channel(MESSAGES);
        let now = Instant::now();
        let compare = env.keys.workflow_compare;
        Self {
            env: Arc::new(env),
            tasks: JoinSet::new(),
            messages,
            to_messages,
            owned: watch::Sender::default(),
            readers: BTreeSet::new(),
            shards: BTreeMap::new(),
            runs: HashMap::new(),
            owners: HashMap::new(),
            window: Window::default(),
            probing: Look::new(now),
            no_room: false,
            more_queued: false,
            left_out: Vec::new(),
            waiting: HashMap::new(),
            to_load: VecDeque::new(),
            loading: false,
            changes: Changes::default(),
            commits: Commits::default(),
            effects: Effects::default(),
            leases: Look::new(now),
            release_first: false,
            queued: Look::new(now),
            inbox: Look::new(now),
            handled: HashMap::new(),
            called_off: HashMap::new(),
            timers: Look::new(now),
            fired: HashMap::new(),
            approvals: Look::new(now),
            comparing: Look::new(now + compare),
            evicting: Look::new(now + EVICT),
            sweeping: Look::new(now + SWEEP),
            store_pauses: Pauses::new(Backoff::equal_jitter(
                Duration::from_millis(100),
                Duration::from_secs(3),
            )),
            stopping: false,
        }
    }

    /// Runs until the program drains; then stores what is left, and gives the shards up.
    pub(crate) async fn run(mut self) {
        self.follow();
        let draining = self.env.context.draining.clone();
        let mut until = None;
        loop {
            self.pump();
            if self.stopping && (self.is_done() || until.is_some_and(|at| Instant::now() >= at)) {
                break;
            }
            let take = self.changes.len() < MAX_UNSTORED && !self.stopping;
            let wake = self.next_wake();
            tokio::select! {
                () = draining.cancelled(), if !self.stopping => {
                    self.stopping = true;
                    until = Some(Instant::now() + LAST_COMMITS);
                }
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        tracing::error!(%error, "a task of the workflow runner ended badly");
                        self.start_over();
                    }
                },
                Some(message) = self.messages.recv(), if take => {
                    self.message(message);
                    for _ in 1..AT_ONCE {
                        match self.messages.try_recv() {
                            Ok(message) => self.message(message),
                            Err(_) => break,
                        }
                    }
                }
                () = sleep_until(wake) => {}
            }
        }
        self.tasks.shutdown().await;
        self.give_up().await;
    }

    /// Follows the store, and the queue of nodes that name none.
    fn follow(&mut self) {
        let env = &self.env;
        let follow = changes::follow(
            Arc::clone(&env.store),
            env.context.instance_id.clone(),
            self.owned.subscribe(),
            self.to_messages.clone(),
        );
        self.tasks.spawn(async move {
            follow.await;
            Done::Reader
        });
        let queue = env.queue.queue(None);
        self.read_queue(queue);
    }

    /// Reads the completions of a queue, if it is not done already.
    fn read_queue(&mut self, queue: String) {
        if !self.readers.insert(queue.clone()) {
            return;
        }
        let jobs = self.env.jobs.clone();
        let read = completions::read(
            jobs,
            queue,
            self.owned.subscribe(),
            self.to_messages.clone(),
        );
        self.tasks.spawn(async move {
            read.await;
            Done::Reader
        });
    }

    /// Begins whatever can begin now.
    fn pump(&mut self) {
        let now = Instant::now();
        self.store_changes(now);
        self.send_effects(now);
        self.load_runs();
        if !self.stopping {
            self.look_at_leases(now);
            if self.changes.len() < MAX_UNSTORED {
                self.look_at_queued(now);
                self.look_at_inbox(now);
                self.look_at_timers(now);
                self.look_at_approvals(now);
            }
            self.compare(now);
            self.probe(now);
            self.evict(now);
            self.sweep(now);
        }
        self.tell();
    }

    fn next_wake(&self) -> Instant {
        let always = [&self.leases, &self.comparing, &self.evicting];
        let intake = [&self.queued, &self.inbox, &self.timers, &self.approvals];
        let ready = self.shards.values().any(|shard| shard.ready);
        let takes = ready && self.changes.len() < MAX_UNSTORED;
        let probes = (self.window.held > 0).then_some(&self.probing);
        let sweeps = self.shards.contains_key(&0).then_some(&self.sweeping);
        let looks = always
            .into_iter()
            .chain(intake.into_iter().filter(|_| takes))
            .chain(sweeps)
            .chain(probes)
            .filter(|look| !look.busy && !self.stopping)
            .map(|look| look.at);
        let more = [self.commits.wake(&self.changes), self.effects.wake()];
        let soonest = looks.chain(more.into_iter().flatten()).min();
        let now = Instant::now();
        let latest = now + Duration::from_secs(1);
        // What is due and cannot begin now begins when a task ends.
        soonest
            .unwrap_or(latest)
            .clamp(now + Duration::from_micros(500), latest)
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Changes { queued, commands } => {
                let now = Instant::now();
                if queued {
                    self.queued.by(now);
                }
                if commands {
                    self.inbox.by(now);
                }
            }
            Message::Completions { queue, completions } => {
                for completion in completions {
                    self.completed(&queue, completion);
                }
            }
        }
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Leased(leased, release) => self.leased(leased, release),
            Done::Shard(shard, epoch, content) => self.shard_read(shard, epoch, content),
            Done::Queued(max, taken) => self.queued_taken(max, taken),
            Done::Inbox(items) => self.inbox_read(items),
            Done::Timers(due) => self.timers_read(due),
            Done::Approvals(due) => self.approvals_read(due),
            Done::Loaded(ids, loaded) => self.runs_loaded(ids, loaded),
            Done::Committed(stored) => self.committed(stored),
            Done::Sent(sent) => self.sent(sent),
            Done::Carried(shard, epoch, number, outcome) => {
                self.carried(shard, epoch, number, outcome);
            }
            Done::Acknowledged(queue, cursors, outcome) => {
                self.acknowledged(&queue, cursors, outcome);
            }
            Done::Compared(compared) => self.compared(compared),
            Done::Queues(queues) => self.probed(&queues),
            Done::Child(resolved) => self.child_resolved(resolved),
            Done::Swept(swept) => {
                self.sweeping.again(Instant::now() + SWEEP);
                match swept {
                    Ok(0) => {}
                    Ok(runs) => tracing::info!(runs, "swept runs that are kept no longer"),
                    Err(error) => tracing::warn!(%error, "the store of runs is not swept"),
                }
            }
            Done::Reader => {}
        }
    }

    /// Notes whether the store answers, for `/readyz`.
    fn note_store(&mut self, error: Option<&Error>) {
        let condition = match error {
            Some(error @ Error::Unavailable(_)) => Some((Severity::NotReady, error.to_string())),
            Some(error) => {
                tracing::error!(%error, "the store of runs refuses");
                Some((Severity::Degraded, error.to_string()))
            }
            None => {
                self.store_pauses.reset();
                None
            }
        };
        self.env.context.conditions.set("runs", condition);
    }

    /// When a store that does not answer is asked again.
    fn pause(&mut self) -> Instant {
        Instant::now() + self.store_pauses.after_failure(&mut rand::rng())
    }

    /// Lets go what is not needed in memory.
    fn evict(&mut self, now: Instant) {
        if !self.evicting.begin(now) {
            return;
        }
        let idle: Vec<String> = self
            .runs
            .iter()
            .filter(|(_, run)| run.is_idle() && now.duration_since(run.touched) > EVICT)
            .map(|(id, _)| id.clone())
            .collect();
        for id in idle {
            self.forget(&id);
        }
        self.evicting.again(now + EVICT);
    }

    fn sweep(&mut self, now: Instant) {
        // One runner does it for all.
        if self.shards.contains_key(&0) && self.sweeping.begin(now) {
            let store = Arc::clone(&self.env.store);
            self.tasks
                .spawn(async move { Done::Swept(store.sweep(crate::clock::now()).await) });
        }
    }

    /// Tells `/health` and the metrics how it is.
    fn tell(&self) {
        let (report, metrics) = (&self.env.report, &self.env.metrics);
        let ready = self.shards.values().filter(|shard| shard.ready).count();
        report.shards.store(ready, Relaxed);
        report.runs.store(self.runs.len(), Relaxed);
        let unstored = self.changes.len() + self.commits.under_way();
        report.unstored.store(unstored, Relaxed);
        metrics.owned(ready, self.runs.len());
    }

    /// Whether nothing is left to be stored or sent.
    fn is_done(&self) -> bool {
        self.changes.is_empty() && self.commits.under_way() == 0 && self.effects.is_empty()
    }

    /// After a task that ended badly it is not known what it did: everything is read again.
    fn start_over(&mut self) {
        self.tasks.abort_all();
        self.readers.clear();
        self.lose_all("error");
        self.commits = Commits::default();
        self.effects = Effects::default();
        self.loading = false;
        let now = Instant::now();
        for look in [
            &mut self.leases,
            &mut self.queued,
            &mut self.inbox,
            &mut self.timers,
            &mut self.approvals,
            &mut self.comparing,
            &mut self.evicting,
            &mut self.sweeping,
            &mut self.probing,
        ] {
            look.again(now + Duration::from_millis(200));
        }
        self.follow();
    }

    /// Gives the shards up, so that others have them at once.
    async fn give_up(self) {
        let (store, runner) = (&self.env.store, &self.env.context.instance_id);
        if let Err(error) = store.release_shards(runner).await {
            tracing::warn!(%error, "the shards are not given up: others have them after the lease");
        }
    }

    fn owner_limits(&self) -> OwnerLimits {
        OwnerLimits {
            max_running_runs: self.env.keys.max_running_runs,
            left_out: self.full_owners(),
        }
    }
}
