//! Jobs in Redis 7 or later: a stream and a consumer group per priority, one script per step.
//!
//! A queued job is an entry of a stream; a running one is pending in the stream's group, and the
//! time since its last delivery is the age of its lease. A hash says which state each job is in;
//! its value is the token that every move is fenced by. `redis/lua/prelude.lua` lists the keys.

mod access;
mod check;
mod claim;
mod client;
mod completions;
mod connections;
mod dial;
mod events;
mod heartbeat;
mod probe;
mod refusal;
mod reply;
mod script;
mod sentinel;
mod server_info;
mod tail_watchers;
mod values;
mod write;

use std::time::Duration;

use bytes::Bytes;

use crate::{
    Error, JobId, JobStatus, Lane, clock,
    store::{
        Claim, ClaimRequest, CompletionSource, EventBatch, JobCounts, JobPage, Lease, Move,
        MoveOutcome, ProgressNote, Renewal, Store, StoreHealth, StoredCompletion, StoredJob,
        Submission, SubmitOutcome, WaitPosition,
    },
};
pub use access::Redis;
pub use probe::{RedisProbe, probe};
pub use values::RedisValues;

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
        self.answer(answer, |answer| {
            let [seconds, micros] = reply::row(answer)?;
            Ok(reply::number(seconds)? * 1_000 + reply::number(micros)? / 1_000)
        })
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
        events::wait_for_job(self, lane, mark, wait).await
    }

    async fn transition(&self, lane: &Lane, moves: &[Move]) -> Result<Vec<MoveOutcome>, Error> {
        write::transition(self, lane, moves).await
    }

    async fn renew(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<Renewal>, Error> {
        let args = write::pairs(leases);
        let count = leases.len();
        let read = |answer| reply::digits(answer, count);
        let digits = self.run(&script::RENEW, lane, &args, read).await?;
        let renewed = digits.iter().map(|digit| match digit {
            b'1' => Renewal::Held,
            b'2' => Renewal::Cancelling,
            _ => Renewal::Stale,
        });
        Ok(renewed.collect())
    }

    async fn progress(&self, lease: &Lease, progress: &str) -> Result<bool, Error> {
        events::note(self, &lease.id, &lease.token, progress).await
    }

    async fn request_cancels(&self, lane: &Lane, leases: &[Lease]) -> Result<Vec<bool>, Error> {
        let args = write::pairs(leases);
        let read = |answer| reply::digits(answer, leases.len());
        let digits = self.run(&script::CANCEL, lane, &args, read).await?;
        Ok(digits.iter().map(|digit| *digit == b'1').collect())
    }

    async fn cancel_requests(&self, lane: &Lane) -> Result<Vec<JobId>, Error> {
        let ids = self
            .run(&script::CANCEL_REQUESTS, lane, &[], reply::array)
            .await?;
        let ids = ids.into_iter();
        Ok(ids
            .filter_map(|id| reply::text(id).ok()?.parse().ok())
            .collect())
    }

    async fn find(&self, id: &JobId) -> Result<Option<StoredJob>, Error> {
        let args = [id.as_str().as_bytes()];
        let read = |answer| reply::optional(answer, reply::found);
        self.run(&script::FIND, &id.lane(), &args, read).await
    }

    async fn find_many(&self, lane: &Lane, ids: &[JobId]) -> Result<Vec<Option<StoredJob>>, Error> {
        let args: Vec<&[u8]> = ids.iter().map(|id| id.as_str().as_bytes()).collect();
        let read = |answer| reply::each(answer, ids.len(), reply::found);
        self.run(&script::FIND_MANY, lane, &args, read).await
    }

    async fn find_with_notes(
        &self,
        id: &JobId,
    ) -> Result<Option<(StoredJob, Vec<ProgressNote>)>, Error> {
        let args = [id.as_str().as_bytes()];
        let read = |answer| {
            let [found, notes] = reply::row(answer)?;
            Ok((reply::found(found)?, reply::notes(notes)?))
        };
        let read = |answer| reply::optional(answer, read);
        let lane = id.lane();
        self.run(&script::FIND_WITH_NOTES, &lane, &args, read).await
    }

    async fn expired_leases(&self, lane: &Lane, lease: Duration) -> Result<Vec<StoredJob>, Error> {
        let age = clock::millis(lease).to_string();
        let read = |answer| reply::readable(answer, reply::found);
        let args = [age.as_bytes()];
        self.run(&script::EXPIRED_LEASES, lane, &args, read).await
    }

    async fn sweep(&self, lane: &Lane, ended: Duration, dead: Duration) -> Result<usize, Error> {
        let ages = [ended, dead].map(|age| clock::millis(age).to_string());
        let args = [
            ages[0].as_bytes(),
            ages[1].as_bytes(),
            self.key_ttl.as_bytes(),
        ];
        let count = self.run(&script::SWEEP, lane, &args, reply::number).await?;
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
        let args = [kind, after.as_bytes(), max.as_bytes()];
        let read = |answer| {
            let [next, jobs] = reply::row(answer)?;
            let jobs = reply::readable(jobs, reply::listed)?;
            let next = Some(reply::text(next)?).filter(|next| !next.is_empty());
            Ok(JobPage { jobs, next })
        };
        self.run(&script::LIST, lane, &args, read).await
    }

    async fn counts(&self, lane: &Lane) -> Result<JobCounts, Error> {
        self.run(&script::COUNTS, lane, &[], reply::counts).await
    }

    async fn events(&self, lane: &Lane, after: &str, max: usize) -> Result<EventBatch, Error> {
        events::read(self, lane, after, max).await
    }

    async fn last_event(&self, lane: &Lane) -> Result<String, Error> {
        let tail = events::tail(self, lane).await?;
        Ok(format!("{tail}.0"))
    }

    async fn wait_for_event(&self, lane: &Lane, after: &str, wait: Duration) -> Result<(), Error> {
        events::wait_for_event(self, lane, after, wait).await
    }

    async fn completions(
        &self,
        sources: &[CompletionSource],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<StoredCompletion>, Error> {
        completions::read(self, sources, max, wait).await
    }

    async fn acknowledge(
        &self,
        lane: &Lane,
        entries: &[(String, Vec<String>)],
    ) -> Result<(), Error> {
        completions::acknowledge(self, lane, entries).await
    }

    async fn lanes(&self) -> Result<Vec<Lane>, Error> {
        let key = format!("{}:lanes", self.prefix);
        let mut command = redis::cmd("SMEMBERS");
        command.arg(&key);
        let send = || self.connections.send(&command);
        let names = self.ask(&key, "set", send, reply::array).await?;
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
        let key = self.timers_key();
        let mut command = redis::cmd("HGETALL");
        command.arg(&key);
        let send = || self.connections.send(&command);
        let read = |answer| {
            let mut timers = Vec::new();
            for (name, timer) in reply::pairs(answer)? {
                // The field without a name is the mark of the set.
                if !name.is_empty() {
                    timers.push((name, reply::bytes(timer)?));
                }
            }
            timers.sort();
            Ok(timers)
        };
        self.ask(&key, "hash", send, read).await
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
        let swapped = self.connections.run(&script::SWAP_TIMER, &key, args);
        self.answer(swapped.await, |answer| Ok(reply::number(answer)? == 1))
    }
}
