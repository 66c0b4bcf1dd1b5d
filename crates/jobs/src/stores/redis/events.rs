//! Events, notes, and waiting for jobs on a connection that may block.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use super::{
    Redis,
    reply::{self, Strange},
    script,
};
use crate::{
    Error, JobId, Lane, clock,
    store::{Event, Mark},
};

/// Notes the progress of a running job, or without one that it is called off.
pub(super) async fn note(
    redis: &Redis,
    id: &JobId,
    token: &Bytes,
    progress: Option<&str>,
) -> Result<bool, Error> {
    let mut args = vec![redis.keep.as_bytes(), id.as_str().as_bytes(), token];
    args.extend(progress.map(str::as_bytes));
    let answer = redis.run(&script::NOTE, &id.lane(), &args).await?;
    Ok(reply::number(answer).map_err(|strange| redis.strange(strange))? == 1)
}

/// Waits until one of the lane's streams grows past the mark, or a delayed job is due.
pub(super) async fn wait(
    redis: &Redis,
    lane: &Lane,
    mark: &Mark,
    wait: Duration,
) -> Result<(), Error> {
    let wait = mark.due_in.map_or(wait, |due| due.min(wait));
    let key = redis.key(lane);
    let names = ["q1", "q2", "q3", "q4", "q5", "wake"].map(|name| format!("{key}:{name}"));
    block(redis, &names, &mark.positions, wait).await
}

/// Waits until one of the streams grows past its mark, on a connection that may block.
pub(super) async fn block(
    redis: &Redis,
    streams: &[String],
    after: &[String],
    wait: Duration,
) -> Result<(), Error> {
    if wait.is_zero() || streams.len() != after.len() {
        return Ok(());
    }
    let mut command = redis::cmd("XREAD");
    // 0 would block for ever.
    command
        .arg("COUNT")
        .arg(1)
        .arg("BLOCK")
        .arg(clock::millis(wait).max(1));
    command.arg("STREAMS").arg(streams).arg(after);
    let answer = redis.link.block(&command, wait).await;
    answer.map(drop).map_err(|failure| redis.error(failure))
}

/// A cursor is `<entry>.<how many of its jobs were told>`.
pub(super) fn position(cursor: &str) -> (String, usize) {
    let parts = cursor
        .split_once('.')
        .and_then(|(entry, told)| Some((entry, told.parse().ok()?)));
    let (entry, told) = parts.unwrap_or(("0-0", 0));
    (entry.to_owned(), told)
}

/// Events after a cursor.
pub(super) async fn read(
    redis: &Redis,
    lane: &Lane,
    after: &str,
    max: usize,
) -> Result<Vec<Event>, Error> {
    let (from, mut told) = position(after);
    if !from
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-')
    {
        return Err(Error::invalid("cursor", "is not one of ours"));
    }
    let mut command = redis::cmd("XRANGE");
    command
        .arg(format!("{}:ev", redis.key(lane)))
        .arg(&from)
        .arg("+")
        .arg("COUNT")
        .arg(max + 1);
    let answer = redis
        .link
        .send(&command)
        .await
        .map_err(|failure| redis.error(failure))?;
    let mut events = Vec::new();
    let mut take = |entry: Value| {
        let [id, fields] = reply::row(entry)?;
        let (entry, fields) = (reply::text(id)?, reply::array(fields)?);
        let texts = fields
            .into_iter()
            .map(reply::text)
            .collect::<Result<Vec<_>, _>>()?;
        let field = |name: &str| {
            let pair = texts.chunks_exact(2).find(|pair| pair[0] == name);
            pair.map(|pair| pair[1].clone())
        };
        let at = entry.split('-').next().and_then(|ms| ms.parse().ok());
        let at = at.ok_or(Strange("an entry without a time"))?;
        let name = field("n").ok_or(Strange("an event without a name"))?;
        // The cursor's own entry was told in part, all others not at all.
        let skip = if entry == from {
            std::mem::take(&mut told)
        } else {
            0
        };
        for (index, id) in field("i")
            .unwrap_or_default()
            .split(' ')
            .enumerate()
            .skip(skip)
        {
            events.push(Event {
                cursor: format!("{entry}.{}", index + 1),
                at,
                id: id.parse().map_err(|_| Strange("an event of no job"))?,
                name: name.clone(),
                data: field("d"),
            });
        }
        Ok(())
    };
    for entry in reply::array(answer).map_err(|strange| redis.strange(strange))? {
        take(entry).map_err(|strange| redis.strange(strange))?;
    }
    events.truncate(max);
    Ok(events)
}
