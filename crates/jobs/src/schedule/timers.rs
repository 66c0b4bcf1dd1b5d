//! The timers of a store: set, removed, ended, run.

use bytes::Bytes;

use super::{
    desired::is_live,
    fire::{JobFactory, keyed},
};
use crate::{
    Error, Jobs, Submitted,
    timer::{Firing, Timer},
};

/// How often a change is tried again when the timer changed meanwhile.
const TRIES: usize = 16;

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
