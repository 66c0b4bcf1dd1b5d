//! Single values beside the jobs, which expire: for programs that share a little between their replicas.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{Redis, reply::BadReply};
use crate::{Error, StoreOptions, clock};

/// Of two that replace one value at once, one does.
const REPLACE: &str = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end \
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1";

/// Values in the Redis that keeps the jobs, under its prefix.
#[derive(Debug)]
pub struct RedisValues {
    redis: Redis,
}

impl RedisValues {
    /// Values in the Redis at a URL; see [`Redis::new`].
    ///
    /// # Errors
    /// As [`Redis::new`].
    pub fn new(url: &str, settings: &StoreOptions) -> Result<Self, Error> {
        let redis = Redis::new(url, settings)?;
        Ok(Self { redis })
    }

    /// The value of a key.
    ///
    /// # Errors
    /// While Redis is away.
    pub async fn get(&self, key: &str) -> Result<Option<Bytes>, Error> {
        let read = |answer| match answer {
            Value::Nil => Ok(None),
            Value::BulkString(bytes) => Ok(Some(bytes.into())),
            _ => Err(BadReply("no text for a value")),
        };
        self.send(redis::cmd("GET").arg(self.key(key)), read).await
    }

    /// Sets a key for a time.
    ///
    /// # Errors
    /// While Redis is away.
    pub async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), Error> {
        let ttl = clock::millis(ttl).max(1);
        let mut command = redis::cmd("SET");
        command.arg(self.key(key)).arg(value).arg("PX").arg(ttl);
        self.send(&command, |_| Ok(())).await
    }

    /// Sets a key for a time where it still has the value that is expected. `false` where it has another, or
    /// none.
    ///
    /// # Errors
    /// While Redis is away.
    pub async fn replace(
        &self,
        key: &str,
        expected: &[u8],
        value: &[u8],
        ttl: Duration,
    ) -> Result<bool, Error> {
        let ttl = clock::millis(ttl).max(1);
        let mut command = redis::cmd("EVAL");
        command.arg(REPLACE).arg(1).arg(self.key(key));
        command.arg(expected).arg(value).arg(ttl);
        let read = |answer| match answer {
            Value::Int(replaced) => Ok(replaced == 1),
            _ => Err(BadReply("no number for a value that is replaced")),
        };
        self.send(&command, read).await
    }

    /// Keeps a key for a time from now on. One that is not there stays away.
    ///
    /// # Errors
    /// While Redis is away.
    pub async fn touch(&self, key: &str, ttl: Duration) -> Result<(), Error> {
        let ttl = clock::millis(ttl).max(1);
        let mut command = redis::cmd("PEXPIRE");
        command.arg(self.key(key)).arg(ttl);
        self.send(&command, |_| Ok(())).await
    }

    /// Removes a key.
    ///
    /// # Errors
    /// While Redis is away.
    pub async fn remove(&self, key: &str) -> Result<(), Error> {
        self.send(redis::cmd("DEL").arg(self.key(key)), |_| Ok(()))
            .await
    }

    fn key(&self, key: &str) -> String {
        format!("{}:{key}", self.redis.prefix)
    }

    async fn send<T>(
        &self,
        command: &redis::Cmd,
        read: impl FnOnce(Value) -> Result<T, BadReply> + Send,
    ) -> Result<T, Error> {
        let answer = self.redis.connections.send(command).await;
        self.redis.answer(answer, read)
    }
}
