//! How the Redis is: whether it can be read and written, and whether it is the one it was.

use super::{
    Redis,
    access::{FAILURE_TTL, LANES},
    reply, script,
};
use crate::{Error, Lane, store::StoreHealth};

/// Reads and writes, and says what is wrong with that or may become so.
pub(super) async fn check(redis: &Redis) -> Result<StoreHealth, Error> {
    redis.connections.follow().await;
    let mark = format!("{:016x}", rand::random::<u64>());
    let timers = redis.timers_key();
    let send = || {
        let args = [mark.as_bytes()];
        redis.connections.run(&script::TIMERS_MARK, &timers, args)
    };
    let mark = redis.ask(&timers, "hash", send, reply::text).await?;
    {
        let mut known = redis.known.lock();
        if known.mark != mark {
            known.lanes.clear();
            known.mark.clone_from(&mark);
        }
    }
    if redis.connections.is_many() {
        // Each lane may be on a server of its own.
        let lanes: Vec<Lane> = redis
            .known
            .lock()
            .lanes
            .iter()
            .take(LANES)
            .cloned()
            .collect();
        for lane in lanes {
            redis
                .run(&script::PROBE_WRITE, &lane, &[], |_| Ok(()))
                .await?;
        }
    }
    let server_info = redis.connections.server_info().await;
    let mut recent_failures = redis.recent_failures.lock();
    recent_failures.retain(|_, (at, _)| at.elapsed() < FAILURE_TTL);
    if let Some(((lane, name), (_, Error::Broken { reason, .. }))) = recent_failures.iter().next() {
        return Err(redis.broken(format!("{name} in {lane} fails: {reason}")));
    }
    Ok(StoreHealth {
        epoch: format!("{mark} {}", server_info.runs.join(" ")),
        warnings: server_info.warning().into_iter().collect(),
        usage: server_info.usage,
    })
}
