//! The timers of a store: set, removed, fired, and kept as schedulers have them configured.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{
    Error, Jobs, Lane, NewJob, Submitted,
    timer::{Fired, Kept, Timer},
};

/// How often a scheduler says of its entries that it has them, in ms.
const KEEP: u64 = 20_000;
/// How long after that an entry is nobody's, in ms.
pub const FORGET: u64 = 60_000;
/// How often a change is tried again when the timer changed meanwhile.
const TRIES: usize = 16;

/// Makes the job of a timer for one of its times, which the key names.
pub type Make = dyn Fn(&Timer, &str) -> Result<NewJob, Error> + Send + Sync;

/// The entries that one scheduler has in its configuration.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    timers: BTreeMap<String, Timer>,
    /// When they were read, by the store's clock; 0 before it was asked.
    since: u64,
    /// What was taken out, and is to go at once.
    dropped: BTreeSet<String>,
    /// What the names of configured timers begin with, or are.
    names: &'static [&'static str],
}

impl Entries {
    /// No entries yet. `names` are what the names of entries begin with: timers of these names
    /// that older schedulers have left behind are entries too.
    #[must_use]
    pub fn new(names: &'static [&'static str]) -> Self {
        Self {
            names,
            ..Self::default()
        }
    }

    /// Puts other entries in their place.
    pub fn replace(&mut self, timers: Vec<Timer>) {
        let timers = timers.into_iter().map(|timer| (timer.name.clone(), timer));
        let old = std::mem::replace(&mut self.timers, timers.collect());
        self.dropped.extend(old.into_keys());
        self.dropped.retain(|name| !self.timers.contains_key(name));
        self.since = 0;
    }

    fn are(&self, name: &str) -> bool {
        self.names.iter().any(|start| name.starts_with(start))
    }
}

/// What one look at the timers came to.
#[derive(Debug, Clone, Default)]
pub struct Round {
    /// How many jobs it made.
    pub made: usize,
    /// How long until the next timer fires, in ms.
    pub next_in: Option<u64>,
    /// What went wrong with the first timer that could not be looked after. It is tried again.
    pub trouble: Option<Error>,
}

impl Jobs {
    /// Sets a timer, in the place of one of the same name. Setting one that is set already
    /// changes nothing, so that every process may do it when it starts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad pattern or job; [`Error::Unavailable`].
    pub async fn set_timer(&self, mut timer: Timer) -> Result<Timer, Error> {
        (timer.next_at, timer.fired, timer.last) = (None, 0, None);
        (timer.kept, timer.removed) = (None, false);
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
        Err(self.restless_timer())
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
        Err(self.restless_timer())
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
            let timer = Timer::decode(&old).ok_or_else(|| self.strange_timer(name))?;
            let ended = Timer {
                removed: true,
                next_at: None,
                ..timer
            };
            let stays = ended.kept.is_some_and(|kept| is_live(kept, now));
            let new = stays.then(|| ended.encode());
            if self
                .store
                .swap_timer(name, Some(&old), new.as_ref())
                .await?
            {
                return Ok(Some(ended));
            }
        }
        Err(self.restless_timer())
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
        self.clock.tell(&lane, now);
        Ok(now)
    }

    /// Makes the job of a timer now, whatever its next time is. It is a job of its own.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a timer that is not there; what `make` says;
    /// [`Error::Unavailable`].
    pub async fn run_timer(&self, name: &str, make: &Make) -> Result<Submitted, Error> {
        let text = self.timer_text(name).await?;
        let text = text.ok_or_else(|| Error::NotFound {
            id: name.to_owned(),
        })?;
        let timer = Timer::decode(&text).ok_or_else(|| self.strange_timer(name))?;
        let now = self.timer_clock().await?;
        let key = format!("run/{name}/{now}/{:016x}", rand::random::<u64>());
        let submitted = self.submit(keyed(make(&timer, &key)?, name, &key)).await?;
        let fired = Fired {
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

    /// One look at all timers: puts the entries of a scheduler into the store where they are not
    /// or are others, fires those that are due, and forgets those that no scheduler has any more.
    /// One that fails leaves the others alone, and is tried again at the next look.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the timers cannot be read.
    pub async fn tend(&self, entries: &mut Entries, make: &Make) -> Result<Round, Error> {
        let now = self.timer_clock().await?;
        if entries.since == 0 {
            entries.since = now;
        }
        let known: BTreeMap<String, Bytes> = self.store.timers().await?.into_iter().collect();
        let mut round = Round::default();
        let unset = entries
            .timers
            .keys()
            .filter(|name| !known.contains_key(*name));
        let names: Vec<String> = unset.chain(known.keys()).cloned().collect();
        for name in names {
            let tended = self.tend_one(entries, &name, known.get(&name), now, make);
            match tended.await {
                Ok((made, next_at)) => {
                    round.made += made;
                    let next_in = next_at.map(|next| next.saturating_sub(now));
                    round.next_in = match (round.next_in, next_in) {
                        (Some(one), Some(other)) => Some(one.min(other)),
                        (one, other) => one.or(other),
                    };
                }
                Err(error) => {
                    tracing::debug!(timer = name, %error, "timer waits");
                    round.trouble.get_or_insert(error);
                }
            }
        }
        Ok(round)
    }

    /// How many jobs one timer made, and when it fires next if this scheduler fires it.
    async fn tend_one(
        &self,
        entries: &mut Entries,
        name: &str,
        old: Option<&Bytes>,
        now: u64,
        make: &Make,
    ) -> Result<(usize, Option<u64>), Error> {
        let nothing = Ok((0, None));
        let known = old.and_then(Timer::decode);
        let Some(entry) = entries.timers.get(name) else {
            let Some((old, timer)) = old.zip(known) else {
                // Of another version, or nobody's: let it be.
                return nothing;
            };
            if let Some(kept) = timer.kept {
                let gone = entries.dropped.remove(name) || !is_live(kept, now);
                if gone && self.store.swap_timer(name, Some(old), None).await? {
                    tracing::info!(entry = name, "entry removed, no scheduler has it any more");
                }
                return nothing;
            }
            if entries.are(name) {
                // An older scheduler left it. Who has it says so; else it goes after a while.
                let kept = Some(Kept { since: 0, at: now });
                let new = Timer { kept, ..timer }.encode();
                self.store.swap_timer(name, Some(old), Some(&new)).await?;
                return nothing;
            }
            return self.fire_one(old, timer, now, make).await;
        };
        let settled = settle(known.as_ref(), entry, entries.since, now)?;
        if known.as_ref() == Some(&settled) {
            return match old {
                Some(old) => self.fire_one(old, settled, now, make).await,
                None => nothing,
            };
        }
        let new = settled.encode();
        if !self.store.swap_timer(name, old, Some(&new)).await? {
            // Somebody else was faster; the next look sees what that came to.
            return Ok((0, Some(now)));
        }
        let is_new = known.is_none_or(|known| !known.is_same(&settled) || known.removed);
        if is_new && settled.next_at.is_none() && !settled.removed {
            tracing::warn!(entry = name, "entry has no further time, it will not fire");
        }
        self.fire_one(&new, settled, now, make).await
    }

    /// Fires one timer if it is due. Answers how many jobs it made, and when it fires next.
    async fn fire_one(
        &self,
        old: &Bytes,
        timer: Timer,
        now: u64,
        make: &Make,
    ) -> Result<(usize, Option<u64>), Error> {
        if timer.removed || timer.next_at.is_none_or(|next| next > now) {
            let next = timer.next_at.filter(|_| !timer.removed);
            return Ok((0, next));
        }
        let (name, mut last) = (timer.name.clone(), timer.last.clone());
        let (mut made, mut count) = (0, 0);
        let (times, next_at) = match timer.due(now) {
            Ok(due) => due,
            Err(error) => {
                tracing::warn!(timer = name, %error, "timer cannot fire");
                let (at, error) = (now, Some(error.to_string()));
                last = Some(Fired {
                    at,
                    job: None,
                    error,
                });
                (Vec::new(), None)
            }
        };
        // The jobs first: who dies in between leaves the rest to others, and the key sees to it
        // that nothing is made twice.
        for at in times {
            // The count tells the same time from itself, when a clock that is set back comes to
            // it again.
            let key = format!("timer/{name}/{at}/{}", timer.fired);
            let submitted = match make(&timer, &key) {
                Ok(job) => self.submit(keyed(job, &name, &key)).await,
                Err(error) => Err(error),
            };
            let (job, error) = match submitted {
                Ok(submitted) => {
                    made += usize::from(!submitted.existing);
                    (Some(submitted.id), None)
                }
                // A scheduler with another entry of this name made it.
                Err(Error::Conflict { id, .. }) => (Some(id), None),
                Err(error @ Error::Invalid { .. }) => {
                    tracing::warn!(timer = name, %error, "timer makes no job");
                    (None, Some(error.to_string()))
                }
                Err(error) => return Err(error),
            };
            last = Some(Fired { at, job, error });
            count += 1;
        }
        if next_at.is_none() {
            tracing::info!(timer = name, "timer has no further time");
        }
        let new = Timer {
            next_at,
            last,
            fired: timer.fired + count,
            ..timer
        };
        let new = new.encode();
        self.store.swap_timer(&name, Some(old), Some(&new)).await?;
        Ok((made, next_at))
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

    fn restless_timer(&self) -> Error {
        let (store, reason) = (
            self.store.name(),
            "the timer changes all the time".to_owned(),
        );
        Error::Unavailable { store, reason }
    }

    fn strange_timer(&self, name: &str) -> Error {
        let (store, reason) = (
            self.store.name(),
            format!("the timer {name:?} is of another version"),
        );
        Error::Broken { store, reason }
    }
}

/// Whether schedulers have it: one said so lately. What was said in the future was said by a clock
/// that jumped.
#[must_use]
pub const fn is_live(kept: Kept, now: u64) -> bool {
    now.saturating_sub(kept.at) <= FORGET && kept.at <= now.saturating_add(FORGET)
}

/// What a timer is to be in the store, by what it is there and what the entry says.
fn settle(known: Option<&Timer>, entry: &Timer, since: u64, now: u64) -> Result<Timer, Error> {
    let kept = Some(Kept { since, at: now });
    let fresh = |fired: u64, last: Option<Fired>| {
        let timer = Timer {
            fired,
            last,
            kept,
            next_at: None,
            removed: false,
            ..entry.clone()
        };
        Ok(Timer {
            next_at: timer.after(now)?,
            ..timer
        })
    };
    let Some(known) = known else {
        return fresh(0, None);
    };
    let same = known.is_same(entry);
    // Of two configurations the one that was read later counts: schedulers are changed one by one.
    let newer = known
        .kept
        .filter(|kept| kept.since > since && is_live(*kept, now));
    if !same && newer.is_none() {
        let changed = fresh(known.fired, known.last.clone())?;
        if !known.has_times_of(entry) {
            return Ok(changed);
        }
        let next_at = known.next_at.or(changed.next_at);
        return Ok(Timer { next_at, ..changed });
    }
    let mut settled = known.clone();
    let renewed = known
        .kept
        .filter(|kept| kept.at <= now.saturating_add(KEEP) && now.saturating_sub(kept.at) < KEEP);
    if renewed.is_none() {
        let since = known.kept.map_or(since, |kept| kept.since.min(now));
        settled.kept = Some(Kept { since, at: now });
    }
    // A time that passed is one to fire for. One to come is what the pattern says, or the clock
    // jumped since; none may have come about likewise, which is looked at now and then.
    let look = match settled.next_at {
        Some(next) => next > now,
        None => renewed.is_none(),
    };
    if look && !settled.removed {
        settled.next_at = settled.next(now)?;
    }
    Ok(settled)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::When;

    fn timer(every: u64) -> Timer {
        Timer::new("t", When::Every(every), "call", 1.into())
    }

    #[test]
    fn an_entry_keeps_its_place_in_time_over_restarts_and_loses_it_when_its_times_change() {
        let first = settle(None, &timer(1_000), 5, 10_000).unwrap();
        assert_eq!(first.next_at, Some(11_000));
        // Three restarts later it is still due for what was missed.
        let late = settle(Some(&first), &timer(1_000), 50_000, 50_000).unwrap();
        assert_eq!(late.next_at, Some(11_000));
        let other = Timer {
            payload: 2.into(),
            ..timer(1_000)
        };
        let other = settle(Some(&late), &other, 50_001, 50_001).unwrap();
        assert_eq!((&other.payload, other.next_at), (&2.into(), Some(11_000)));
        let slower = settle(Some(&other), &timer(5_000), 50_002, 50_002).unwrap();
        assert_eq!(slower.next_at, Some(55_002));
    }

    #[test]
    fn the_configuration_that_was_read_later_counts_while_somebody_has_it() {
        let new = settle(None, &timer(1_000), 20_000, 20_000).unwrap();
        let old = settle(Some(&new), &timer(9_000), 10_000, 20_500).unwrap();
        assert!(old.is_same(&new), "the older scheduler yields");
        let gone = settle(Some(&new), &timer(9_000), 10_000, 20_000 + FORGET + 1).unwrap();
        assert!(gone.is_same(&timer(9_000)), "nobody has the newer one");
    }

    #[test]
    fn a_next_time_beyond_what_the_pattern_says_is_made_anew() {
        let ahead = Timer {
            next_at: Some(3_600_000),
            kept: Some(Kept {
                since: 3_590_000,
                at: 3_590_000,
            }),
            ..timer(1_000)
        };
        let settled = settle(Some(&ahead), &timer(1_000), 10_000, 10_000).unwrap();
        assert_eq!(settled.next_at, Some(11_000));
        assert_eq!(settled.kept.unwrap().at, 10_000);
    }

    #[test]
    fn what_somebody_removed_stays_removed_until_its_entry_changes() {
        let set = settle(None, &timer(1_000), 5, 10_000).unwrap();
        let removed = Timer {
            removed: true,
            next_at: None,
            ..set
        };
        let again = settle(Some(&removed), &timer(1_000), 90_000, 90_000).unwrap();
        assert!(again.removed && again.next_at.is_none());
        let changed = settle(Some(&removed), &timer(2_000), 90_000, 90_000).unwrap();
        assert!(!changed.removed && changed.next_at.is_some());
    }
}
