//! Taking jobs in, and moving them: arguments grouped as the scripts want them.

use std::collections::HashSet;

use super::{Redis, completions, reply, script};
use crate::{
    Error, JobId, JobStatus, Lane, clock,
    store::{Destination, Lease, Move, MoveOutcome, Submission, SubmitOutcome},
};

/// Leases as arguments: {job, state}….
pub(super) fn pairs(leases: &[Lease]) -> Vec<&[u8]> {
    let leases = leases.iter();
    leases
        .flat_map(|lease| [lease.id.as_str().as_bytes(), lease.token.as_ref()])
        .collect()
}

const PRIORITY_DIGITS: [&str; 5] = ["1", "2", "3", "4", "5"];

/// Takes jobs in; those without a key and a delay go the short way.
pub(super) async fn submit(
    redis: &Redis,
    lane: &Lane,
    entries: &[Submission],
) -> Result<Vec<SubmitOutcome>, Error> {
    redis.register_lane(lane).await?;
    let plain = |entry: &&Submission| entry.key.is_none() && entry.delay.is_zero();
    let delays = entries.iter().filter(|entry| !plain(entry));
    let delays: Vec<String> = delays
        .map(|entry| clock::millis(entry.delay).to_string())
        .collect();
    let mut by_priority: [Vec<&[u8]>; 5] = Default::default();
    let (mut others, mut delay) = (Vec::with_capacity(delays.len() * 5), delays.iter());
    for entry in entries {
        let rank = usize::from(entry.priority.clamp(1, 5)) - 1;
        if plain(&entry) {
            by_priority[rank].push(&entry.packed);
            continue;
        }
        let (key, print) = entry
            .key
            .as_ref()
            .map_or(("", ""), |(key, print)| (key, print));
        let delay = delay.next().map_or("0", String::as_str);
        others.extend([PRIORITY_DIGITS[rank], delay].map(str::as_bytes));
        others.extend([entry.packed.as_ref(), key.as_bytes(), print.as_bytes()]);
    }
    let counts = by_priority.each_ref().map(|of| of.len().to_string());
    let mut args = vec![redis.keep.as_bytes(), redis.key_ttl.as_bytes()];
    args.extend(counts.iter().map(String::as_bytes));
    args.extend(by_priority.iter().flatten().copied().chain(others));
    let answers = redis
        .run(&script::SUBMIT, lane, &args, reply::array)
        .await?;
    let mut answers = answers.into_iter();
    let count = entries.iter().filter(|entry| !plain(entry)).count();
    let others: Vec<redis::Value> = answers.by_ref().take(count).collect();
    let mut others = others.into_iter();
    let again = known(redis, answers, entries, plain)?;
    let outcomes = entries.iter().enumerate().map(|(index, entry)| {
        let text = if plain(&entry) {
            String::new()
        } else {
            let answer = others
                .next()
                .ok_or_else(|| redis.broken("too few answers".to_owned()))?;
            redis.read(answer, reply::text)?
        };
        let Some((print, id)) = text.split_once(' ') else {
            // The others that are known were sent again because the answer was lost.
            return Ok(match entry.id.is_chosen() && again.contains(&index) {
                true => SubmitOutcome::Duplicate(entry.id.clone()),
                false => SubmitOutcome::New,
            });
        };
        let id: JobId = id.parse()?;
        let same = entry.key.as_ref().is_some_and(|(_, mine)| mine == print);
        Ok(if same {
            SubmitOutcome::Duplicate(id)
        } else {
            SubmitOutcome::Conflict(id)
        })
    });
    outcomes.collect()
}

/// The indexes of the entries that the script knew, by their places among its arguments: the plain ones
/// by priority, then the others.
fn known(
    redis: &Redis,
    places: impl ExactSizeIterator<Item = redis::Value>,
    entries: &[Submission],
    plain: impl Fn(&&Submission) -> bool,
) -> Result<HashSet<usize>, Error> {
    if places.len() == 0 {
        return Ok(HashSet::new());
    }
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|index| {
        let entry = &entries[*index];
        if plain(&entry) {
            entry.priority.clamp(1, 5)
        } else {
            6
        }
    });
    let indexes = places.map(|place| {
        let place = redis.read(place, reply::number)?;
        let index = usize::try_from(place)
            .ok()
            .and_then(|place| order.get(place.checked_sub(1)?));
        index
            .copied()
            .ok_or_else(|| redis.broken("the place of no job".to_owned()))
    });
    indexes.collect()
}

/// Moves jobs between states.
pub(super) async fn transition(
    redis: &Redis,
    lane: &Lane,
    moves: &[Move],
) -> Result<Vec<MoveOutcome>, Error> {
    // Grouped as the script wants them, and the answers put back in order.
    let mut groups: [Vec<usize>; 6] = Default::default();
    let mut numbers = vec![(String::new(), String::new()); moves.len()];
    for (index, step) in moves.iter().enumerate() {
        let group = match &step.to {
            Destination::End {
                status: JobStatus::Succeeded,
                ..
            } => 0,
            Destination::End { .. } => 1,
            Destination::DeadLetter { .. } => 2,
            Destination::Queue { priority, .. } => {
                numbers[index].0 = priority.to_string();
                3
            }
            Destination::Later {
                status,
                priority,
                delay,
                ..
            } => {
                numbers[index] = (priority.to_string(), clock::millis(*delay).to_string());
                if *status == JobStatus::Failed { 4 } else { 5 }
            }
        };
        groups[group].push(index);
    }
    // Made here, since the script would have to copy it.
    let end = |step: &Move| match &step.to {
        Destination::End { status, record, .. } => [letter(*status), record].concat(),
        _ => Vec::new(),
    };
    let ends: Vec<Vec<u8>> = moves.iter().map(end).collect();
    let counts = groups.each_ref().map(|group| group.len().to_string());
    let mut args = vec![redis.keep.as_bytes()];
    args.extend(counts.iter().map(String::as_bytes));
    for index in groups.iter().flatten() {
        let (step, (priority, delay)) = (&moves[*index], &numbers[*index]);
        args.extend([step.id.as_str().as_bytes(), &step.from]);
        match &step.to {
            Destination::End { .. } => args.push(&ends[*index]),
            Destination::DeadLetter { packed, .. } => args.push(packed),
            Destination::Queue { packed, .. } => {
                args.extend([packed.as_ref(), priority.as_bytes()])
            }
            Destination::Later { packed, .. } => {
                args.extend([packed.as_ref(), priority.as_bytes(), delay.as_bytes()]);
            }
        }
    }
    let notes = notes(moves, groups.iter().flatten());
    for (place, tag, entry) in &notes {
        args.extend([place.as_bytes(), tag.as_bytes(), entry]);
    }
    let read = |answer| reply::digits(answer, moves.len());
    let streams = completions::streams(notes.iter().map(|(_, tag, _)| *tag));
    let digits = redis.run_with(&script::TRANSITION, lane, &streams, &args, read);
    let digits = digits.await?;
    let mut moved = vec![MoveOutcome::Stale; moves.len()];
    for (index, digit) in groups.iter().flatten().zip(digits) {
        moved[*index] = match digit {
            b'1' => MoveOutcome::Done,
            b'2' => MoveOutcome::Cancelling,
            _ => MoveOutcome::Stale,
        };
    }
    Ok(moved)
}

/// What begins the state of a job that ended so.
const fn letter(status: JobStatus) -> &'static [u8] {
    match status {
        JobStatus::Succeeded => b"S",
        JobStatus::Dead => b"D",
        _ => b"C",
    }
}

/// The completions that moves leave, in an order: the place of each move in it from 1, the tag, and the
/// entry, or nothing where that is the move's record.
fn notes<'a>(
    moves: &'a [Move],
    order: impl Iterator<Item = &'a usize>,
) -> Vec<(String, &'a str, Vec<u8>)> {
    let notes = order.enumerate().filter_map(|(place, index)| {
        let to = &moves[*index].to;
        let note = to.completion()?;
        let status = match to {
            Destination::End { status, .. } => *status,
            _ => JobStatus::Dead,
        };
        let entry = note.packed.as_ref();
        let entry = entry.map(|packed| [letter(status), packed].concat());
        Some((
            (place + 1).to_string(),
            note.tag.as_str(),
            entry.unwrap_or_default(),
        ))
    });
    notes.collect()
}
