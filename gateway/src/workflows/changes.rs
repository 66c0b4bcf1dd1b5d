//! Tells followers and waiting commands that the store has something new: one task asks it for all of
//! them, and only while there are any. It reads new events once for all who follow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use runs::{Error, EventFilter, EventPage, Interest, RunStore};
use service::Context;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, timeout},
};

use super::recent::RecentEvents;

/// How many events are read at once.
const PAGE: usize = 1_000;
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
    shared: Arc<Shared>,
    ticks: watch::Receiver<Ticks>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Who waits for answers, and who follows events.
    waiting: AtomicUsize,
    following: AtomicUsize,
    first: Notify,
    recent: Mutex<RecentEvents>,
}

impl Shared {
    fn is_alone(&self) -> bool {
        self.waiting.load(Ordering::Acquire) == 0 && !self.is_followed()
    }

    fn is_followed(&self) -> bool {
        self.following.load(Ordering::Acquire) != 0
    }
}

/// Hears of changes, until it is dropped. A caller marks, reads, and then waits: whatever changes after
/// the mark ends the wait.
#[derive(Debug)]
pub(crate) struct ChangeListener {
    shared: Arc<Shared>,
    follows: bool,
    ticks: watch::Receiver<Ticks>,
    seen: Ticks,
    /// How many of the remembered events it has looked at.
    looked: u64,
}

impl ChangeFeed {
    pub(crate) fn start(context: &Context, store: Arc<dyn RunStore>) -> Self {
        let (sender, ticks) = watch::channel(Ticks::default());
        let shared = Arc::<Shared>::default();
        let name = format!("doors-{:016x}", rand::random::<u64>());
        let asking = ask(store, name, sender, shared.clone());
        let shutdown = context.shutdown.clone();
        context.tracker.spawn(async move {
            shutdown.run_until_cancelled(asking).await;
        });
        Self { shared, ticks }
    }

    /// Who waits for answers to commands.
    pub(crate) fn wait(&self) -> ChangeListener {
        self.listen(false)
    }

    /// Who follows events.
    pub(crate) fn follow(&self) -> ChangeListener {
        self.listen(true)
    }

    fn listen(&self, follows: bool) -> ChangeListener {
        let count = match follows {
            true => &self.shared.following,
            false => &self.shared.waiting,
        };
        count.fetch_add(1, Ordering::AcqRel);
        self.shared.first.notify_one();
        ChangeListener {
            shared: self.shared.clone(),
            follows,
            seen: *self.ticks.borrow(),
            ticks: self.ticks.clone(),
            looked: 0,
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

    /// The events after a cursor, where they are remembered; else the store has to be asked.
    pub(crate) fn recent(
        &mut self,
        filter: &EventFilter,
        cursor: &runs::EventCursor,
        limit: usize,
    ) -> Option<EventPage> {
        let recent = self.shared.recent.lock();
        recent.after(cursor, filter, &mut self.looked, limit)
    }
}

impl Drop for ChangeListener {
    fn drop(&mut self) {
        let count = match self.follows {
            true => &self.shared.following,
            false => &self.shared.waiting,
        };
        count.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Asks the store for changes while somebody listens.
async fn ask(
    store: Arc<dyn RunStore>,
    name: String,
    ticks: watch::Sender<Ticks>,
    shared: Arc<Shared>,
) {
    let interests = [Interest::Events, Interest::Answers];
    let (mut is_new, mut reads) = (true, false);
    loop {
        while shared.is_alone() {
            shared.recent.lock().stop();
            reads = false;
            shared.first.notified().await;
            // It may be long since the last question.
            is_new = true;
        }
        let wait = if is_new || reads != shared.is_followed() {
            Duration::ZERO
        } else {
            WAIT
        };
        let asked = tokio::select! {
            asked = store.changes(&name, &interests, wait) => asked,
            // Who follows from now on needs events to be read.
            () = shared.first.notified(), if !reads => continue,
        };
        let told = match asked {
            // What changed before this first question may not be told.
            Ok(_) if is_new => Ok((true, true)),
            Ok(changes) => Ok((changes.events != 0, changes.answers)),
            Err(error) => Err(error),
        };
        let told = match told {
            Ok((events, answers)) => {
                let read = read(&*store, &shared, events, &mut reads).await;
                read.map(|changed| (events || changed, answers))
            }
            Err(error) => Err(error),
        };
        is_new = false;
        let is_away = told.is_err();
        let (events, answers) = told.unwrap_or_else(|error| {
            tracing::debug!(%error, "the store of runs does not tell of changes");
            shared.recent.lock().stop();
            reads = false;
            (true, true)
        });
        if events || answers {
            ticks.send_modify(|ticks| {
                ticks.events += u64::from(events);
                ticks.answers += u64::from(answers);
            });
            sleep(if is_away { AWAY } else { BURST }).await;
        }
    }
}

/// Reads new events for all who follow.
async fn read(
    store: &dyn RunStore,
    shared: &Shared,
    changed: bool,
    reads: &mut bool,
) -> Result<bool, Error> {
    if !shared.is_followed() {
        if std::mem::take(reads) {
            shared.recent.lock().stop();
        }
        return Ok(false);
    }
    let mut begun = false;
    if !*reads {
        let end = store.last_event().await?;
        shared.recent.lock().begin(end);
        *reads = true;
        begun = true;
    } else if !changed {
        return Ok(false);
    }
    loop {
        let end = shared.recent.lock().end().clone();
        let page = store.events(&EventFilter::default(), &end, PAGE).await?;
        let is_last = page.events.len() < PAGE;
        shared.recent.lock().add(page);
        if is_last {
            return Ok(begun);
        }
    }
}
