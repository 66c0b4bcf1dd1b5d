//! Events, notes, and waiting for jobs on a connection that may block.

use std::time::{Duration, Instant};

use bytes::Bytes;
use redis::Value;
use tokio::sync::watch;

use super::{
    Redis,
    reply::{self, BadReply},
    script,
    tail_watchers::{EntryId, TailWatcher, place},
};
use crate::{
    Error, JobId, JobStatus, Lane, MAX_BATCH, clock,
    store::{EventBatch, JobEvent, MAX_NOTE_BYTES, MAX_NOTES, WaitPosition},
};

/// Notes the progress of a running job.
pub(super) async fn note(
    redis: &Redis,
    id: &JobId,
    token: &Bytes,
    progress: &str,
) -> Result<bool, Error> {
    let mut args = vec![redis.keep.as_bytes(), id.as_str().as_bytes(), token];
    let most = [MAX_NOTES.to_string(), MAX_NOTE_BYTES.to_string()];
    args.extend([progress, &most[0], &most[1]].map(str::as_bytes));
    let read = |answer| Ok(reply::number(answer)? == 1);
    redis.run(&script::NOTE, &id.lane(), &args, read).await
}

/// Waits until one of the lane's streams grows past the mark, or a delayed job is due.
pub(super) async fn wait_for_job(
    redis: &Redis,
    lane: &Lane,
    mark: &WaitPosition,
    wait: Duration,
) -> Result<(), Error> {
    let wait = mark.due_in.map_or(wait, |due| due.min(wait));
    let key = redis.key(lane);
    let names = ["q1", "q2", "q3", "q4", "q5", "wake"].map(|name| format!("{key}:{name}"));
    block(redis, &names, &mark.positions, wait).await
}

/// Waits until one of the streams grows past its mark, on a connection that may block.
async fn block(
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
    let answer = redis.connections.block(&command, wait).await;
    answer.map(drop).map_err(|failure| redis.error(failure))
}

/// A cursor is `<entry>.<how many of its jobs were read>`.
fn position(cursor: &str) -> Option<(String, usize)> {
    if cursor.is_empty() {
        return Some((START.to_owned(), 0));
    }
    let (entry, read) = cursor.split_once('.')?;
    is_entry(entry).then_some(())?;
    Some((entry.to_owned(), read.parse().ok()?))
}

/// Before every entry.
pub(super) const START: &str = "0-0";
/// How many entries are read at first: each has 1 to 256 jobs.
const FEW: usize = 16;

/// Whether it is an entry's id, `<ms>-<number>`.
pub(super) fn is_entry(text: &str) -> bool {
    let number =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok();
    let parts = text.split_once('-');
    parts.is_some_and(|(ms, rest)| number(ms) && number(rest))
}

/// Whether a list of that status gives such positions.
pub(super) fn is_position(of: Option<JobStatus>, text: &str) -> bool {
    let known = match of {
        None | Some(JobStatus::Succeeded | JobStatus::Cancelled) => text
            .split_once('/')
            .map(|(entry, count)| is_entry(entry) && count.parse::<u32>().is_ok()),
        Some(JobStatus::Queued | JobStatus::Running) => {
            text.split_once(':').map(|(priority, entry)| {
                matches!(priority, "1" | "2" | "3" | "4" | "5") && is_entry(entry)
            })
        }
        Some(JobStatus::Scheduled | JobStatus::Failed | JobStatus::Dead) => text
            .split_once('/')
            .map(|(score, id)| score.parse::<u64>().is_ok() && id.parse::<JobId>().is_ok()),
    };
    known.unwrap_or(false)
}

/// Events after a cursor.
pub(super) async fn read(
    redis: &Redis,
    lane: &Lane,
    after: &str,
    max: usize,
) -> Result<EventBatch, Error> {
    let bad_cursor = || Error::invalid("cursor", "is not one of these events");
    let (from, mut read_before) = position(after).ok_or_else(bad_cursor)?;
    let mut read = EventBatch::default();
    let mut count = FEW;
    let mut start = from.clone();
    loop {
        let entries = entries(redis, lane, [&start, "+"], count).await?;
        let (mut last, seen) = (None, entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let (id, fields) = redis.read(entry, |entry| {
                let [id, fields] = reply::row(entry)?;
                Ok((reply::text(id)?, fields))
            })?;
            // The cursor's own entry is there as long as nothing after it is gone.
            if index == 0 && start == from && id != from && from != START {
                read.missed = missed(redis, lane, &from).await?;
            }
            // It was read in part, all others not at all.
            let skip = if id == from {
                std::mem::take(&mut read_before)
            } else {
                0
            };
            let events = |fields| events(&id, fields, skip);
            read.events.extend(redis.read(fields, events)?);
            last = Some(id);
        }
        match last {
            Some(last) if seen == count && read.events.len() < max => {
                // As many entries as are still wanted, by the events of those before.
                let each = (read.events.len() / count).max(1);
                count = ((max - read.events.len()) / each).clamp(FEW, 256);
                start = format!("({last}");
            }
            Some(_) => break,
            None if start == from && from != START => {
                // Nothing is there, not even the cursor's own entry.
                let tail = tail(redis, lane).await?;
                // An older entry was read before; a newer one came after the query.
                let older = tail != START && place(&tail) <= place(&from);
                read.missed = Some(match older {
                    true => format!("{tail}.{MAX_BATCH}"),
                    false => format!("{START}.0"),
                });
                break;
            }
            None => break,
        }
    }
    read.events.truncate(max);
    Ok(read)
}

/// The position of the oldest kept event, if it is after `from`.
async fn missed(redis: &Redis, lane: &Lane, from: &str) -> Result<Option<String>, Error> {
    let first = entries(redis, lane, ["-", "+"], 1).await?;
    let Some(first) = first.into_iter().next() else {
        return Ok(None);
    };
    let first = redis.read(first, |first| {
        reply::row(first).and_then(|[id, _]| reply::text(id))
    })?;
    Ok((place(&first) > place(from)).then(|| format!("{first}.0")))
}

async fn entries(
    redis: &Redis,
    lane: &Lane,
    [from, to]: [&str; 2],
    count: usize,
) -> Result<Vec<Value>, Error> {
    let mut command = redis::cmd("XRANGE");
    command.arg(key(redis, lane)).arg(from).arg(to);
    command.arg("COUNT").arg(count);
    redis.answer(redis.connections.send(&command).await, reply::array)
}

fn key(redis: &Redis, lane: &Lane) -> String {
    format!("{}:ev", redis.key(lane))
}

/// The events of an entry, one for each of its jobs, without the first `skip`.
fn events(entry: &str, fields: Value, skip: usize) -> Result<Vec<JobEvent>, BadReply> {
    let texts = reply::array(fields)?.into_iter().map(reply::text);
    let texts = texts.collect::<Result<Vec<_>, _>>()?;
    let field = |name: &str| {
        let pair = texts.chunks_exact(2).find(|pair| pair[0] == name);
        pair.map(|pair| pair[1].clone())
    };
    let at = entry.split('-').next().and_then(|ms| ms.parse().ok());
    let at = at.ok_or(BadReply("an entry without a time"))?;
    let name = field("n").ok_or(BadReply("an event without a name"))?;
    let ids = field("i").unwrap_or_default();
    let ids = ids.split(' ').enumerate().skip(skip);
    // What names no job is passed over: it must not keep followers from what comes after it.
    let events = ids.filter_map(|(index, id)| {
        Some(JobEvent {
            cursor: format!("{entry}.{}", index + 1),
            at,
            id: id.parse().ok()?,
            name: name.clone(),
            data: field("d"),
        })
    });
    Ok(events.collect())
}

/// Waits until the lane's events grow past the cursor.
pub(super) async fn wait_for_event(
    redis: &Redis,
    lane: &Lane,
    cursor: &str,
    wait: Duration,
) -> Result<(), Error> {
    let until = Instant::now() + wait;
    let bad_cursor = || Error::invalid("cursor", "is not one of these events");
    let after = place(&position(cursor).ok_or_else(bad_cursor)?.0);
    let subscription = redis.tail_watchers.subscribe(lane);
    let TailWatcher { turn, latest } = &*subscription.tail;
    let mut grown = latest.subscribe();
    // The guard of what is watched must not be held while this waits for anything else.
    let grown = async { grown.wait_for(|latest| *latest > after).await.map(drop) };
    tokio::select! {
        // The latest known entry may be old: Redis is queried first.
        biased;
        _turn = turn.lock() => ask(redis, lane, after, latest, until).await,
        _ = grown => Ok(()),
        () = tokio::time::sleep(wait) => Ok(()),
    }
}

/// Asks Redis for the latest entry, and publishes it to all who wait.
async fn ask(
    redis: &Redis,
    lane: &Lane,
    after: EntryId,
    latest: &watch::Sender<EntryId>,
    until: Instant,
) -> Result<(), Error> {
    let events = key(redis, lane);
    loop {
        let tail = tail(redis, lane).await?;
        latest.send_replace(place(&tail));
        let left = until.saturating_duration_since(Instant::now());
        if place(&tail) > after || left.is_zero() {
            return Ok(());
        }
        // From the latest entry on, and not from its own cursor, which may lie far ahead of the
        // others' when a client made it up.
        block(redis, std::slice::from_ref(&events), &[tail], left).await?;
    }
}

/// The id of the latest entry of a lane's events; `0-0` of none.
pub(super) async fn tail(redis: &Redis, lane: &Lane) -> Result<String, Error> {
    let mut command = redis::cmd("XREVRANGE");
    command.arg(key(redis, lane)).arg("+").arg("-");
    command.arg("COUNT").arg(1);
    redis.answer(redis.connections.send(&command).await, |answer| {
        let Some(entry) = reply::array(answer)?.into_iter().next() else {
            return Ok(START.to_owned());
        };
        let [id, _] = reply::row(entry)?;
        reply::text(id)
    })
}
