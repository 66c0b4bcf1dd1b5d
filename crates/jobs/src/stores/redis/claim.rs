//! Leasing jobs.

use redis::Value;

use super::{
    Redis,
    reply::{self, Strange},
    script,
};
use crate::{
    Error, Lane,
    store::{Claim, Claimer, Lease, Mark},
};

/// Leases jobs under a new nonce.
pub(super) async fn claim(redis: &Redis, lane: &Lane, claimer: &Claimer) -> Result<Claim, Error> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let max = claimer.max.to_string();
    let reverse: &[u8] = if claimer.reverse { b"1" } else { b"0" };
    let worker = claimer.worker.as_bytes();
    let args = [
        redis.keep.as_bytes(),
        max.as_bytes(),
        nonce.as_bytes(),
        worker,
        reverse,
    ];
    let answer = redis.run(&script::CLAIM, lane, &args).await?;
    claimed(answer, &nonce, &claimer.worker).map_err(|strange| redis.strange(strange))
}

fn claimed(answer: Value, nonce: &str, worker: &str) -> Result<Claim, Strange> {
    let mut parts = reply::array(answer)?.into_iter();
    let now = reply::number(parts.next().ok_or(Strange("an empty answer"))?)?;
    let mut claim = Claim {
        jobs: Vec::new(),
        now,
        mark: Mark::default(),
    };
    for part in parts {
        let mut part = reply::array(part)?.into_iter();
        let mut next = || part.next().ok_or(Strange("half an answer"));
        let priority = reply::number(next()?)?;
        let entries = reply::array(next()?)?;
        if priority == 0 {
            let positions = entries.into_iter().map(reply::text);
            claim.mark.positions = positions.collect::<Result<_, _>>()?;
            claim.mark.due_in = reply::until(&reply::text(next()?)?, now);
            break;
        }
        for entry in entries {
            let [entry, fields] = reply::row(entry)?;
            let [_, packed] = reply::row(fields)?;
            let (entry, packed) = (reply::text(entry)?, reply::bytes(packed)?);
            let end = packed.iter().position(|byte| *byte == b'\n');
            let id = end.and_then(|end| std::str::from_utf8(&packed[..end]).ok());
            let id = id
                .and_then(|id| id.parse().ok())
                .ok_or(Strange("a job without an id"))?;
            // The state that the script wrote, built again here to save it from sending it.
            let token = format!("r{priority}:{entry}:{nonce}:{now}:{worker}");
            claim.jobs.push((
                Lease {
                    id,
                    token: token.into(),
                },
                packed,
            ));
        }
    }
    Ok(claim)
}
