//! Jobs in Redis 7 or later: a stream and a consumer group per priority, one script per step.
//!
//! A queued job is an entry of a stream; a running one is pending in the stream's group, and the
//! time since its last delivery is the age of its lease. A hash says which state each job is in;
//! its value is the token that every move is fenced by. `redis/lua/prelude.lua` lists the keys.

mod events;
mod link;
mod reply;
mod script;

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::{Script, Value};

use crate::{
    Error, JobId, Lane, Status, clock,
    store::{
        Accepted, Claim, Claimer, Counts, Entry, Event, Found, Lease, Mark, Move, Moved, Page,
        Renewal, Store, To,
    },
};
use link::{Failure, Link};
use reply::Strange;

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
}

impl Redis {
    /// Jobs in the Redis at a `redis://` URL; it need not be up yet.
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
        command.arg(format!("{}:lanes", self.prefix)).arg(lane.to_string());
        self.link.send(&command).await.map_err(|failure| self.error(failure))?;
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
        let found = values.into_iter().map(reply::found).collect::<Result<_, _>>();
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

    async fn submit(&self, lane: &Lane, entries: &[Entry]) -> Result<Vec<Accepted>, Error> {
        self.list_lane(lane).await?;
        let plain = |entry: &&Entry| entry.key.is_none() && entry.delay.is_zero();
        let delays: Vec<String> =
            entries.iter().map(|entry| clock::millis(entry.delay).to_string()).collect();
        let (mut args, mut counts) = (Vec::with_capacity(entries.len() + 6), Vec::new());
        for priority in 1..=5 {
            let before = args.len();
            let of = entries.iter().filter(plain).filter(|entry| entry.priority == priority);
            args.extend(of.map(|entry| entry.packed.as_ref()));
            counts.push((args.len() - before).to_string());
        }
        let priorities: [&[u8]; 6] = [b"", b"1", b"2", b"3", b"4", b"5"];
        for (entry, delay) in entries.iter().zip(&delays).filter(|(entry, _)| !plain(entry)) {
            let (key, print) = entry.key.as_ref().map_or(("", ""), |(key, print)| (key, print));
            args.extend([priorities[usize::from(entry.priority)], delay.as_bytes()]);
            args.extend([&entry.packed, key.as_bytes(), print.as_bytes(), self.key_ttl.as_bytes()]);
        }
        let head = [self.keep.as_bytes()].into_iter().chain(counts.iter().map(String::as_bytes));
        let args: Vec<&[u8]> = head.chain(args).collect();
        let mut special = self
            .run(&script::SUBMIT, lane, &args)
            .await
            .and_then(|answer| reply::array(answer).map_err(|strange| self.strange(strange)))?
            .into_iter();
        let answers = entries.iter().map(|entry| {
            if plain(&entry) {
                return Ok(Accepted::New);
            }
            let answer = special.next().ok_or_else(|| self.broken("too few answers".to_owned()))?;
            let text = reply::text(answer).map_err(|strange| self.strange(strange))?;
            let Some((print, id)) = text.split_once(' ') else {
                return Ok(Accepted::New);
            };
            let id: JobId = id.parse()?;
            let same = entry.key.as_ref().is_some_and(|(_, mine)| mine == print);
            Ok(if same { Accepted::Same(id) } else { Accepted::Conflict(id) })
        });
        answers.collect()
    }

    async fn claim(&self, lane: &Lane, claimer: &Claimer) -> Result<Claim, Error> {
        let nonce = format!("{:032x}", rand::random::<u128>());
        let max = claimer.max.to_string();
        let reverse: &[u8] = if claimer.reverse { b"1" } else { b"0" };
        let worker = claimer.worker.as_bytes();
        let args = [self.keep.as_bytes(), max.as_bytes(), nonce.as_bytes(), worker, reverse];
        let answer = self.run(&script::CLAIM, lane, &args).await?;
        claimed(answer, &nonce, &claimer.worker).map_err(|strange| self.strange(strange))
    }

    async fn ready(&self, lane: &Lane, mark: &Mark, wait: Duration) -> Result<(), Error> {
        events::wait(self, lane, mark, wait).await
    }

    async fn shift(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<Moved>, Error> {
        // Grouped as the script wants them, and the answers put back in order.
        let mut groups: [Vec<usize>; 5] = Default::default();
        let mut numbers = vec![(String::new(), String::new()); moves.len()];
        for (index, step) in moves.iter().enumerate() {
            let group = match &step.to {
                To::End { status: Status::Succeeded, .. } => 0,
                To::End { .. } => 1,
                To::Bury { .. } => 2,
                To::Queue { priority, .. } => {
                    numbers[index].0 = priority.to_string();
                    3
                }
                To::Later { priority, delay, .. } => {
                    numbers[index] = (priority.to_string(), clock::millis(*delay).to_string());
                    4
                }
            };
            groups[group].push(index);
        }
        let counts = groups.each_ref().map(|group| group.len().to_string());
        let mut args = vec![self.keep.as_bytes()];
        args.extend(counts.iter().map(String::as_bytes));
        for index in groups.iter().flatten() {
            let (step, (priority, delay)) = (&moves[*index], &numbers[*index]);
            args.extend([step.id.as_str().as_bytes(), &step.from]);
            match &step.to {
                To::End { record, .. } => args.push(record),
                To::Bury { packed } => args.push(packed),
                To::Queue { packed, .. } => args.extend([packed.as_ref(), priority.as_bytes()]),
                To::Later { packed, .. } => {
                    args.extend([packed.as_ref(), priority.as_bytes(), delay.as_bytes()]);
                }
            }
        }
        let answer = self.run(&script::SHIFT, lane, &args).await?;
        let digits = self.digits(answer, moves.len())?;
        let mut moved = vec![Moved::Stale; moves.len()];
        for (index, digit) in groups.iter().flatten().zip(digits) {
            moved[*index] = match digit {
                b'1' => Moved::Done,
                b'2' => Moved::Cancelling,
                _ => Moved::Stale,
            };
        }
        Ok(moved)
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
        events::note(self, &lease.id, &lease.token, b"p", progress).await
    }

    async fn call_off(&self, id: &JobId, token: &Bytes) -> Result<bool, Error> {
        events::note(self, id, token, b"x", "1").await
    }

    async fn find(&self, id: &JobId) -> Result<Option<Found>, Error> {
        let answer = self.run(&script::FIND, &id.lane(), &[id.as_str().as_bytes()]).await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        reply::found(answer).map(Some).map_err(|strange| self.strange(strange))
    }

    async fn expired(&self, lane: &Lane, lease: Duration) -> Result<Vec<Found>, Error> {
        let age = clock::millis(lease).to_string();
        let answer = self.run(&script::EXPIRED, lane, &[age.as_bytes()]).await?;
        self.founds(reply::array(answer).map_err(|strange| self.strange(strange))?)
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        let ages = [ended, dead].map(|age| clock::millis(age).to_string());
        let args = [ages[0].as_bytes(), ages[1].as_bytes()];
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
        let answer =
            self.run(&script::LIST, lane, &[kind, after.as_bytes(), max.as_bytes()]).await?;
        let split = |answer| {
            let [next, jobs] = reply::row(answer)?;
            Ok((reply::text(next)?, reply::array(jobs)?))
        };
        let (next, jobs) = split(answer).map_err(|strange| self.strange(strange))?;
        Ok((self.founds(jobs)?, (!next.is_empty()).then_some(next)))
    }

    async fn counts(&self, lane: &Lane) -> Result<Counts, Error> {
        let answer = self.run(&script::COUNTS, lane, &[]).await?;
        let read = |answer| {
            let row: [Value; 9] = reply::row(answer)?;
            let mut texts = Vec::with_capacity(9);
            for value in row {
                texts.push(reply::text(value)?);
            }
            let number = |index: usize| texts[index].parse().ok();
            let counts = || {
                Some(Counts {
                    now: number(0)?,
                    queued: number(1)?,
                    running: number(2)?,
                    scheduled: number(3)?,
                    failed: number(4)?,
                    dead: number(5)?,
                    succeeded: number(6)?,
                    cancelled: number(7)?,
                    oldest_queued_at: number(8),
                })
            };
            counts().ok_or(Strange("counts that are no numbers"))
        };
        read(answer).map_err(|strange| self.strange(strange))
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<Vec<Event>, Error> {
        events::read(self, lane, after, max).await
    }

    async fn eventful(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        events::wait_for_event(self, lane, after, wait).await
    }

    fn cursor_at(&self, at: u64) -> String {
        format!("{at}-0.0")
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(format!("{}:lanes", self.prefix));
        let answer = self.link.send(&command).await.map_err(|failure| self.error(failure))?;
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
        let answer = self.link.send(&command).await.map_err(|failure| self.error(failure))?;
        let read = |answer| {
            let mut flat = reply::array(answer)?.into_iter();
            let mut timers = Vec::new();
            while let (Some(name), Some(timer)) = (flat.next(), flat.next()) {
                timers.push((reply::text(name)?, reply::bytes(timer)?));
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

fn claimed(answer: Value, nonce: &str, worker: &str) -> Result<Claim, Strange> {
    let mut parts = reply::array(answer)?.into_iter();
    let now = reply::number(parts.next().ok_or(Strange("an empty answer"))?)?;
    let mut claim = Claim { jobs: Vec::new(), now, mark: Mark::default() };
    for part in parts {
        let mut part = reply::array(part)?.into_iter();
        let mut next = || part.next().ok_or(Strange("half an answer"));
        let priority = reply::number(next()?)?;
        let entries = reply::array(next()?)?;
        if priority == 0 {
            let positions = entries.into_iter().map(reply::text);
            claim.mark.positions = positions.collect::<Result<_, _>>()?;
            claim.mark.due_in = reply::until(&reply::text(next()?)?, now);
            break;
        }
        for entry in entries {
            let [entry, fields] = reply::row(entry)?;
            let [_, packed] = reply::row(fields)?;
            let (entry, packed) = (reply::text(entry)?, reply::bytes(packed)?);
            let end = packed.iter().position(|byte| *byte == b'\n');
            let id = end.and_then(|end| std::str::from_utf8(&packed[..end]).ok());
            let id = id.and_then(|id| id.parse().ok()).ok_or(Strange("a job without an id"))?;
            // The state that the script wrote, built again here to save it from sending it.
            let token = format!("r{priority}:{entry}:{nonce}:{now}:{worker}");
            claim.jobs.push((Lease { id, token: token.into() }, packed));
        }
    }
    Ok(claim)
}
