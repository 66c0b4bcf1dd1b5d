//! One Redis: its keys, and how scripts and commands reach them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use redis::Value;

use super::{
    connections::{CommandError, Connections},
    reply::{self, BadReply},
    script::{self, Script},
    tail_watchers::TailWatchers,
};
use crate::{Error, Lane, StoreOptions, clock};

/// How long what failed counts as not working, unless it works again before.
pub(super) const FAILURE_TTL: Duration = Duration::from_secs(15);
/// How many lanes are remembered as failing, and how many are checked, at once.
pub(super) const LANES: usize = 64;

/// By lane and script: when it failed, and how.
pub(super) type RecentFailures = HashMap<(Lane, &'static str), (Instant, Error)>;

/// What this Redis was seen to have; of another one nothing is known.
#[derive(Debug, Default)]
pub(super) struct KnownLanes {
    pub(super) lanes: HashSet<Lane>,
    /// The connection that they were seen by.
    number: u64,
    /// The mark of the timers at that time.
    pub(super) mark: String,
}

/// Jobs in a Redis.
#[derive(Debug)]
pub struct Redis {
    pub(super) connections: Connections,
    pub(super) prefix: String,
    /// Entries of a lane's events that are kept, about; one tells of up to 256 jobs.
    pub(super) keep: String,
    /// How long an idempotency key is known, in ms.
    pub(super) key_ttl: String,
    /// Lanes that are listed in Redis.
    pub(super) known: Mutex<KnownLanes>,
    /// Who waits for events.
    pub(super) tail_watchers: TailWatchers,
    /// What failed lately though Redis answers: by lane and script.
    pub(super) recent_failures: Mutex<RecentFailures>,
    /// When readers of completions last compared their cursors with what is there, by the first
    /// stream that they read.
    pub(super) compared: Mutex<HashMap<String, Instant>>,
}

impl Redis {
    /// Jobs in the Redis at a `redis://` or `redis+unix://` URL, in the one that the sentinels of a
    /// `redis+sentinel://host:port,host:port/name` URL name, or in the cluster that has the nodes
    /// of a `redis+cluster://host:port,host:port` URL; it need not be up yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL is none, or the file of authorities cannot be read.
    pub fn new(url: &str, settings: &StoreOptions) -> Result<Self, Error> {
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
            compared: Mutex::default(),
        })
    }

    /// The lane's prefix; the braces make a cluster keep all its keys in one slot.
    pub(super) fn key(&self, lane: &Lane) -> String {
        format!("{}:{{{lane}}}", self.prefix)
    }

    pub(super) fn timers_key(&self) -> String {
        format!("{}:timers", self.prefix)
    }

    /// Runs a lane's script, and reads its answer.
    pub(super) async fn run<T>(
        &self,
        script: &Script,
        lane: &Lane,
        args: &[&[u8]],
        read: impl FnOnce(Value) -> Result<T, BadReply> + Send,
    ) -> Result<T, Error> {
        self.run_with(script, lane, &[], args, read).await
    }

    /// The same for a script that uses further streams, by their suffixes.
    pub(super) async fn run_with<T>(
        &self,
        script: &Script,
        lane: &Lane,
        streams: &[String],
        args: &[&[u8]],
        read: impl FnOnce(Value) -> Result<T, BadReply> + Send,
    ) -> Result<T, Error> {
        let key = self.key(lane);
        let run = || self.connections.run(script, &key, args.iter().copied());
        let answer = match run().await {
            // A new lane, or a Redis that came back without it, or another thing in its place.
            Err(CommandError::NoGroup | CommandError::WrongType) => {
                self.repair_with(lane, streams).await?;
                run().await
            }
            answer => answer,
        };
        let answer = answer.map_err(|failure| self.error(failure));
        self.remember(lane, script, answer.as_ref().err());
        self.read(answer?, read)
    }

    /// Does something about a key that is no lane's, and reads the answer. A value of another type
    /// than `kind` is put aside first.
    pub(super) async fn ask<T, F: Future<Output = Result<Value, CommandError>> + Send>(
        &self,
        key: &str,
        kind: &str,
        send: impl Fn() -> F + Send + Sync,
        read: impl FnOnce(Value) -> Result<T, BadReply> + Send,
    ) -> Result<T, Error> {
        let mut answer = send().await;
        if matches!(answer, Err(CommandError::WrongType)) {
            let quarantine = self
                .connections
                .run(&script::QUARANTINE, key, [kind.as_bytes()]);
            match quarantine.await.map_err(|failure| self.error(failure))? {
                Value::Nil => {}
                name => self.log_quarantined(name),
            }
            answer = send().await;
        }
        self.answer(answer, read)
    }

    /// Reads what a command came to.
    pub(super) fn answer<T>(
        &self,
        answer: Result<Value, CommandError>,
        read: impl FnOnce(Value) -> Result<T, BadReply>,
    ) -> Result<T, Error> {
        let answer = answer.map_err(|failure| self.error(failure))?;
        self.read(answer, read)
    }

    pub(super) fn read<T>(
        &self,
        answer: Value,
        read: impl FnOnce(Value) -> Result<T, BadReply>,
    ) -> Result<T, Error> {
        read(answer).map_err(|BadReply(what)| self.broken(format!("it gave {what}")))
    }

    /// Makes what a lane needs once more, after something of it was missing or another thing.
    pub(super) async fn repair(&self, lane: &Lane) -> Result<(), Error> {
        self.repair_with(lane, &[]).await
    }

    /// The same for a lane with further streams, by their suffixes.
    pub(super) async fn repair_with(&self, lane: &Lane, streams: &[String]) -> Result<(), Error> {
        self.known.lock().lanes.remove(lane);
        self.make_lane(lane, streams).await
    }

    /// Lists the lane among those that have jobs, in a slot of its own, and makes what it needs: a
    /// Redis that is full later lets nobody make that.
    pub(super) async fn register_lane(&self, lane: &Lane) -> Result<(), Error> {
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
        self.make_lane(lane, &[]).await
    }

    async fn make_lane(&self, lane: &Lane, streams: &[String]) -> Result<(), Error> {
        let key = format!("{}:lanes", self.prefix);
        let mut command = redis::cmd("SADD");
        command.arg(&key).arg(lane.to_string());
        let send = || self.connections.send(&command);
        self.ask(&key, "set", send, |_| Ok(())).await?;
        let key = self.key(lane);
        let streams = streams.iter().map(String::as_bytes);
        let made = self.connections.run(&script::SETUP, &key, streams).await;
        for name in self.answer(made, reply::array)? {
            self.log_quarantined(name);
        }
        self.known.lock().lanes.insert(lane.clone());
        Ok(())
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

    pub(super) fn error(&self, failure: CommandError) -> Error {
        match failure {
            CommandError::Error(error) => error,
            other => self.broken(other.to_string()),
        }
    }

    pub(super) fn broken(&self, reason: String) -> Error {
        let store = self.connections.name().to_owned();
        Error::Broken { store, reason }
    }
}
