//! Who takes jobs of which queue, in a hash of the whole store.

use std::time::Duration;

use redis::Value;

use super::{
    Redis,
    link::Failure,
    reply,
    script::{self, Script},
};
use crate::Error;

/// Notes that a worker takes jobs of a queue.
pub(super) async fn serve(redis: &Redis, queue: &str) -> Result<(), Error> {
    ask(redis, &script::SERVE, &[queue.as_bytes()]).await?;
    Ok(())
}

/// How long ago a worker noted that, by queue.
pub(super) async fn served(redis: &Redis) -> Result<Vec<(String, Duration)>, Error> {
    let answer = ask(redis, &script::SERVED, &[]).await?;
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
    read(answer).map_err(|strange| redis.strange(strange))
}

async fn ask(redis: &Redis, script: &Script, args: &[&[u8]]) -> Result<Value, Error> {
    let key = format!("{}:served", redis.prefix);
    let run = || redis.link.run(script, &key, args.iter().copied());
    let answer = match run().await {
        Err(Failure::WrongType) => {
            redis.make_way(&key, "hash").await?;
            run().await
        }
        answer => answer,
    };
    answer.map_err(|failure| redis.error(failure))
}
