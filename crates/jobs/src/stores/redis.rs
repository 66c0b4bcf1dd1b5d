//! Jobs in Redis 7 or later: a stream and a consumer group per priority, one script per step.
//!
//! A queued job is an entry of a stream; a running one is pending in the stream's group, and the
//! time since its last delivery is the age of its lease. A hash says which state each job is in;
//! its value is the token that every move is fenced by. `redis/lua/prelude.lua` lists the keys.

mod check;
mod claim;
mod connections;
mod dial;
mod events;
mod heartbeat;
mod refusal;
mod reply;
mod script;
mod sentinel;
mod server_info;
mod tail_watchers;
mod write;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use redis::Value;

use crate::{
    Error, JobId, JobStatus, Lane, clock,
    store::{
        Claim, ClaimRequest, EventBatch, JobCounts, JobPage, Lease, Move, MoveOutcome,
        ProgressNote, Renewal, Store, StoreHealth, StoredJob, Submission, SubmitOutcome,
        WaitPosition,
    },
};
use connections::{CommandError, Connections};
use reply::BadReply;
use script::Script;
use tail_watchers::TailWatchers;

/// How long what failed counts as not working, unless it works again before.
const FAILURE_TTL: Duration = Duration::from_secs(15);
/// How many lanes are remembered at once as those where something failed, or are looked at.
const LANES: usize = 64;

/// By lane and script: when it failed, and how.
type RecentFailures = HashMap<(Lane, &'static str), (Instant, Error)>;

/// What this Redis was seen to have; of another one nothing is known.
#[derive(Debug, Default)]
struct KnownLanes {
    lanes: HashSet<Lane>,
    /// The connection that they were seen by.
    number: u64,
    /// The mark of the timers at that time.
    mark: String,
}

/// Jobs in a Redis.
#[derive(Debug)]
pub struct Redis {
    connections: Connections,
    prefix: String,
    /// Entries of a lane's events that are kept, about; one tells of up to 256 jobs.
    keep: String,
    /// How long an idempotency key is known, in ms.
    key_ttl: String,
    /// Lanes that are listed in Redis.
    known: Mutex<KnownLanes>,
    /// Who waits for events.
    tail_watchers: TailWatchers,
    /// What failed lately though Redis answers: by lane and script.
    recent_failures: Mutex<RecentFailures>,
}

impl Redis {
    /// Jobs in the Redis at a `redis://` or `redis+unix://` URL, in the one that the sentinels of a
    /// `redis+sentinel://host:port,host:port/name` URL name, or in the cluster that has the nodes of
    /// a `redis+cluster://host:port,host:port` URL; it need not be up yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL is none, or the file of authorities cannot be read.
    pub fn new(url: &str, settings: &super::StoreOptions) -> Result<Self, Error> {
        let tls = url.starts_with("rediss");
        let authority = settings.authority.as_ref().filter(|_| tls);
        let authority = authority.map(|path| {
            let read = std::fs::read(path).map(Arc::new);
            read.map_err(|error| {
                Error::invalid("redis_cacert", format!("read {}: {error}", path.display()))
            })
        });
        Ok(Self {
            connections: Connections::new(url, &settings.prefix, authority.transpose()?)?,
            prefix: settings.prefix.clone(),
            keep: settings.events.to_string(),
            key_ttl: clock::millis(settings.key_ttl).to_string(),
            known: Mutex::default(),
            tail_watchers: TailWatchers::default(),
            recent_failures: Mutex::default(),
        })
    }

    /// The lane's prefix; the braces make a cluster keep all its keys in one slot.
    fn key(&self, lane: &Lane) -> String {
        format!("{}:{{{lane}}}", self.prefix)
    }

    async fn run(&self, script: &Script, lane: &Lane, args: &[&[u8]]) -> Result<Value, Error> {
        let key = self.key(lane);
        let first = self
            .connections
            .run(script, &key, args.iter().copied())
            .await;
        let answer = match first {
            // A new lane, or a Redis that came back without it, or where another thing stands in
            // its place.
            Err(CommandError::NoGroup | CommandError::WrongType) => {
                self.repair(lane).await?;
                self.connections
                    .run(script, &key, args.iter().copied())
                    .await
            }
            answer => answer,
        };
        let answer = answer.map_err(|failure| self.error(failure));
        self.remember(lane, script, answer.as_ref().err());
        answer
    }

    /// Makes what a lane needs once more, after something of it was missing or another thing.
    async fn repair(&self, lane: &Lane) -> Result<(), Error> {
        self.known.lock().lanes.remove(lane);
        self.register_lane(lane).await
    }

    fn log_quarantined(&self, name: Value) {
        let name = reply::text(name).unwrap_or_default();
        let store = self.connections.name();
        tracing::error!(
            store,
            name,
            "a key of ours held something else: it was put aside"
        );
    }

    /// Puts aside what stands in the place of a key, unless it is of the right type.
    async fn quarantine(&self, key: &str, kind: &str) -> Result<(), Error> {
        let done = self
            .connections
            .run(&script::QUARANTINE, key, [kind.as_bytes()])
            .await;
        match done.map_err(|failure| self.error(failure))? {
            Value::Nil => {}
            name => self.log_quarantined(name),
        }
        Ok(())
    }

    /// Sends a command about a key that is no lane's; what is not of its type is put aside.
    async fn ask(&self, command: &redis::Cmd, key: &str, kind: &str) -> Result<Value, Error> {
        let answer = match self.connections.send(command).await {
            Err(CommandError::WrongType) => {
                self.quarantine(key, kind).await?;
                self.connections.send(command).await
            }
            answer => answer,
        };
        answer.map_err(|failure| self.error(failure))
    }

    /// Remembers what a lane's script came to, if that is what the script writes that fails: the
    /// questions of clients may fail for reasons of theirs.
    fn remember(&self, lane: &Lane, script: &Script, error: Option<&Error>) {
        let Some(name) = script.writes else { return };
        let mut recent_failures = self.recent_failures.lock();
        match error {
            Some(error @ Error::Broken { .. }) => {
                recent_failures.retain(|_, (at, _)| at.elapsed() < FAILURE_TTL);
                if recent_failures.len() < LANES {
                    let key = (lane.clone(), name);
                    recent_failures.insert(key, (Instant::now(), error.clone()));
                }
            }
            Some(_) => {}
            None if recent_failures.is_empty() => {}
            None => drop(recent_failures.remove(&(lane.clone(), name))),
        }
    }

    fn timers_key(&self) -> String {
        format!("{}:timers", self.prefix)
    }

    /// Lists the lane among those that have jobs, in a slot of its own, and makes what it needs: a
    /// Redis that is full later lets nobody make that.
    async fn register_lane(&self, lane: &Lane) -> Result<(), Error> {
        {
            // Whoever was connected to anew may be another, or have lost something.
            let (mut known, number) = (self.known.lock(), self.connections.number());
            if known.number != number {
                (known.number, known.lanes) = (number, HashSet::new());
            }
            if known.lanes.contains(lane) {
                return Ok(());
            }
        }
        let (mut command, key) = (redis::cmd("SADD"), format!("{}:lanes", self.prefix));
        command.arg(&key).arg(lane.to_string());
        self.ask(&command, &key, "set").await?;
        let made = self
            .connections
            .run(&script::SETUP, &self.key(lane), [])
            .await;
        let aside = made.map_err(|failure| self.error(failure))?;
        for name in reply::array(aside).map_err(|bad_reply| self.bad_reply(bad_reply))? {
            self.log_quarantined(name);
        }
        self.known.lock().lanes.insert(lane.clone());
        Ok(())
    }

    fn error(&self, failure: CommandError) -> Error {
        match failure {
            CommandError::Error(error) => error,
            other => self.broken(other.to_string()),
        }
    }

    fn bad_reply(&self, BadReply(what): BadReply) -> Error {
        self.broken(format!("it gave {what}"))
    }

    fn broken(&self, reason: String) -> Error {
        let store = self.name();
        Error::Broken { store, reason }
    }

    /// Those that can be read: one that cannot must not hide the others.
    fn founds(&self, values: Vec<Value>) -> Vec<StoredJob> {
        let read = values.into_iter().filter_map(|value| {
            let found = reply::found(value);
            found
                .inspect_err(|BadReply(what)| {
                    tracing::debug!(store = self.connections.name(), what, "a job was left out");
                })
                .ok()
        });
        read.collect()
    }

    /// An answer of one character an item.
    fn digits(&self, answer: Value, count: usize) -> Result<Bytes, Error> {
        let digits = reply::bytes(answer).map_err(|bad_reply| self.bad_reply(bad_reply))?;
        if digits.len() != count {
            return Err(self.broken(format!("{} answers to {count} questions", digits.len())));
        }
        Ok(digits)
    }
}

#[async_trait::async_trait]
impl Store for Redis {
    fn name(&self) -> String {
        self.connections.name().to_owned()
    }

    async fn now(&self, lane: &Lane) -> Result<u64, Error> {
        let answer = self
            .connections
            .run(&script::TIME, &self.key(lane), [])
            .await;
        let answer = answer.map_err(|failure| self.error(failure))?;
        let read = |answer| {
            let [seconds, micros] = reply::row(answer)?;
            Ok(reply::number(seconds)? * 1_000 + reply::number(micros)? / 1_000)
        };
        read(answer).map_err(|bad_reply| self.bad_reply(bad_reply))
    }

    async fn check(&self) -> Result<StoreHealth, Error> {
        check::check(self).await
    }

    async fn submit(
        &self,
        lane: &Lane,
        entries: &[Submission],
    ) -> Result<Vec<SubmitOutcome>, Error> {
        write::submit(self, lane, entries).await
    }

    async fn claim(&self, lane: &Lane, claim_request: &ClaimRequest) -> Result<Claim, Error> {
        claim::claim(self, lane, claim_request).await
    }

    async fn wait_for_job(
        &self,
        lane: &Lane,
        mark: &WaitPosition,
        wait: Duration,
    ) -> Result<(), Error> {
        events::wait(self, lane, mark, wait).await
    }

    async fn transition(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<MoveOutcome>, Error> {
        write::transition(self, lane, moves).await
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

    async fn request_cancel(&self, id: &JobId, token: &Bytes) -> Result<bool, Error> {
        events::note(self, id, token, None).await
    }

    async fn cancel_requests(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        let answer = self.run(&script::CANCEL_REQUESTS, lane, &[]).await?;
        let ids = reply::array(answer).map_err(|bad_reply| self.bad_reply(bad_reply))?;
        let ids = ids.into_iter();
        Ok(ids
            .filter_map(|id| reply::text(id).ok()?.parse().ok())
            .collect())
    }

    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, Error> {
        let answer = self
            .run(&script::FIND, &id.lane(), &[id.as_str().as_bytes()])
            .await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        reply::found(answer)
            .map(Some)
            .map_err(|bad_reply| self.bad_reply(bad_reply))
    }

    async fn find_with_notes(
        &self,
        id: &JobId,
    ) -> Result<Option<(StoredJob, Vec<ProgressNote>)>, Error> {
        let args = [id.as_str().as_bytes()];
        let answer = self
            .run(&script::FIND_WITH_NOTES, &id.lane(), &args)
            .await?;
        if answer == Value::Nil {
            return Ok(None);
        }
        let read = |answer| {
            let [found, notes] = reply::row(answer)?;
            Ok(Some((reply::found(found)?, reply::notes(notes)?)))
        };
        read(answer).map_err(|bad_reply| self.bad_reply(bad_reply))
    }

    async fn expired_leases(&self, lane: &Lane, lease: Duration) -> Result<Vec<StoredJob>, Error> {
        let age = clock::millis(lease).to_string();
        let answer = self
            .run(&script::EXPIRED_LEASES, lane, &[age.as_bytes()])
            .await?;
        let found = reply::array(answer).map_err(|bad_reply| self.bad_reply(bad_reply))?;
        Ok(self.founds(found))
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        let ages = [ended, dead].map(|age| clock::millis(age).to_string());
        let args = [
            ages[0].as_bytes(),
            ages[1].as_bytes(),
            self.key_ttl.as_bytes(),
        ];
        let answer = self.run(&script::SWEEP, lane, &args).await?;
        let count = reply::number(answer).map_err(|bad_reply| self.bad_reply(bad_reply))?;
        Ok(usize::try_from(count).unwrap_or(usize::MAX))
    }

    async fn list(
        &self,
        lane: &Lane,
        of: Option<JobStatus>,
        after: &str,
        max: usize,
    ) -> Result<JobPage, Error> {
        let kind: &[u8] = match of {
            None => b"A",
            Some(JobStatus::Queued) => b"q",
            Some(JobStatus::Running) => b"r",
            Some(JobStatus::Scheduled) => b"s",
            Some(JobStatus::Failed) => b"f",
            Some(JobStatus::Succeeded) => b"S",
            Some(JobStatus::Dead) => b"D",
            Some(JobStatus::Cancelled) => b"C",
        };
        if !after.is_empty() && !events::is_position(of, after) {
            return Err(Error::invalid("cursor", "is not one of a listing"));
        }
        let max = max.to_string();
        let answer = self
            .run(
                &script::LIST,
                lane,
                &[kind, after.as_bytes(), max.as_bytes()],
            )
            .await?;
        let read = |answer| {
            let [next, jobs] = reply::row(answer)?;
            // One that nobody can read must not hide the others.
            let jobs = reply::array(jobs)?.into_iter().map(reply::listed);
            let jobs = jobs.filter_map(Result::ok).collect();
            let next = Some(reply::text(next)?).filter(|next| !next.is_empty());
            Ok(JobPage { jobs, next })
        };
        read(answer).map_err(|bad_reply| self.bad_reply(bad_reply))
    }

    async fn counts(&self, lane: &Lane) -> Result<JobCounts, Error> {
        let answer = self.run(&script::COUNTS, lane, &[]).await?;
        reply::counts(answer).map_err(|bad_reply| self.bad_reply(bad_reply))
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventBatch, Error> {
        events::read(self, lane, after, max).await
    }

    async fn last_event(&self, lane: &Lane) -> Result<String, Error> {
        let tail = tail_watchers::tail(self, &format!("{}:ev", self.key(lane))).await?;
        Ok(format!("{tail}.0"))
    }

    async fn wait_for_event(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        tail_watchers::wait(self, lane, after, wait).await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        let (mut command, key) = (redis::cmd("SMEMBERS"), format!("{}:lanes", self.prefix));
        command.arg(&key);
        let answer = self.ask(&command, &key, "set").await?;
        let names = reply::array(answer).map_err(|bad_reply| self.bad_reply(bad_reply))?;
        // What is no lane's name has no jobs.
        let parsed = names.into_iter();
        let parsed = parsed.filter_map(|name| reply::text(name).ok()?.parse().ok());
        let mut lanes: Vec<Lane> = parsed.collect();
        lanes.sort();
        Ok(lanes)
    }

    async fn heartbeat(&self, queue: &str) -> Result<(), Error> {
        heartbeat::heartbeat(self, queue).await
    }

    async fn heartbeats(&self) -> Result<Vec<(String, Duration)>, Error> {
        heartbeat::heartbeats(self).await
    }

    async fn timers(&self) -> Result<Vec<(String, Bytes)>, Error> {
        let (mut command, key) = (redis::cmd("HGETALL"), self.timers_key());
        command.arg(&key);
        let answer = self.ask(&command, &key, "hash").await?;
        let read = |answer| {
            let mut flat = reply::array(answer)?.into_iter();
            let mut timers = Vec::new();
            while let (Some(name), Some(timer)) = (flat.next(), flat.next()) {
                // The field without a name is the mark of the set; one that is no text is nobody's.
                match reply::text(name) {
                    Ok(name) if !name.is_empty() => timers.push((name, reply::bytes(timer)?)),
                    _ => {}
                }
            }
            timers.sort();
            Ok(timers)
        };
        read(answer).map_err(|bad_reply| self.bad_reply(bad_reply))
    }

    async fn swap_timer(
        &self,
        name: &str,
        old: Option<&Bytes>,
        new: Option<&Bytes>,
    ) -> Result<bool, Error> {
        let flag = |value: Option<&Bytes>| -> &[u8] { if value.is_some() { b"1" } else { b"0" } };
        let key = self.timers_key();
        let empty = Bytes::new();
        let (was, is) = (old.unwrap_or(&empty), new.unwrap_or(&empty));
        let args: [&[u8]; 5] = [name.as_bytes(), flag(old), was, flag(new), is];
        let answer = self.connections.run(&script::SWAP_TIMER, &key, args).await;
        let answer = answer.map_err(|failure| self.error(failure))?;
        Ok(reply::number(answer).map_err(|bad_reply| self.bad_reply(bad_reply))? == 1)
    }
}
