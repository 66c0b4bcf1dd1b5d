//! The store of a measurement: a part of a store that nothing else uses.

use redis::Value;

use crate::{Error, Jobs, QueueOptions, StoreOptions, open};

/// A corner of a store.
#[derive(Debug)]
pub struct BenchStore {
    pub(super) jobs: Jobs,
    address: String,
    prefix: String,
}

impl BenchStore {
    /// A new corner of the store at an address.
    ///
    /// # Errors
    /// As [`open`].
    pub fn new(address: &str) -> Result<Self, Error> {
        let prefix = format!("mesh:bench:{:08x}", rand::random::<u32>());
        let settings = StoreOptions {
            prefix: prefix.clone(),
            ..StoreOptions::default()
        };
        let jobs = Jobs::new(open(address, &settings)?, QueueOptions::default());
        Ok(Self {
            jobs,
            address: address.to_owned(),
            prefix,
        })
    }

    /// Bytes that the store uses, where it is one Redis: its `used_memory`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn memory(&self) -> Result<Option<u64>, Error> {
        let Some(answer) = self.ask(redis::cmd("INFO").arg("memory")).await? else {
            return Ok(None);
        };
        let text: String = redis::from_redis_value(answer).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("used_memory:"));
        Ok(line.and_then(|bytes| bytes.trim().parse().ok()))
    }

    /// Removes everything that was measured with from a Redis; in other stores it stays.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn clear(&self) -> Result<(), Error> {
        let mut cursor = "0".to_owned();
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(&cursor)
                .arg("MATCH")
                .arg(format!("{}:*", self.prefix));
            scan.arg("COUNT").arg(10_000);
            let Some(answer) = self.ask(&scan).await? else {
                return Ok(());
            };
            let (next, keys): (String, Vec<Vec<u8>>) =
                redis::from_redis_value(answer).map_err(|error| self.away(&error))?;
            if !keys.is_empty() {
                self.ask(redis::cmd("UNLINK").arg(keys)).await?;
            }
            if next == "0" {
                return Ok(());
            }
            cursor = next;
        }
    }

    /// Asks the Redis, if it is one.
    async fn ask(&self, command: &redis::Cmd) -> Result<Option<Value>, Error> {
        if !self.address.starts_with("redis://") {
            return Ok(None);
        }
        let client = redis::Client::open(self.address.as_str());
        let connect = client.map_err(|error| self.away(&error))?;
        let connected = connect.get_multiplexed_async_connection().await;
        let mut connection = connected.map_err(|error| self.away(&error))?;
        let answer = command.query_async(&mut connection).await;
        answer.map(Some).map_err(|error| self.away(&error))
    }

    fn away(&self, error: &(dyn std::error::Error + 'static)) -> Error {
        let (store, reason) = (self.jobs.store.name(), error.to_string());
        Error::Unavailable { store, reason }
    }
}
