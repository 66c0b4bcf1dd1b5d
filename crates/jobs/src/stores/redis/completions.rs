//! Completions: a stream per lane and tag. What is acknowledged is deleted, so that whatever a stream
//! holds is still to be read by somebody.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use bytes::{Buf as _, Bytes};
use futures_util::future::{join_all, select_all};
use redis::{Cmd, Value};

use super::{
    Redis,
    connections::CommandError,
    events::{START, is_entry},
    reply::{self, BadReply},
    script,
    tail_watchers::place,
};
use crate::{
    Error, JobStatus, Lane, clock,
    store::{CompletionSource, StoredCompletion},
};

/// How often a reader compares its cursors with what is there.
const COMPARE: Duration = Duration::from_secs(2);
/// How many entries of a stream are read at least.
const FEW: usize = 16;

/// The suffixes of the streams of tags.
pub(super) fn streams<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<String> {
    let tags: BTreeSet<&str> = tags.collect();
    tags.into_iter().map(|tag| format!(":done:{tag}")).collect()
}

/// A stream to read: its index among the sources, its name, and after which entry.
struct Stream<'a> {
    source: usize,
    of: &'a CompletionSource,
    name: String,
    after: &'a str,
}

/// Completions after cursors; waits for some.
pub(super) async fn read(
    redis: &Redis,
    sources: &[CompletionSource],
    max: usize,
    wait: Duration,
) -> Result<Vec<StoredCompletion>, Error> {
    let until = Instant::now() + wait;
    let mut streams = Vec::with_capacity(sources.len());
    for (source, of) in sources.iter().enumerate() {
        let after = match of.after.as_str() {
            "" => START,
            after if is_entry(after) => after,
            _ => return Err(Error::invalid("cursor", "is not one of a completion")),
        };
        let name = format!("{}:done:{}", redis.key(&of.lane), of.tag);
        streams.push(Stream {
            source,
            of,
            name,
            after,
        });
    }
    // A command of a cluster is about one slot.
    let groups: Vec<Vec<Stream<'_>>> = if redis.connections.is_many() {
        let mut lanes: HashMap<&Lane, Vec<Stream<'_>>> = HashMap::new();
        for stream in streams {
            lanes.entry(&stream.of.lane).or_default().push(stream);
        }
        lanes.into_values().collect()
    } else {
        vec![streams]
    };
    let mut groups: Vec<Vec<Stream<'_>>> = groups
        .into_iter()
        .filter(|streams| !streams.is_empty())
        .collect();
    if groups.is_empty() {
        tokio::time::sleep(wait).await;
        return Ok(Vec::new());
    }
    loop {
        let only = groups.len() == 1;
        for streams in &mut groups {
            match compare(redis, streams).await {
                Err(error) if only => return Err(error),
                // Reading it says the same, for this slot only.
                Ok(()) | Err(_) => {}
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        let block = left.min(COMPARE);
        let read = match groups.as_slice() {
            [streams] => read_once(redis, streams, max, block).await?,
            groups => read_slots(redis, groups, max, block).await?,
        };
        if !read.is_empty() || left.is_zero() {
            return Ok(read);
        }
    }
}

/// Reads from several slots: what is there, or else what comes first.
async fn read_slots(
    redis: &Redis,
    groups: &[Vec<Stream<'_>>],
    max: usize,
    wait: Duration,
) -> Result<Vec<StoredCompletion>, Error> {
    let reads = groups.iter();
    let reads = reads.map(|streams| read_once(redis, streams, max, Duration::ZERO));
    let mut found = Vec::new();
    // One that is unavailable keeps nobody from what the others have.
    let (mut failed, mut works) = (None, Vec::new());
    for (streams, read) in groups.iter().zip(join_all(reads).await) {
        match read {
            Ok(read) => {
                found.extend(read);
                works.push(streams);
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if works.is_empty() => return Err(error),
        _ if !found.is_empty() || wait.is_zero() => return Ok(found),
        _ => {}
    }
    let waits = works.into_iter();
    let waits = waits.map(|streams| Box::pin(read_once(redis, streams, max, wait)));
    select_all(waits).await.0
}

/// Reads streams of one slot, by one command that waits for the first entry.
async fn read_once(
    redis: &Redis,
    streams: &[Stream<'_>],
    max: usize,
    wait: Duration,
) -> Result<Vec<StoredCompletion>, Error> {
    let mut command = redis::cmd("XREAD");
    let count = (max / streams.len().max(1)).max(FEW).min(max);
    command.arg("COUNT").arg(count);
    if !wait.is_zero() {
        // 0 would block for ever.
        command.arg("BLOCK").arg(clock::millis(wait).max(1));
    }
    command.arg("STREAMS");
    let names = streams.iter().map(|stream| stream.name.as_str());
    command.arg(names.collect::<Vec<_>>());
    let afters = streams.iter().map(|stream| stream.after);
    command.arg(afters.collect::<Vec<_>>());
    let mut answer = send(redis, &command, wait).await;
    if matches!(answer, Err(CommandError::WrongType)) {
        let mut lanes: HashMap<&Lane, Vec<String>> = HashMap::new();
        for CompletionSource { lane, tag, .. } in streams.iter().map(|stream| stream.of) {
            lanes.entry(lane).or_default().push(format!(":done:{tag}"));
        }
        for (lane, streams) in lanes {
            redis.repair_with(lane, &streams).await?;
        }
        answer = send(redis, &command, wait).await;
    }
    let by_name: HashMap<&str, usize> = streams
        .iter()
        .map(|stream| (stream.name.as_str(), stream.source))
        .collect();
    redis.answer(answer, |answer| entries(answer, &by_name))
}

async fn send(redis: &Redis, command: &Cmd, wait: Duration) -> Result<Value, CommandError> {
    match wait.is_zero() {
        true => redis.connections.send(command).await,
        false => redis.connections.block(command, wait).await,
    }
}

/// What XREAD answers: pairs of a stream and its entries.
fn entries(
    answer: Value,
    sources: &HashMap<&str, usize>,
) -> Result<Vec<StoredCompletion>, BadReply> {
    let mut completions = Vec::new();
    for stream in reply::array(answer)? {
        let [name, entries] = reply::row(stream)?;
        let source = sources.get(reply::text(name)?.as_str());
        let source = *source.ok_or(BadReply("a stream that was not asked for"))?;
        for entry in reply::array(entries)? {
            let [cursor, fields] = reply::row(entry)?;
            let mut fields = reply::array(fields)?.into_iter();
            // What is not ours cannot be decoded, and must not hide what comes after it.
            let state = match (fields.next(), fields.next()) {
                (Some(_), Some(state)) => reply::bytes(state)?,
                _ => Bytes::new(),
            };
            completions.push(completion(source, reply::text(cursor)?, state));
        }
    }
    Ok(completions)
}

fn completion(source: usize, cursor: String, mut state: Bytes) -> StoredCompletion {
    let status = match state.first() {
        Some(b'S') => JobStatus::Succeeded,
        Some(b'C') => JobStatus::Cancelled,
        _ => JobStatus::Dead,
    };
    state.advance(1_usize.min(state.len()));
    StoredCompletion {
        source,
        cursor,
        status,
        packed: state,
    }
}

/// Lets those cursors begin anew that are ahead of all that is there: Redis was emptied or came back
/// older, and its clock may be behind. It would give nothing until a stream has grown past them. A
/// reader that has acknowledged the latest and not the others gets these again.
async fn compare(redis: &Redis, streams: &mut [Stream<'_>]) -> Result<(), Error> {
    let Some(first) = streams.first() else {
        return Ok(());
    };
    {
        let mut compared = redis.compared.lock();
        let last = compared.get(&first.name);
        if last.is_some_and(|last| last.elapsed() < COMPARE) {
            return Ok(());
        }
        compared.insert(first.name.clone(), Instant::now());
    }
    let mut lanes: HashMap<&Lane, Vec<&mut Stream<'_>>> = HashMap::new();
    for stream in streams.iter_mut().filter(|stream| stream.after != START) {
        let of = stream.of;
        lanes.entry(&of.lane).or_default().push(stream);
    }
    for (lane, streams) in lanes {
        let args = streams.iter().map(|stream| stream.of.tag.as_bytes());
        let args: Vec<&[u8]> = args.collect();
        let tails = redis
            .run(&script::COMPLETION_TAILS, lane, &args, reply::array)
            .await?;
        for (stream, tail) in streams.into_iter().zip(tails) {
            let tail = redis.read(tail, reply::text)?;
            if tail != START && place(&tail) < place(stream.after) {
                stream.after = START;
            }
        }
    }
    Ok(())
}

/// Deletes completions.
pub(super) async fn acknowledge(
    redis: &Redis,
    lane: &Lane,
    entries: &[(String, Vec<String>)],
) -> Result<(), Error> {
    let known = entries.iter().flat_map(|(_, entries)| entries);
    if !known.into_iter().all(|entry| is_entry(entry)) {
        return Err(Error::invalid("cursor", "is not one of a completion"));
    }
    let counts = entries.iter().map(|(_, entries)| entries.len().to_string());
    let counts: Vec<String> = counts.collect();
    let mut args: Vec<&[u8]> = Vec::new();
    for ((tag, entries), count) in entries.iter().zip(&counts) {
        args.extend([tag.as_bytes(), count.as_bytes()]);
        args.extend(entries.iter().map(String::as_bytes));
    }
    let streams = streams(entries.iter().map(|(tag, _)| tag.as_str()));
    redis
        .run_with(&script::ACKNOWLEDGE, lane, &streams, &args, |_| Ok(()))
        .await
}
