//! Who takes jobs of which queue, in a hash of the whole store.

use std::time::Duration;

use redis::Value;

use super::{
    Redis,
    connections::CommandError,
    reply,
    script::{self, Script},
};
use crate::Error;

/// Notes that a worker takes jobs of a queue.
pub(super) async fn heartbeat(redis: &Redis, queue: &str) -> Result<(), Error> {
    ask(redis, &script::HEARTBEAT, &[queue.as_bytes()]).await?;
    Ok(())
}

/// How long ago a worker noted that, by queue.
pub(super) async fn heartbeats(redis: &Redis) -> Result<Vec<(String, Duration)>, Error> {
    let answer = ask(redis, &script::HEARTBEATS, &[]).await?;
    let read = |answer| {
        let mut flat = reply::array(answer)?.into_iter();
        let mut queues = Vec::new();
        while let (Some(queue), Some(age)) = (flat.next(), flat.next()) {
            // A name that is no text is no queue's.
            if let Ok(queue) = reply::text(queue) {
                queues.push((queue, Duration::from_millis(reply::number(age)?)));
            }
        }
        Ok(queues)
    };
    read(answer).map_err(|bad_reply| redis.bad_reply(bad_reply))
}

async fn ask(redis: &Redis, script: &Script, args: &[&[u8]]) -> Result<Value, Error> {
    let key = format!("{}:served", redis.prefix);
    let run = || redis.connections.run(script, &key, args.iter().copied());
    let answer = match run().await {
        Err(CommandError::WrongType) => {
            redis.quarantine(&key, "hash").await?;
            run().await
        }
        answer => answer,
    };
    answer.map_err(|failure| redis.error(failure))
}
