//! A timer: a job to be submitted by the clock.

use std::str::FromStr as _;

use bytes::Bytes;
use chrono::{DateTime, TimeZone as _, Utc};
use croner::Cron;
use serde::{Deserialize, Serialize};

use crate::{Error, Jobs, NewJob, Payload, clock};

/// When a timer fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// At the times of a cron pattern, in UTC: five fields, or six with seconds first.
    Cron(String),
    /// Every so many milliseconds, at least 100, from when the timer was set.
    Every(u64),
}

/// What to do about times that went by while no scheduler ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// Fire once for all of them.
    #[default]
    Once,
    /// Fire for each of them, the latest 100 at most.
    All,
    /// Leave out what is more than a minute late.
    Skip,
}

/// How late is missed, in ms, for [`Missed::Skip`].
const LATE: u64 = 60_000;
/// How many are made up for, for [`Missed::All`].
const MAKE_UP: usize = 100;

/// A job to be submitted by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its name; setting another of this name replaces it.
    pub name: String,
    /// When it fires.
    pub when: When,
    /// What to do about missed times.
    #[serde(default)]
    pub missed: Missed,
    /// The queue of its jobs.
    pub queue: String,
    /// The kind of its jobs.
    pub kind: String,
    /// What its jobs are about, as JSON.
    pub payload: serde_json::Value,
    /// The priority of its jobs.
    pub priority: u8,
    /// How often each is tried.
    pub max_attempts: u32,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// When it fires next, Unix milliseconds; setting it computes this.
    #[serde(default)]
    pub next_at: u64,
}

impl Timer {
    /// A timer with the defaults of a job in everything else.
    #[must_use]
    pub fn new(name: &str, when: When, kind: &str, payload: serde_json::Value) -> Self {
        let job = NewJob::new(kind, Payload::Json(Bytes::new()));
        Self {
            name: name.to_owned(),
            when,
            missed: Missed::default(),
            queue: job.queue,
            kind: job.kind,
            payload,
            priority: job.priority,
            max_attempts: job.max_attempts,
            timeout_ms: clock::millis(job.timeout),
            next_at: 0,
        }
    }

    /// The first time after `now` at which it fires.
    fn after(&self, now: u64) -> Result<u64, Error> {
        match &self.when {
            When::Every(period) if *period < 100 => Err(Error::invalid(
                "every",
                format!("{period} ms is less than 100 ms"),
            )),
            When::Every(period) => {
                let missed = now.saturating_sub(self.next_at) / period;
                let base = if self.next_at == 0 {
                    now
                } else {
                    self.next_at + missed * period
                };
                Ok(base + period)
            }
            When::Cron(pattern) => {
                let bad = |error: croner::errors::CronError| {
                    Error::invalid("cron", format!("{pattern:?}: {error}"))
                };
                let cron = Cron::from_str(pattern).map_err(bad)?;
                let next = cron.find_next_occurrence(&utc(now), false).map_err(bad)?;
                Ok(u64::try_from(next.timestamp_millis()).unwrap_or(0))
            }
        }
    }

    /// The times to fire for at `now`, and when to fire next.
    pub(crate) fn due(&self, now: u64) -> Result<(Vec<u64>, u64), Error> {
        let mut step = self.clone();
        let mut times = Vec::new();
        let next = self.after(now)?;
        match self.missed {
            Missed::Once => times.push(self.next_at),
            Missed::Skip => {
                if now.saturating_sub(self.next_at) <= LATE {
                    times.push(self.next_at);
                }
            }
            Missed::All => {
                while step.next_at <= now && times.len() < 100 * MAKE_UP {
                    times.push(step.next_at);
                    step.next_at = step.after(step.next_at)?;
                }
                times.drain(..times.len().saturating_sub(MAKE_UP));
            }
        }
        Ok((times, next))
    }

    /// The job for one of its times. The key makes several schedulers make one.
    pub(crate) fn job(&self, time: u64) -> NewJob {
        let mut job = NewJob::new(self.kind.clone(), Payload::json(&self.payload));
        job.queue.clone_from(&self.queue);
        job.priority = self.priority;
        job.max_attempts = self.max_attempts;
        job.timeout = std::time::Duration::from_millis(self.timeout_ms);
        job.idempotency_key = Some(format!("timer/{}/{time}", self.name));
        job.caller = Some(format!("timer/{}", self.name));
        job
    }

    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("a timer has only string keys")
            .into()
    }
}

fn utc(ms: u64) -> DateTime<Utc> {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    Utc.timestamp_millis_opt(ms).single().unwrap_or_default()
}

impl Jobs {
    /// Sets a timer, in the place of one of the same name. Setting one that is set already
    /// changes nothing, so that every process may do it when it starts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad pattern or job; [`Error::Unavailable`].
    pub async fn set_timer(&self, mut timer: Timer) -> Result<Timer, Error> {
        timer.next_at = 0;
        if timer.name.is_empty() || timer.name.len() > 128 {
            return Err(Error::invalid("name", "give 1 to 128 bytes"));
        }
        timer.next_at = timer.after(clock::now())?;
        let job = timer.job(timer.next_at);
        job.check(self.options.max_payload)?;
        self.lanes_of(&timer.queue)?;
        for _ in 0..16 {
            let known = self.store.timers().await?;
            let old = known.into_iter().find(|(name, _)| *name == timer.name);
            let old = old.map(|(_, text)| text);
            let known = old.as_ref().and_then(decode);
            let same = |known: &Timer| {
                Timer {
                    next_at: timer.next_at,
                    ..known.clone()
                } == timer
            };
            if let Some(known) = known.filter(same) {
                return Ok(known);
            }
            let new = timer.encode();
            if self
                .store
                .swap_timer(&timer.name, old.as_ref(), Some(&new))
                .await?
            {
                return Ok(timer);
            }
        }
        let (store, reason) = (
            self.store.name(),
            "the timer changes all the time".to_owned(),
        );
        Err(Error::Unavailable { store, reason })
    }

    /// Removes a timer; `false` when there was none.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn remove_timer(&self, name: &str) -> Result<bool, Error> {
        loop {
            let known = self.store.timers().await?;
            let Some((_, old)) = known.into_iter().find(|(known, _)| known == name) else {
                return Ok(false);
            };
            if self.store.swap_timer(name, Some(&old), None).await? {
                return Ok(true);
            }
        }
    }

    /// All timers.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn timers(&self) -> Result<Vec<Timer>, Error> {
        let texts = self.store.timers().await?;
        Ok(texts.iter().filter_map(|(_, text)| decode(text)).collect())
    }

    /// Fires the timers that are due. Several schedulers may do this at once: each time of a
    /// timer makes one job. Returns how many jobs this call made.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; nothing is lost, the next call does it.
    pub async fn fire(&self) -> Result<usize, Error> {
        let (now, mut made) = (clock::now(), 0);
        for (name, old) in self.store.timers().await? {
            let Some(timer) = decode(&old).filter(|timer| timer.next_at <= now) else {
                continue;
            };
            let (times, next_at) = timer.due(now)?;
            // The jobs first: who dies in between leaves the rest to others, and the key sees to
            // it that nothing is made twice.
            for time in times {
                match self.submit(timer.job(time)).await {
                    Ok(submitted) => made += usize::from(!submitted.existing),
                    Err(error) if error.is_unavailable() => return Err(error),
                    Err(error) => tracing::warn!(timer = name, %error, "timer makes no job"),
                }
            }
            let new = Timer { next_at, ..timer }.encode();
            self.store.swap_timer(&name, Some(&old), Some(&new)).await?;
        }
        Ok(made)
    }
}

fn decode(text: &Bytes) -> Option<Timer> {
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(missed: Missed) -> Timer {
        let when = When::Every(1_000);
        Timer {
            missed,
            next_at: 10_000,
            ..Timer::new("t", when, "call", serde_json::Value::Null)
        }
    }

    #[test]
    fn missed_times_follow_the_policy() {
        assert_eq!(
            every(Missed::Once).due(12_500).unwrap(),
            (vec![10_000], 13_000)
        );
        let all = every(Missed::All).due(12_500).unwrap();
        assert_eq!(all, (vec![10_000, 11_000, 12_000], 13_000));
        assert_eq!(
            every(Missed::Skip).due(12_500).unwrap(),
            (vec![10_000], 13_000)
        );
        assert_eq!(every(Missed::Skip).due(100_500).unwrap(), (vec![], 101_000));
    }

    #[test]
    fn a_cron_pattern_fires_at_its_times_in_utc() {
        let timer = Timer::new("t", When::Cron("*/5 * * * *".into()), "call", 1.into());
        assert_eq!(timer.after(1_700_000_000_000).unwrap(), 1_700_000_100_000);
        let bad = Timer::new("t", When::Cron("61 * * * *".into()), "call", 1.into());
        assert!(matches!(
            bad.after(0),
            Err(Error::Invalid { field: "cron", .. })
        ));
    }
}
