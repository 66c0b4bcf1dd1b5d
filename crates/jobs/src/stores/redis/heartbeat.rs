//! Who takes jobs of which queue, in a hash of the whole store.

use std::time::Duration;

use redis::Value;

use super::{
    Redis,
    reply::{self, BadReply},
    script::{self, Script},
};
use crate::Error;

/// Notes that a worker takes jobs of a queue.
pub(super) async fn heartbeat(redis: &Redis, queue: &str) -> Result<(), Error> {
    let args = [queue.as_bytes()];
    ask(redis, &script::HEARTBEAT, &args, |_| Ok(())).await
}

/// How long ago a worker noted that, by queue.
pub(super) async fn heartbeats(redis: &Redis) -> Result<Vec<(String, Duration)>, Error> {
    let read = |answer| {
        let ages = reply::pairs(answer)?.into_iter();
        ages.map(|(queue, age)| Ok((queue, Duration::from_millis(reply::number(age)?))))
            .collect()
    };
    ask(redis, &script::HEARTBEATS, &[], read).await
}

async fn ask<T>(
    redis: &Redis,
    script: &Script,
    args: &[&[u8]],
    read: impl FnOnce(Value) -> Result<T, BadReply> + Send,
) -> Result<T, Error> {
    let key = format!("{}:served", redis.prefix);
    let run = || redis.connections.run(script, &key, args.iter().copied());
    redis.ask(&key, "hash", run, read).await
}
