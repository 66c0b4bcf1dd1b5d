//! Leasing jobs.

use redis::Value;

use super::{
    Redis,
    reply::{self, BadReply},
    script,
};
use crate::{
    Error, JobId, Lane,
    store::{Claim, ClaimRequest, Lease, WaitPosition},
};

/// The streams that a claimer waits for: five of jobs, and one of earlier due times.
const POSITIONS: usize = 6;

/// Leases jobs under a new nonce.
pub(super) async fn claim(
    redis: &Redis,
    lane: &Lane,
    claim_request: &ClaimRequest,
) -> Result<Claim, Error> {
    let nonce = format!("{:032x}", rand::random::<u128>());
    let max = claim_request.max.to_string();
    let reverse: &[u8] = if claim_request.reverse { b"1" } else { b"0" };
    let worker = claim_request.worker.as_bytes();
    let args = [
        redis.keep.as_bytes(),
        max.as_bytes(),
        nonce.as_bytes(),
        worker,
        reverse,
    ];
    let read = |answer| claimed(answer, lane, &nonce, &claim_request.worker);
    let (mut claim, lost, failed) = redis.run(&script::CLAIM, lane, &args, read).await?;
    if lost > 0 {
        tracing::error!(
            %lane, lost,
            "delayed jobs are lost, Redis has them no more: were keys evicted or deleted?"
        );
    }
    if !failed.is_empty() {
        // What that stream has is not known.
        claim.mark.positions.clear();
        // What was claimed is there; the next claim says it if this does not help.
        if let Err(error) = redis.repair(lane).await {
            tracing::debug!(%lane, failed, %error, "a stream cannot be read");
        }
    }
    Ok(claim)
}

/// The claim, how many delayed jobs turned out to be lost, and why a stream could not be read.
fn claimed(
    answer: Value,
    lane: &Lane,
    nonce: &str,
    worker: &str,
) -> Result<(Claim, u64, String), BadReply> {
    let mut parts = reply::array(answer)?.into_iter();
    let mut first = || parts.next().ok_or(BadReply("half an answer"));
    let (now, lost) = (reply::number(first()?)?, reply::number(first()?)?);
    let failed = reply::text(first()?)?;
    let mut claim = Claim {
        jobs: Vec::new(),
        now,
        mark: WaitPosition::default(),
    };
    for part in parts {
        let mut part = reply::array(part)?.into_iter();
        let mut next = || part.next().ok_or(BadReply("half an answer"));
        let priority = reply::number(next()?)?;
        let entries = reply::array(next()?)?;
        if priority == 0 {
            let positions = entries.into_iter().map(reply::text);
            claim.mark.positions = positions.collect::<Result<_, _>>()?;
            claim.mark.due_in = reply::until(&reply::text(next()?)?, now);
            break;
        }
        let place = usize::try_from(priority).unwrap_or_default();
        for entry in entries {
            let [entry, fields] = reply::row(entry)?;
            let (entry, fields) = (reply::text(entry)?, reply::array(fields)?);
            // Ours have one field, whose value is the job; what else is there is kept as it is.
            let packed = match <[Value; 2]>::try_from(fields) {
                Ok([_, packed]) => reply::bytes(packed)?,
                Err(fields) => {
                    let parts = fields.into_iter().map(reply::bytes);
                    parts.collect::<Result<Vec<_>, _>>()?.concat().into()
                }
            };
            let id = JobId::named_in(lane, &packed).or_else(|| JobId::of_entry(lane, &entry));
            let id = id.ok_or(BadReply("an entry of an unknown form"))?;
            // The state that the script wrote, built again here to save it from sending it.
            let token = format!("r{priority}:{entry}:{nonce}:{now}:{worker}");
            claim.mark.positions.resize(POSITIONS, String::new());
            if let Some(position) = claim.mark.positions.get_mut(place.wrapping_sub(1)) {
                *position = entry;
            }
            claim.jobs.push((
                Lease {
                    id,
                    token: token.into(),
                },
                packed,
            ));
        }
    }
    Ok((claim, lost, failed))
}
