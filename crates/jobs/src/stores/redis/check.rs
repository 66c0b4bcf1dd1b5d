//! How the Redis is: whether it can be read and written, and whether it is the one it was.

use super::{LANES, Redis, TROUBLE, link::Failure, reply, script};
use crate::{
    Error, Lane,
    store::{Store as _, Vitals},
};

/// Reads and writes, and says what is wrong with that or may become so.
pub(super) async fn check(redis: &Redis) -> Result<Vitals, Error> {
    redis.link.follow().await;
    let mark = format!("{:016x}", rand::random::<u64>());
    let timers = redis.timers_key();
    let pulse = || redis.link.run(&script::PULSE, &timers, [mark.as_bytes()]);
    let answer = match pulse().await {
        Err(Failure::WrongType) => {
            // Asking for them puts aside what stands in their place.
            redis.timers().await?;
            pulse().await
        }
        answer => answer,
    };
    let mark = answer.map_err(|failure| redis.error(failure))?;
    let mark = reply::text(mark).map_err(|strange| redis.strange(strange))?;
    {
        let mut known = redis.known.lock();
        if known.mark != mark {
            known.lanes.clear();
            known.mark.clone_from(&mark);
        }
    }
    if redis.link.is_many() {
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
            redis.run(&script::BEAT, &lane, &[]).await?;
        }
    }
    let facts = redis.link.facts().await;
    let mut troubles = redis.troubles.lock();
    troubles.retain(|_, (at, _)| at.elapsed() < TROUBLE);
    if let Some(((lane, name), (_, Error::Broken { reason, .. }))) = troubles.iter().next() {
        return Err(redis.broken(format!("{name} in {lane} fails: {reason}")));
    }
    Ok(Vitals {
        epoch: format!("{mark} {}", facts.runs.join(" ")),
        warnings: facts.warning().into_iter().collect(),
    })
}
