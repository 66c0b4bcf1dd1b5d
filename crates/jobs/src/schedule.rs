//! The timers of a store: set, removed, fired, and kept as schedulers have them configured.

mod desired;
mod reconcile;

use bytes::Bytes;

use crate::{
    Error, Jobs, Lane, NewJob, Submitted,
    timer::{Firing, Timer},
};
pub use desired::{ENTRY_TTL_MS, is_live};
pub use reconcile::{ReconcileResult, ScheduleEntries};

/// How often a change is tried again when the timer changed meanwhile.
const TRIES: usize = 16;

/// Makes the job of a timer for one of its times, which the key names.
pub type JobFactory = dyn Fn(&Timer, &str) -> Result<NewJob, Error> + Send + Sync;

impl Jobs {
    /// Sets a timer, in the place of one of the same name. Setting one that is set already
    /// changes nothing, so that every process may do it when it starts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad pattern or job; [`Error::Unavailable`].
    pub async fn set_timer(&self, mut timer: Timer) -> Result<Timer, Error> {
        (timer.next_at, timer.fired, timer.last) = (None, 0, None);
        (timer.ownership, timer.removed) = (None, false);
        self.check_timer(&timer)?;
        timer.next_at = timer.after(self.timer_clock().await?)?;
        for _ in 0..TRIES {
            let old = self.timer_text(&timer.name).await?;
            let known = old.as_ref().and_then(Timer::decode);
            if let Some(known) = known.filter(|known| known.is_same(&timer)) {
                return Ok(known);
            }
            let new = timer.encode();
            let swap = self.store.swap_timer(&timer.name, old.as_ref(), Some(&new));
            if swap.await? {
                return Ok(timer);
            }
        }
        Err(self.timer_contended())
    }

    /// Removes a timer; `false` when there was none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn remove_timer(&self, name: &str) -> Result<bool, Error> {
        for _ in 0..TRIES {
            let Some(old) = self.timer_text(name).await? else {
                return Ok(false);
            };
            if self.store.swap_timer(name, Some(&old), None).await? {
                return Ok(true);
            }
        }
        Err(self.timer_contended())
    }

    /// Ends a timer for whoever has it: one that schedulers have in their configuration stays,
    /// marked as removed, until its entry changes; another one goes. `None` when there was none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn end_timer(&self, name: &str) -> Result<Option<Timer>, Error> {
        for _ in 0..TRIES {
            let now = self.timer_clock().await?;
            let Some(old) = self.timer_text(name).await? else {
                return Ok(None);
            };
            let timer = Timer::decode(&old).ok_or_else(|| self.undecodable_timer(name))?;
            let ended = Timer {
                removed: true,
                next_at: None,
                ..timer
            };
            let stays = ended.ownership.is_some_and(|kept| is_live(kept, now));
            let new = stays.then(|| ended.encode());
            if self
                .store
                .swap_timer(name, Some(&old), new.as_ref())
                .await?
            {
                return Ok(Some(ended));
            }
        }
        Err(self.timer_contended())
    }

    /// All timers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn timers(&self) -> Result<Vec<Timer>, Error> {
        let texts = self.store.timers().await?;
        let decoded = texts.iter().filter_map(|(_, text)| Timer::decode(text));
        Ok(decoded.collect())
    }

    /// The time by the clock that timers fire by, Unix milliseconds.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn timer_clock(&self) -> Result<u64, Error> {
        // Not what was said a while ago: after a jump timers would go by a clock that is gone.
        let lane = clock_lane();
        let now = self.store.now(&lane).await?;
        self.clock.observe(&lane, now);
        Ok(now)
    }

    /// Makes the job of a timer now, whatever its next time is. It is a job of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a timer that is not there; what `make` says;
    /// [`Error::Unavailable`].
    pub async fn run_timer(&self, name: &str, make: &JobFactory) -> Result<Submitted, Error> {
        let text = self.timer_text(name).await?;
        let text = text.ok_or_else(|| Error::NotFound {
            id: name.to_owned(),
        })?;
        let timer = Timer::decode(&text).ok_or_else(|| self.undecodable_timer(name))?;
        let now = self.timer_clock().await?;
        let key = format!("run/{name}/{now}/{:016x}", rand::random::<u64>());
        let submitted = self.submit(keyed(make(&timer, &key)?, name, &key)).await?;
        let fired = Firing {
            at: now,
            job: Some(submitted.id.clone()),
            error: None,
        };
        for _ in 0..TRIES {
            let Some(old) = self.timer_text(name).await? else {
                break;
            };
            let Some(timer) = Timer::decode(&old) else {
                break;
            };
            let last = Some(fired.clone());
            let new = Timer { last, ..timer }.encode();
            if self.store.swap_timer(name, Some(&old), Some(&new)).await? {
                break;
            }
        }
        Ok(submitted)
    }

    /// Fires all timers that are due, whoever has them, with their payloads as they are written.
    /// Several schedulers may do this at once: each time of a timer makes one job. Returns how
    /// many jobs this call made.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; nothing is lost, the next call does it.
    pub async fn fire(&self) -> Result<usize, Error> {
        let now = self.timer_clock().await?;
        let (mut all, mut failed) = (0, None);
        for (_, old) in self.store.timers().await? {
            let Some(timer) = Timer::decode(&old) else {
                continue;
            };
            let fired = self.fire_one(&old, timer, now, &|timer, _| Ok(timer.job()));
            match fired.await {
                Ok((made, _)) => all += made,
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(all), Err)
    }

    fn check_timer(&self, timer: &Timer) -> Result<(), Error> {
        timer.check()?;
        timer.job().check(self.options.max_payload)?;
        self.lanes_of(&timer.queue).map(drop)
    }

    async fn timer_text(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let known = self.store.timers().await?;
        let found = known.into_iter().find(|(known, _)| known == name);
        Ok(found.map(|(_, text)| text))
    }

    fn timer_contended(&self) -> Error {
        let (store, reason) = (
            self.store.name(),
            "the timer kept changing during the request: try again".to_owned(),
        );
        Error::Unavailable { store, reason }
    }

    fn undecodable_timer(&self, name: &str) -> Error {
        let (store, reason) = (
            self.store.name(),
            format!("the timer {name:?} is of another version"),
        );
        Error::Broken { store, reason }
    }
}

fn keyed(job: NewJob, name: &str, key: &str) -> NewJob {
    NewJob {
        internal_key: Some(key.to_owned()),
        caller: Some(format!("timer/{name}")),
        ..job
    }
}

/// Whose clock timers go by: where lanes have several, it is always the same one.
fn clock_lane() -> Lane {
    Lane {
        queue: "default".to_owned(),
        partition: 0,
    }
}
