//! Reads the answers of scripts, and the states that they keep.

use std::time::Duration;

use bytes::Bytes;
use redis::Value;

use crate::{
    JobStatus,
    store::{JobCounts, JobState, ListedJob, ProgressNote, StoredJob},
};

/// An answer that no script of ours gives.
#[derive(Debug)]
pub(super) struct BadReply(pub(super) &'static str);

pub(super) fn array(value: Value) -> Result<Vec<Value>, BadReply> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(BadReply("an answer that is no array")),
    }
}

pub(super) fn bytes(value: Value) -> Result<Bytes, BadReply> {
    match value {
        Value::BulkString(bytes) => Ok(bytes.into()),
        Value::SimpleString(text) => Ok(text.into()),
        Value::Int(number) => Ok(number.to_string().into()),
        _ => Err(BadReply("an answer that is no text")),
    }
}

pub(super) fn text(value: Value) -> Result<String, BadReply> {
    let bytes = bytes(value)?;
    String::from_utf8(bytes.into()).map_err(|_| BadReply("a text that is not UTF-8"))
}

/// What people wrote; whatever it is, the rest can be read.
fn lossy(value: Value) -> Result<String, BadReply> {
    Ok(String::from_utf8_lossy(&bytes(value)?).into_owned())
}

pub(super) fn number(value: Value) -> Result<u64, BadReply> {
    text(value)?
        .parse()
        .map_err(|_| BadReply("a text that is no number"))
}

/// What a hash answers: names and values. A name that is no text is not ours, and is left out.
pub(super) fn pairs(value: Value) -> Result<Vec<(String, Value)>, BadReply> {
    let (mut flat, mut pairs) = (array(value)?.into_iter(), Vec::new());
    while let (Some(name), Some(value)) = (flat.next(), flat.next()) {
        if let Ok(name) = text(name) {
            pairs.push((name, value));
        }
    }
    Ok(pairs)
}

/// An array of exactly `N`.
pub(super) fn row<const N: usize>(value: Value) -> Result<[Value; N], BadReply> {
    array(value)?
        .try_into()
        .map_err(|_| BadReply("an array of an unknown length"))
}

/// What `read_job` in the scripts answers.
pub(super) fn found(value: Value) -> Result<StoredJob, BadReply> {
    let [id, token, packed, progress, off] = row(value)?;
    let id = text(id)?
        .parse()
        .map_err(|_| BadReply("a job of another lane"))?;
    let (token, progress) = (bytes(token)?, lossy(progress)?);
    Ok(StoredJob {
        id,
        state: state(&token).ok_or(BadReply("a state of an unknown form"))?,
        token,
        packed: bytes(packed)?,
        progress: (!progress.is_empty()).then_some(progress),
        cancelling: !bytes(off)?.is_empty(),
    })
}

/// Those jobs that can be read: one that cannot be read must not hide the others.
pub(super) fn readable<T>(
    values: Value,
    read: impl Fn(Value) -> Result<T, BadReply>,
) -> Result<Vec<T>, BadReply> {
    let jobs = array(values)?.into_iter().filter_map(|value| {
        let job = read(value);
        job.inspect_err(|BadReply(what)| tracing::debug!(what, "a job was left out"))
            .ok()
    });
    Ok(jobs.collect())
}

/// What a script answers that may find nothing.
pub(super) fn optional<T>(
    value: Value,
    read: impl FnOnce(Value) -> Result<T, BadReply>,
) -> Result<Option<T>, BadReply> {
    match value {
        Value::Nil => Ok(None),
        value => read(value).map(Some),
    }
}

/// One answer or nothing for each of so many items. One that cannot be read must not hide the others.
pub(super) fn each<T>(
    values: Value,
    count: usize,
    read: impl Fn(Value) -> Result<T, BadReply>,
) -> Result<Vec<Option<T>>, BadReply> {
    let values = array(values)?;
    if values.len() != count {
        return Err(BadReply("another number of answers than of questions"));
    }
    let read = |value| match value {
        Value::Nil => None,
        value => {
            let job = read(value);
            job.inspect_err(|BadReply(what)| tracing::debug!(what, "a job was left out"))
                .ok()
        }
    };
    Ok(values.into_iter().map(read).collect())
}

/// An answer of one character for each of so many items.
pub(super) fn digits(value: Value, count: usize) -> Result<Bytes, BadReply> {
    let digits = bytes(value)?;
    let fits = digits.len() == count;
    fits.then_some(digits)
        .ok_or(BadReply("another number of answers than of questions"))
}

/// A job on a page.
pub(super) fn listed(value: Value) -> Result<ListedJob, BadReply> {
    let [position, seen] = row(value)?;
    let (position, found) = (text(position)?, found(seen)?);
    Ok(ListedJob { found, position })
}

/// The progress messages of a job.
pub(super) fn notes(value: Value) -> Result<Vec<ProgressNote>, BadReply> {
    let text = bytes(value)?;
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let notes = serde_json::from_slice::<Vec<(u64, u64, u64, String)>>(&text);
    let notes = notes.map_err(|_| BadReply("notes of an unknown form"))?;
    let notes = notes
        .into_iter()
        .map(|(number, since, at, text)| ProgressNote {
            number,
            since,
            at,
            text,
        });
    Ok(notes.collect())
}

fn state(token: &[u8]) -> Option<JobState> {
    let mut parts = token.splitn(5, |byte| *byte == b':');
    let mut word = || std::str::from_utf8(parts.next()?).ok();
    Some(match token.first()? {
        b'q' => {
            word()?;
            let since = word().and_then(|entry| entry.split('-').next()?.parse().ok());
            JobState::Queued {
                since: since.unwrap_or(0),
            }
        }
        b'r' => {
            // It is leased whatever the rest looks like: it must be taken back some day.
            let mut nth = |skip: usize| (0..skip).fold(None, |_, _| word());
            let started_at = nth(4).and_then(|since| since.parse().ok()).unwrap_or(0);
            let worker = nth(1).unwrap_or("?").to_owned();
            JobState::Running { started_at, worker }
        }
        kind @ (b's' | b'f') => {
            word()?;
            let due = word()?.parse().ok()?;
            let status = if *kind == b's' {
                JobStatus::Scheduled
            } else {
                JobStatus::Failed
            };
            JobState::Waiting { status, due }
        }
        b'S' => JobState::Ended(JobStatus::Succeeded),
        b'D' => JobState::Ended(JobStatus::Dead),
        b'C' => JobState::Ended(JobStatus::Cancelled),
        _ => return None,
    })
}

/// How long from `now` until a score of a sorted set, if there is one.
pub(super) fn until(due: &str, now: u64) -> Option<Duration> {
    let due: f64 = due.parse().ok()?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time in ms"
    )]
    let due = due.max(0.0) as u64;
    Some(Duration::from_millis(due.saturating_sub(now)))
}

/// What `counts` answers.
pub(super) fn counts(answer: Value) -> Result<JobCounts, BadReply> {
    let row: [Value; 9] = row(answer)?;
    let mut texts = Vec::with_capacity(9);
    for value in row {
        texts.push(text(value)?);
    }
    let number = |index: usize| texts[index].parse().ok();
    let counts = || {
        Some(JobCounts {
            now: number(0)?,
            queued: number(1)?,
            running: number(2)?,
            scheduled: number(3)?,
            failed: number(4)?,
            dead: number(5)?,
            succeeded: number(6)?,
            cancelled: number(7)?,
            oldest_queued_at: number(8),
        })
    };
    counts().ok_or(BadReply("counts that are no numbers"))
}
