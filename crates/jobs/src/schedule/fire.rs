//! Firing timers: each time of a timer makes one job, whoever fires it.

use bytes::Bytes;

use crate::{
    Error, Jobs, Lane, NewJob,
    timer::{Firing, Timer},
};

/// Makes the job of a timer for one of its times, which the key names.
pub type JobFactory = dyn Fn(&Timer, &str) -> Result<NewJob, Error> + Send + Sync;

impl Jobs {
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

    /// Fires one timer if it is due. Answers how many jobs it made, and when it fires next.
    pub(super) async fn fire_one(
        &self,
        old: &Bytes,
        timer: Timer,
        now: u64,
        make: &JobFactory,
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
                last = Some(Firing {
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
            last = Some(Firing { at, job, error });
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
}

pub(super) fn keyed(job: NewJob, name: &str, key: &str) -> NewJob {
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
