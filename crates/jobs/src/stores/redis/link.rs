//! The way to a Redis or a Redis Cluster: one connection that all calls share, and others that
//! may block.
//!
//! Nothing is sent twice: a call whose connection breaks is [`Error::Unavailable`], and the next
//! one connects again. While Redis is away, calls fail at once instead of queueing up.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use super::{
    dial::{Connection, Server},
    script::Script,
};
use crate::Error;

/// How long an answer may take: a Redis that syncs every write to a busy disk is slow, not away.
const ANSWER: Duration = Duration::from_secs(5);
/// How long after a failed attempt to connect the next one is made.
const PAUSE: Duration = Duration::from_millis(100);
/// How many idle blocking connections are kept.
const SPARE: usize = 16;

#[derive(Debug)]
pub(super) struct Link {
    server: Server,
    name: String,
    shared: Mutex<Shared>,
    /// Held while connecting, so that one call does it for all.
    dialing: tokio::sync::Mutex<()>,
    /// A blocked command stalls its connection, so that waiting takes one that nobody else uses.
    spare: Mutex<Vec<Connection>>,
}

#[derive(Debug, Default)]
struct Shared {
    connection: Option<Connection>,
    /// Tells connections apart, so that a late failure does not throw away a newer one.
    number: u64,
    refused: Option<(Instant, String)>,
}

impl Link {
    pub(super) fn new(url: &str) -> Result<Self, Error> {
        let server =
            Server::new(url).map_err(|error| Error::invalid("redis", error.to_string()))?;
        Ok(Self {
            name: format!("redis at {}", server.address()),
            server,
            shared: Mutex::default(),
            dialing: tokio::sync::Mutex::default(),
            spare: Mutex::default(),
        })
    }

    /// The address, without user and password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Runs a script whose keys are made from `key`; a Redis that forgot it is told it again.
    pub(super) async fn run<'a>(
        &self,
        script: &Script,
        key: &str,
        args: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Value, Failure> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(&script.hash).arg(1).arg(key);
        for arg in args {
            command.arg(arg);
        }
        match self.send(&command).await {
            Err(Failure::NoScript) => {
                // A cluster's client tells all its nodes.
                self.send(redis::cmd("SCRIPT").arg("LOAD").arg(script.text))
                    .await?;
                self.send(&command).await
            }
            answer => answer,
        }
    }

    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let (mut connection, number) = self.connection().await?;
        let answer = connection.send(command).await;
        let answer = answer.and_then(Value::extract_error);
        answer.map_err(|error| {
            if error.is_io_error() || error.is_unrecoverable_error() {
                let mut shared = self.shared.lock();
                if shared.number == number {
                    shared.connection = None;
                }
            }
            self.failure(&error)
        })
    }

    /// Sends a command that blocks for at most `wait`, on a connection of its own. Dropping the
    /// future closes that connection, which ends the command.
    pub(super) async fn block(&self, command: &Cmd, wait: Duration) -> Result<Value, Failure> {
        let spare = self.spare.lock().pop();
        let mut connection = match spare {
            Some(connection) => connection,
            None => self.dial(None).await?,
        };
        let answer = tokio::time::timeout(wait + ANSWER, connection.send(command));
        let answer = answer
            .await
            .map_err(|_| Failure::Error(self.unavailable("no answer")))?;
        let answer = answer.and_then(Value::extract_error);
        let mut spare = self.spare.lock();
        let answer = answer.map_err(|error| {
            // The others were idle when whatever broke this one happened to them too.
            spare.clear();
            self.failure(&error)
        })?;
        if spare.len() < SPARE {
            spare.push(connection);
        }
        Ok(answer)
    }

    async fn connection(&self) -> Result<(Connection, u64), Failure> {
        if let Some(ready) = self.ready()? {
            return Ok(ready);
        }
        let _dialing = self.dialing.lock().await;
        if let Some(ready) = self.ready()? {
            return Ok(ready);
        }
        let dialed = self.dial(Some(ANSWER)).await;
        let mut shared = self.shared.lock();
        match dialed {
            Ok(connection) => {
                shared.connection = Some(connection.clone());
                shared.number += 1;
                shared.refused = None;
                Ok((connection, shared.number))
            }
            Err(failure) => {
                shared.refused = Some((Instant::now(), failure.to_string()));
                Err(failure)
            }
        }
    }

    fn ready(&self) -> Result<Option<(Connection, u64)>, Failure> {
        let shared = self.shared.lock();
        match (&shared.connection, &shared.refused) {
            (Some(connection), _) => Ok(Some((connection.clone(), shared.number))),
            (None, Some((at, reason))) if at.elapsed() < PAUSE => {
                Err(Failure::Error(self.unavailable(reason)))
            }
            (None, _) => Ok(None),
        }
    }

    async fn dial(&self, answer: Option<Duration>) -> Result<Connection, Failure> {
        let dialed = self.server.dial(answer).await;
        dialed.map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &RedisError) -> Failure {
        use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, NoScript, ReadOnly, TryAgain};
        if error.kind() == ErrorKind::Server(NoScript) {
            return Failure::NoScript;
        }
        if error.code() == Some("NOGROUP") {
            return Failure::NoGroup;
        }
        let passing = [BusyLoading, ClusterDown, MasterDown, ReadOnly, TryAgain];
        let passes = match error.kind() {
            ErrorKind::Io => true,
            ErrorKind::Server(kind) => passing.contains(&kind),
            // A Redis that is busy, cannot save, or is full.
            _ => matches!(
                error.code(),
                Some("BUSY" | "MISCONF" | "OOM" | "NOREPLICAS")
            ),
        };
        if passes || error.is_unrecoverable_error() {
            Failure::Error(self.unavailable(&error.to_string()))
        } else {
            let (store, reason) = (self.name.clone(), error.to_string());
            Failure::Error(Error::Broken { store, reason })
        }
    }

    fn unavailable(&self, reason: &str) -> Error {
        let (store, reason) = (self.name.clone(), reason.to_owned());
        Error::Unavailable { store, reason }
    }
}

/// Why a command failed, with the two reasons that we can do something about.
#[derive(Debug)]
pub(super) enum Failure {
    /// The script is not known there (any more).
    NoScript,
    /// The lane's streams are not there (any more).
    NoGroup,
    Error(Error),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoScript => f.write_str("the script is unknown"),
            Self::NoGroup => f.write_str("the lane is unknown"),
            Self::Error(Error::Unavailable { reason, .. }) => f.write_str(reason),
            Self::Error(error) => error.fmt(f),
        }
    }
}
