//! What a scheduler does in each round: it keeps its entries in the store, and fires what is due.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{
    desired::{desired, is_live},
    fire::JobFactory,
};
use crate::{
    Error, Jobs,
    timer::{Ownership, Timer},
};

/// The entries that one scheduler has in its configuration.
#[derive(Debug, Clone, Default)]
pub struct ScheduleEntries {
    timers: BTreeMap<String, Timer>,
    /// When they were read, by the store's clock; 0 before the store was queried.
    since: u64,
    /// What was taken out, and is to go at once.
    removed: BTreeSet<String>,
    /// What the names of configured timers begin with, or are.
    names: &'static [&'static str],
    /// Next times that were found to be right, since patterns take long to ask.
    verified: BTreeMap<String, u64>,
    /// When they were found so.
    reconciled_at: u64,
}

impl ScheduleEntries {
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
        self.removed.extend(old.into_keys());
        self.removed.retain(|name| !self.timers.contains_key(name));
        self.since = 0;
        self.verified.clear();
    }

    fn owns(&self, name: &str) -> bool {
        self.names.iter().any(|start| name.starts_with(start))
    }
}

/// What one look at the timers came to.
#[derive(Debug, Clone, Default)]
pub struct ReconcileResult {
    /// How many jobs it made.
    pub made: usize,
    /// How long until the next timer fires, in ms.
    pub next_in: Option<u64>,
    /// What went wrong with the first timer that could not be looked after. It is tried again.
    pub error: Option<Error>,
}

impl Jobs {
    /// One look at all timers: puts the entries of a scheduler into the store where they are not
    /// or are others, fires those that are due, and forgets those that no scheduler has any more.
    /// One that fails leaves the others alone, and is tried again at the next look.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the timers cannot be read.
    pub async fn reconcile_timers(
        &self,
        entries: &mut ScheduleEntries,
        make: &JobFactory,
    ) -> Result<ReconcileResult, Error> {
        let now = self.timer_clock().await?;
        if entries.since == 0 {
            entries.since = now;
        }
        if now < entries.reconciled_at {
            // The clock was set back.
            entries.verified.clear();
        }
        entries.reconciled_at = now;
        let known: BTreeMap<String, Bytes> = self.store.timers().await?.into_iter().collect();
        let mut round = ReconcileResult::default();
        let unset = entries
            .timers
            .keys()
            .filter(|name| !known.contains_key(*name));
        let names: Vec<String> = unset.chain(known.keys()).cloned().collect();
        for name in names {
            let reconciled = self.reconcile_timer(entries, &name, known.get(&name), now, make);
            match reconciled.await {
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
                    round.error.get_or_insert(error);
                }
            }
        }
        Ok(round)
    }

    /// How many jobs one timer made, and when it fires next if this scheduler fires it.
    async fn reconcile_timer(
        &self,
        entries: &mut ScheduleEntries,
        name: &str,
        old: Option<&Bytes>,
        now: u64,
        make: &JobFactory,
    ) -> Result<(usize, Option<u64>), Error> {
        let nothing = Ok((0, None));
        let known = old.and_then(Timer::decode);
        let Some(entry) = entries.timers.get(name) else {
            let Some((old, timer)) = old.zip(known) else {
                // Of another version, or not ours: leave it.
                return nothing;
            };
            if let Some(kept) = timer.ownership {
                let gone = entries.removed.remove(name) || !is_live(kept, now);
                if gone && self.store.swap_timer(name, Some(old), None).await? {
                    tracing::info!(entry = name, "entry removed, no scheduler has it any more");
                }
                return nothing;
            }
            if entries.owns(name) {
                // An older scheduler left it. Who has it says so; else it goes after a while.
                let ownership = Some(Ownership { since: 0, at: now });
                let new = Timer { ownership, ..timer }.encode();
                self.store.swap_timer(name, Some(old), Some(&new)).await?;
                return nothing;
            }
            return self.fire_one(old, timer, now, make).await;
        };
        let next = known.as_ref().and_then(|known| known.next_at);
        let is_verified = next.is_some() && entries.verified.get(name) == next.as_ref();
        let desired_timer = desired(known.as_ref(), entry, entries.since, now, is_verified)?;
        match desired_timer.next_at {
            Some(next) => entries.verified.insert(name.to_owned(), next),
            None => entries.verified.remove(name),
        };
        if known.as_ref() == Some(&desired_timer) {
            return match old {
                Some(old) => self.fire_one(old, desired_timer, now, make).await,
                None => nothing,
            };
        }
        let new = desired_timer.encode();
        if !self.store.swap_timer(name, old, Some(&new)).await? {
            // Somebody else was faster; the next look sees what that came to.
            return Ok((0, Some(now)));
        }
        let is_new = known.is_none_or(|known| !known.is_same(&desired_timer) || known.removed);
        if is_new && desired_timer.next_at.is_none() && !desired_timer.removed {
            tracing::warn!(entry = name, "entry has no further time, it will not fire");
        }
        self.fire_one(&new, desired_timer, now, make).await
    }
}
