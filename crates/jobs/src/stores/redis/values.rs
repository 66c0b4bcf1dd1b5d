//! Single values beside the jobs, which expire: for programs that share a little between their replicas.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{Redis, reply::BadReply};
use crate::{Error, StoreOptions, clock};

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
