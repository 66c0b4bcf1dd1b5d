//! Jobs in Redis 7 or later: a stream and a consumer group per priority, one script per step.
//!
//! A queued job is an entry of a stream; a running one is pending in the stream's group, and the
//! time since its last delivery is the age of its lease. A hash says which state each job is in;
//! its value is the token that every move is fenced by. `redis/lua/prelude.lua` lists the keys.

mod claim;
mod dial;
mod events;
mod link;
mod reply;
mod script;
mod tails;
mod write;

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Value;

use crate::{
    Error, JobId, Lane, Status, clock,
    store::{
        Accepted, Claim, Claimer, Counts, Entry, Event, Found, Lease, Mark, Move, Moved, Page,
        Renewal, Store,
    },
};
use link::{Failure, Link};
use reply::Strange;
use script::Script;
use tails::Tails;

/// Jobs in a Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    prefix: String,
    /// Entries of a lane's events that are kept, about; one tells of up to 256 jobs.
    keep: String,
    /// How long an idempotency key is known, in ms.
    key_ttl: String,
    /// Lanes that are listed in Redis.
    known: Mutex<HashSet<Lane>>,
    /// Who waits for events.
    tails: Tails,
}

impl Redis {
    /// Jobs in the Redis at a `redis://` URL, or in the cluster that has the nodes of a
    /// `redis+cluster://host:port,host:port` URL; it need not be up yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL is none.
    pub fn new(url: &str, settings: &super::Settings) -> Result<Self, Error> {
        Ok(Self {
            link: Link::new(url)?,
            prefix: settings.prefix.clone(),
            keep: settings.events.to_string(),
            key_ttl: clock::millis(settings.key_ttl).to_string(),
            known: Mutex::default(),
            tails: Tails::default(),
        })
    }

    /// The lane's prefix; the braces make a cluster keep all its keys in one slot.
    fn key(&self, lane: &Lane) -> String {
        format!("{}:{{{lane}}}", self.prefix)
    }

    async fn run(&self, script: &Script, lane: &Lane, args: &[&[u8]]) -> Result<Value, Error> {
        let key = self.key(lane);
        let first = self.link.run(script, &key, args.iter().copied()).await;
        let Err(Failure::NoGroup) = first else {
            return first.map_err(|failure| self.error(failure));
        };
        // A new lane, or a Redis that came back without it.
        self.known.lock().remove(lane);
        self.list_lane(lane).await?;
        let made = self.link.run(&script::SETUP, &key, []).await;
        made.map_err(|failure| self.error(failure))?;
        let again = self.link.run(script, &key, args.iter().copied()).await;
        again.map_err(|failure| self.error(failure))
    }

    /// Lists the lane among those that have jobs, in a slot of its own.
    async fn list_lane(&self, lane: &Lane) -> Result<(), Error> {
        if self.known.lock().contains(lane) {
            return Ok(());
        }
        let mut command = redis::cmd("SADD");
        command
            .arg(format!("{}:lanes", self.prefix))
            .arg(lane.to_string());
        self.link
            .send(&command)
            .await
            .map_err(|failure| self.error(failure))?;
        self.known.lock().insert(lane.clone());
        Ok(())
    }

    fn error(&self, failure: Failure) -> Error {
        match failure {
            Failure::Error(error) => error,
            other => self.broken(other.to_string()),
        }
    }

    fn strange(&self, Strange(what): Strange) -> Error {
        self.broken(format!("it gave {what}"))
    }

    fn broken(&self, reason: String) -> Error {
        let store = self.name();
        Error::Broken { store, reason }
    }

    fn founds(&self, values: Vec<Value>) -> Result<Vec<Found>, Error> {
        let found = values
            .into_iter()
            .map(reply::found)
            .collect::<Result<_, _>>();
        found.map_err(|strange| self.strange(strange))
    }

    /// An answer of one character an item.
    fn digits(&self, answer: Value, count: usize) -> Result<Bytes, Error> {
        let digits = reply::bytes(answer).map_err(|strange| self.strange(strange))?;
        if digits.len() != count {
            return Err(self.broken(format!("{} answers to {count} questions", digits.len())));
        }
        Ok(digits)
    }
}

#[async_trait::async_trait]
impl Store for Redis {
    fn name(&self) -> String {
        self.link.name().to_owned()
    }

    async fn now(&self, lane: &Lane) -> Result<u64, Error> {
        let answer = self.link.run(&script::TIME, &self.key(lane), []).await;
        let answer = answer.map_err(|failure| self.error(failure))?;
        let read = |answer| {
            let [seconds, micros] = reply::row(answer)?;
            Ok(reply::number(seconds)? * 1_000 + reply::number(micros)? / 1_000)
        };
        read(answer).map_err(|strange| self.strange(strange))
    }

    async fn submit(&self, lane: &Lane, entries: &[Entry]) -> Result<Vec<Accepted>, Error> {
        write::submit(self, lane, entries).await
    }

    async fn claim(&self, lane: &Lane, claimer: &Claimer) -> Result<Claim, Error> {
        claim::claim(self, lane, claimer).await
    }

    async fn ready(&self, lane: &Lane, mark: &Mark, wait: Duration) -> Result<(), Error> {
        events::wait(self, lane, mark, wait).await
    }

    async fn shift(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<Moved>, Error> {
        write::shift(self, lane, moves).await
    }

    async fn renew(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        let pair = |lease: &'_ Lease| [lease.id.as_str().as_bytes().to_vec(), lease.token.to_vec()];
        let owned: Vec<Vec<u8>> = leases.iter().flat_map(pair).collect();
        let args: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        let answer = self.run(&script::RENEW, lane, &args).await?;
        let digits = self.digits(answer, leases.len())?;
        let renewed = digits.iter().map(|digit| match digit {
            b'1' => Renewal::Held,
            b'2' => Renewal::Cancelling,
            _ => Renewal::Stale,
        });
        Ok(renewed.collect())
    }

    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error> {
        events::note(self, &lease.id, &lease.token, Some(progress)).await
    }

    async fn call_off(&self, id: &JobId, token: &Bytes) -> Result<bool, Error> {
        events::note(self, id, token, None).await
    }

    async fn called_off(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        let answer = self.run(&script::OFF, lane, &[]).await?;
        let ids = reply::array(answer).map_err(|strange| self.strange(strange))?;
        let ids = ids.into_iter().map(|id| {
            let id = reply::text(id).map_err(|strange| self.strange(strange))?;
            id.parse()
        });
        ids.collect()
    }

    async fn find(&self, id: &JobId) -> Result<Option<Found>, Error> {
        let answer = self
            .run(&script::FIND, &id.lane(), &[id.as_str().as_bytes()])
            .await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        reply::found(answer)
            .map(Some)
            .map_err(|strange| self.strange(strange))
    }

    async fn expired(&self, lane: &Lane, lease: Duration) -> Result<Vec<Found>, Error> {
        let age = clock::millis(lease).to_string();
        let answer = self.run(&script::EXPIRED, lane, &[age.as_bytes()]).await?;
        self.founds(reply::array(answer).map_err(|strange| self.strange(strange))?)
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        let ages = [ended, dead].map(|age| clock::millis(age).to_string());
        let args = [
            ages[0].as_bytes(),
            ages[1].as_bytes(),
            self.key_ttl.as_bytes(),
        ];
        let answer = self.run(&script::SWEEP, lane, &args).await?;
        let count = reply::number(answer).map_err(|strange| self.strange(strange))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn list(&self, lane: &Lane, of: Status, after: &str, max: usize) -> Result<Page, Error> {
        let kind: &[u8] = match of {
            Status::Queued => b"q",
            Status::Running => b"r",
            Status::Scheduled => b"s",
            Status::Failed => b"f",
            Status::Succeeded => b"S",
            Status::Dead => b"D",
            Status::Cancelled => b"C",
        };
        let max = max.to_string();
        let answer = self
            .run(
                &script::LIST,
                lane,
                &[kind, after.as_bytes(), max.as_bytes()],
            )
            .await?;
        let split = |answer| {
            let [next, jobs] = reply::row(answer)?;
            Ok((reply::text(next)?, reply::array(jobs)?))
        };
        let (next, jobs) = split(answer).map_err(|strange| self.strange(strange))?;
        Ok((self.founds(jobs)?, (!next.is_empty()).then_some(next)))
    }

    async fn counts(&self, lane: &Lane) -> Result<Counts, Error> {
        let answer = self.run(&script::COUNTS, lane, &[]).await?;
        reply::counts(answer).map_err(|strange| self.strange(strange))
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<Vec<Event>, Error> {
        events::read(self, lane, after, max).await
    }

    async fn eventful(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        tails::wait(self, lane, after, wait).await
    }

    fn cursor_at(&self, at: u64) -> String {
        format!("{at}-0.0")
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(format!("{}:lanes", self.prefix));
        let answer = self
            .link
            .send(&command)
            .await
            .map_err(|failure| self.error(failure))?;
        let names = reply::array(answer).map_err(|strange| self.strange(strange))?;
        let parsed = names.into_iter().map(|name| {
            let name = reply::text(name).map_err(|strange| self.strange(strange))?;
            name.parse()
        });
        let mut lanes = parsed.collect::<Result<Vec<Lane>, Error>>()?;
        lanes.sort();
        Ok(lanes)
    }

    async fn timers(&self) -> Result<Vec<(String, Bytes)>, Error> {
        let mut command = redis::cmd("HGETALL");
        command.arg(format!("{}:timers", self.prefix));
        let answer = self
            .link
            .send(&command)
            .await
            .map_err(|failure| self.error(failure))?;
        let read = |answer| {
            let mut flat = reply::array(answer)?.into_iter();
            let mut timers = Vec::new();
            while let (Some(name), Some(timer)) = (flat.next(), flat.next()) {
                // What is no name is none of ours.
                if let Ok(name) = reply::text(name) {
                    timers.push((name, reply::bytes(timer)?));
                }
            }
            timers.sort();
            Ok(timers)
        };
        read(answer).map_err(|strange| self.strange(strange))
    }

    async fn swap_timer(
        &self,
        name: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Result<bool, Error> {
        let flag = |value: Option<&Bytes>| -> &[u8] { if value.is_some() { b"1" } else { b"0" } };
        let key = format!("{}:timers", self.prefix);
        let empty = Bytes::new();
        let (was, is) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
        let args: [&[u8]; 5] = [name.as_bytes(), flag(old), was, flag(new), is];
        let answer = self.link.run(&script::SWAP, &key, args).await;
        let answer = answer.map_err(|failure| self.error(failure))?;
        Ok(reply::number(answer).map_err(|strange| self.strange(strange))? == 1)
    }
}
