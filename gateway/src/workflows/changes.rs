//! Tells followers and waiting commands that the store has something new: one task asks it for all of
//! them, and only while there are any.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use runs::{Interest, RunStore};
use service::Context;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

/// How long one question to the store waits for a change.
const WAIT: Duration = Duration::from_secs(5);
/// Pause after a change, so that a burst of them is read at once.
const BURST: Duration = Duration::from_millis(5);
/// Pause while the store is away.
const AWAY: Duration = Duration::from_millis(500);

/// Counts changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    events: u64,
    answers: u64,
}

/// What followers listen to.
#[derive(Debug)]
pub(crate) struct ChangeFeed {
    ticks: watch::Receiver<Ticks>,
    listeners: Arc<Listeners>,
}

#[derive(Debug, Default)]
struct Listeners {
    count: AtomicUsize,
    first: Notify,
}

/// Hears of changes, until it is dropped. A caller marks, reads the store, and then waits: whatever
/// changes after the mark ends the wait.
#[derive(Debug)]
pub(crate) struct ChangeListener {
    ticks: watch::Receiver<Ticks>,
    seen: Ticks,
    listeners: Arc<Listeners>,
}

impl ChangeFeed {
    pub(crate) fn start(context: &Context, store: Arc<dyn RunStore>) -> Self {
        let (sender, ticks) = watch::channel(Ticks::default());
        let listeners = Arc::<Listeners>::default();
        let name = format!("doors-{:016x}", rand::random::<u64>());
        let asking = ask(store, name, sender, listeners.clone());
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            shutdown.run_until_cancelled(asking).await;
        });
        Self { ticks, listeners }
    }

    pub(crate) fn listen(&self) -> ChangeListener {
        if self.listeners.count.fetch_add(1, Ordering::AcqRel) == 0 {
            self.listeners.first.notify_one();
        }
        ChangeListener {
            seen: *self.ticks.borrow(),
            ticks: self.ticks.clone(),
            listeners: self.listeners.clone(),
        }
    }
}

impl ChangeListener {
    /// From now on, changes are new.
    pub(crate) fn mark(&mut self) {
        self.seen = *self.ticks.borrow();
    }

    /// Returns when there may be new events, or after `wait`. Can be dropped at any time.
    pub(crate) async fn events(&mut self, wait: Duration) {
        let seen = self.seen.events;
        // The time being over is no failure: the caller looks in any case.
        let changed = self.ticks.wait_for(|ticks| ticks.events != seen);
        timeout(wait, changed).await.ok();
    }

    /// Returns when there may be new answers, or after `wait`.
    pub(crate) async fn answers(&mut self, wait: Duration) {
        let seen = self.seen.answers;
        let changed = self.ticks.wait_for(|ticks| ticks.answers != seen);
        timeout(wait, changed).await.ok();
    }
}

impl Drop for ChangeListener {
    fn drop(&mut self) {
        self.listeners.count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Asks the store for changes while somebody listens.
async fn ask(
    store: Arc<dyn RunStore>,
    name: String,
    ticks: watch::Sender<Ticks>,
    listeners: Arc<Listeners>,
) {
    let interests = [Interest::Events, Interest::Answers];
    let mut is_new = true;
    loop {
        if listeners.count.load(Ordering::Acquire) == 0 {
            listeners.first.notified().await;
            // It may be long since the last question.
            is_new = true;
        }
        let wait = if is_new { Duration::ZERO } else { WAIT };
        let (events, answers) = match store.changes(&name, &interests, wait).await {
            // What changed before this first question may not be told.
            Ok(_) if is_new => (true, true),
            Ok(changes) => (changes.events != 0, changes.answers),
            Err(error) => {
                tracing::debug!(%error, "the store of runs does not tell of changes");
                sleep(AWAY).await;
                (true, true)
            }
        };
        is_new = false;
        if events || answers {
            ticks.send_modify(|ticks| {
                ticks.events += u64::from(events);
                ticks.answers += u64::from(answers);
            });
            sleep(BURST).await;
        }
    }
}
