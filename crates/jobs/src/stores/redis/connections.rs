//! The way to a Redis or a Redis Cluster: one connection that all calls share, and others that
//! may block.
//!
//! Nothing is sent twice: a call whose connection breaks is [`Error::Unavailable`], and the next
//! one connects again; so it is when the server says that it is not what it was, such as a primary
//! that has become a replica. While Redis is away, calls fail at once instead of queueing up.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};

use tokio::sync::watch;

use super::{
    client::Authority,
    dial::{Connection, Server},
    refusal,
    script::{self, Script},
    server_info::ServerInfo,
};
use crate::Error;

/// How long an answer may take: a Redis that syncs every write to a busy disk is slow, not away.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after a failed attempt to connect the next one is made, and how long a connection is
/// kept at least.
const RECONNECT_DELAY: Duration = Duration::from_millis(100);
/// How long sentinels may take to say whether the primary is still the one.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(300);
/// How many idle blocking connections are kept.
const MAX_IDLE: usize = 16;

#[derive(Debug)]
pub(super) struct Connections {
    server: Server,
    name: String,
    /// The keys on which the user's rights are tried.
    scratch: String,
    shared: Mutex<Shared>,
    /// Its number, for those who wait on connections of an earlier time.
    renewed: watch::Sender<u64>,
    /// Held while connecting, so that one call does it for all.
    dialing: tokio::sync::Mutex<()>,
    /// A blocked command stalls its connection, so that waiting needs one of its own.
    /// With each, the number of the shared connection at whose time it was made.
    spare: Mutex<Vec<(Connection, u64)>>,
}

#[derive(Debug, Default)]
struct Shared {
    connection: Option<Connection>,
    /// Tells connections apart, so that a late failure does not throw away a newer one.
    number: u64,
    /// When it was made.
    since: Option<Instant>,
    /// Where it leads, when sentinels said so.
    place: Option<String>,
    /// The server's facts.
    server_info: ServerInfo,
    refused: Option<(Instant, String)>,
}

impl Connections {
    /// A way to what a URL names, for keys that begin with a prefix.
    pub(super) fn new(url: &str, prefix: &str, authority: Authority) -> Result<Self, Error> {
        let server = Server::new(url, authority)
            .map_err(|error| Error::invalid("redis", error.to_string()))?;
        Ok(Self {
            name: format!("redis at {}", server.address()),
            server,
            scratch: format!("{prefix}:{{rights}}"),
            shared: Mutex::default(),
            renewed: watch::Sender::new(0),
            dialing: tokio::sync::Mutex::default(),
            spare: Mutex::default(),
        })
    }

    /// The address, without user and password.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether lanes may be on several servers.
    pub(super) const fn is_many(&self) -> bool {
        self.server.is_many()
    }

    /// Tells the time of one connection from that of the next.
    pub(super) fn number(&self) -> u64 {
        self.shared.lock().number
    }

    /// The server's facts, read anew; the last known ones if it does not answer.
    pub(super) async fn server_info(&self) -> ServerInfo {
        if let Ok(answer) = self.send(&redis::cmd("INFO")).await {
            self.shared.lock().server_info = ServerInfo::read(&answer);
        }
        self.shared.lock().server_info.clone()
    }

    /// Leaves the server when the sentinels name another one.
    pub(super) async fn follow(&self) {
        // Sentinels that do not answer at once are queried at the next connection.
        let asked = tokio::time::timeout(SENTINEL_TIMEOUT, self.server.place()).await;
        let Ok(Some(place)) = asked else {
            return;
        };
        let mut shared = self.shared.lock();
        if shared.place.as_ref().is_some_and(|known| *known != place) {
            tracing::warn!(store = self.name, %place, "the sentinels name another primary");
            shared.connection = None;
            shared.number += 1;
            self.renewed.send_replace(shared.number);
        }
    }

    /// Runs a script whose keys are made from `key`. It is loaded again into a Redis that forgot
    /// it.
    pub(super) async fn run<'a>(
        &self,
        script: &Script,
        key: &str,
        args: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Value, CommandError> {
        let command = evaluation(script, key, args);
        match self.send(&command).await {
            Err(CommandError::NoScript) => {
                // A cluster's client loads it into all nodes.
                self.send(redis::cmd("SCRIPT").arg("LOAD").arg(script.text))
                    .await?;
                self.send(&command).await
            }
            answer => answer,
        }
    }

    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, CommandError> {
        let (mut connection, number) = self.connection().await?;
        let answer = connection.send(command).await;
        answer.map_err(|error| {
            let broken = error.is_io_error() || error.is_unrecoverable_error();
            let renew = refusal::of(&error).is_some_and(|refusal| refusal.renew);
            if broken || renew {
                let mut shared = self.shared.lock();
                // A server that refuses each call is not connected to for each call.
                let young = shared
                    .since
                    .is_some_and(|since| since.elapsed() < RECONNECT_DELAY);
                if shared.number == number && (broken || !young) {
                    shared.connection = None;
                }
            }
            self.failure(&error)
        })
    }

    /// Sends a command that blocks for at most `wait`, on a connection of its own. Dropping the
    /// future closes that connection, which ends the command.
    pub(super) async fn block(&self, command: &Cmd, wait: Duration) -> Result<Value, CommandError> {
        let number = self.shared.lock().number;
        let spare = {
            let mut spare = self.spare.lock();
            // Those of an earlier time may lead to a server that is not the one any more.
            spare.retain(|(_, made)| *made == number);
            spare.pop()
        };
        let mut connection = match spare {
            Some((connection, _)) => connection,
            None => {
                let dialed = self.server.dial(None).await;
                dialed.map_err(|error| self.connect_error(&error))?.0
            }
        };
        let mut renewed = self.renewed.subscribe();
        let answer = tokio::select! {
            answer = tokio::time::timeout(wait + RESPONSE_TIMEOUT, connection.send(command)) => answer,
            // What this one leads to may be a server that is not the one any more, and says
            // nothing.
            _ = renewed.wait_for(|latest| *latest > number) => return Ok(Value::Nil),
        };
        let answer = answer.map_err(|_| CommandError::Error(self.unavailable("no answer")))?;
        let mut spare = self.spare.lock();
        let answer = answer.map_err(|error| {
            // The others were idle when whatever broke this one happened to them too.
            spare.clear();
            self.failure(&error)
        })?;
        if spare.len() < MAX_IDLE {
            spare.push((connection, number));
        }
        Ok(answer)
    }

    async fn connection(&self) -> Result<(Connection, u64), CommandError> {
        if let Some(ready) = self.ready()? {
            return Ok(ready);
        }
        let _dialing = self.dialing.lock().await;
        if let Some(ready) = self.ready()? {
            return Ok(ready);
        }
        let dialed = self.dial().await;
        let mut shared = self.shared.lock();
        match dialed {
            Ok((connection, place, server_info)) => {
                shared.connection = Some(connection.clone());
                shared.number += 1;
                self.renewed.send_replace(shared.number);
                (shared.since, shared.refused) = (Some(Instant::now()), None);
                (shared.place, shared.server_info) = (place, server_info);
                Ok((connection, shared.number))
            }
            Err(failure) => {
                shared.refused = Some((Instant::now(), failure.to_string()));
                Err(failure)
            }
        }
    }

    fn ready(&self) -> Result<Option<(Connection, u64)>, CommandError> {
        let shared = self.shared.lock();
        match (&shared.connection, &shared.refused) {
            (Some(connection), _) => Ok(Some((connection.clone(), shared.number))),
            (None, Some((at, reason))) if at.elapsed() < RECONNECT_DELAY => {
                Err(CommandError::Error(self.unavailable(reason)))
            }
            (None, _) => Ok(None),
        }
    }

    /// Connects, asks the server what it is, and tries what its user may do.
    async fn dial(&self) -> Result<(Connection, Option<String>, ServerInfo), CommandError> {
        let dialed = self.server.dial(Some(RESPONSE_TIMEOUT)).await;
        let (mut connection, place) = dialed.map_err(|error| self.connect_error(&error))?;
        let server_info = match connection.send(&redis::cmd("INFO")).await {
            Ok(answer) => ServerInfo::read(&answer),
            Err(error) if error.is_io_error() => return Err(self.failure(&error)),
            // The user may lack the right to INFO.
            Err(_) => ServerInfo::default(),
        };
        self.rights(&mut connection).await?;
        Ok((connection, place, server_info))
    }

    async fn rights(&self, connection: &mut Connection) -> Result<(), CommandError> {
        let command = evaluation(&script::RIGHTS, &self.scratch, []);
        let mut answer = connection.send(&command).await;
        if matches!(&answer, Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript))
        {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(script::RIGHTS.text);
            answer = match connection.send(&load).await {
                Ok(_) => connection.send(&command).await,
                refused => refused,
            };
        }
        match answer {
            // Other failures show up in the calls that follow.
            Err(error) if error.code() == Some("NOPERM") => Err(self.failure(&error)),
            _ => Ok(()),
        }
    }

    /// Whatever keeps us from connecting may be mended at the other end.
    fn connect_error(&self, error: &RedisError) -> CommandError {
        let mut reason = refusal::text(error);
        if reason.contains("certificate") {
            reason.push_str(" (is its authority named in redis_cacert?)");
        }
        CommandError::Error(self.unavailable(&reason))
    }

    fn failure(&self, error: &RedisError) -> CommandError {
        if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) {
            return CommandError::NoScript;
        }
        match error.code() {
            Some("NOGROUP") => return CommandError::NoGroup,
            Some("WRONGTYPE") => return CommandError::WrongType,
            _ => {}
        }
        let passes = error.is_io_error() || error.is_unrecoverable_error();
        let reason = refusal::text(error);
        let store = self.name.clone();
        if passes || refusal::of(error).is_some() || error.is_cluster_error() {
            CommandError::Error(Error::Unavailable { store, reason })
        } else {
            CommandError::Error(Error::Broken { store, reason })
        }
    }

    fn unavailable(&self, reason: &str) -> Error {
        let (store, reason) = (self.name.clone(), reason.to_owned());
        Error::Unavailable { store, reason }
    }
}

fn evaluation<'a>(script: &Script, key: &str, args: impl IntoIterator<Item = &'a [u8]>) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(&script.hash).arg(1).arg(key);
    for arg in args {
        command.arg(arg);
    }
    command
}

/// Why a command failed, with the reasons that we can do something about.
#[derive(Debug)]
pub(super) enum CommandError {
    /// The script is not known there (any more).
    NoScript,
    /// The lane's streams are not there (any more).
    NoGroup,
    /// A key of ours holds something else than it should.
    WrongType,
    Error(Error),
}

impl std::fmt::Display for CommandError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoScript => f.write_str("the script is unknown"),
            Self::NoGroup => f.write_str("the lane is unknown"),
            Self::WrongType => f.write_str(
                "WRONGTYPE: a key of ours holds something else, give jobs_prefix a name of its own",
            ),
            Self::Error(Error::Unavailable { reason, .. }) => f.write_str(reason),
            Self::Error(error) => error.fmt(f),
        }
    }
}
