//! Completions: what ended jobs leave for whoever asked for it. Each tag has a stream of them in
//! each lane. An entry stays there until it is acknowledged, whatever becomes of its job.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::try_join_all;

use crate::{
    Error, JobId, JobStatus, Jobs, Lane, MAX_BATCH, Payload, codec,
    job::Header,
    store::{CompletionNote, CompletionSource, StoredCompletion},
};

/// The largest result that a completion carries, in bytes.
pub const MAX_COMPLETION_RESULT: usize = 64 << 10;
/// The longest tag, in bytes.
const MAX_TAG: usize = 32;

/// The end of a job. It is given at least once: the same one may come again until it is
/// acknowledged, and a dead letter that is retried ends twice.
#[derive(Debug, Clone)]
pub struct Completion {
    /// The tag that its job was submitted with.
    pub tag: String,
    /// Leads to what comes after it, and names it for [`Jobs::acknowledge`].
    pub cursor: String,
    /// The job.
    pub id: JobId,
    /// The seed that the job's id was made from.
    pub key: Option<String>,
    /// Succeeded, dead or cancelled.
    pub status: JobStatus,
    /// What came of it, if that is at most [`MAX_COMPLETION_RESULT`] bytes.
    pub result: Option<Payload>,
    /// Its result is larger than that: the job itself has it.
    pub left_out: bool,
    /// What its latest failed attempt said.
    pub error: Option<String>,
    /// It is dead by a failure that may pass, such as a lost worker: it had no more attempts.
    pub retryable: bool,
    /// How many attempts were started.
    pub attempt: u32,
    /// What its latest attempt cost.
    pub metrics: Option<serde_json::Value>,
    /// When its latest attempt started, Unix milliseconds.
    pub started_at: Option<u64>,
    /// When it ended, Unix milliseconds.
    pub ended_at: Option<u64>,
}

pub(crate) fn check_tag(tag: &str) -> Result<(), Error> {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    let fits = (1..=MAX_TAG).contains(&tag.len()) && tag.bytes().all(plain);
    fits.then_some(())
        .ok_or_else(|| Error::invalid("completion", "give 1 to 32 of a-z, 0-9, _ and - as its tag"))
}

/// What the end of a job leaves behind if it asked for that. `result` is what it succeeded with:
/// its record is carried as it is, unless that is too large.
pub(crate) fn note_success(
    id: &JobId,
    header: &Header,
    result: Option<&Payload>,
) -> Option<CompletionNote> {
    let tag = header.completion.clone()?;
    let large = result.is_some_and(|result| result.bytes().len() > MAX_COMPLETION_RESULT);
    let packed = large.then(|| codec::pack_without(id, header));
    Some(CompletionNote { tag, packed })
}

/// The same of a job that died or was cancelled. Its payload is of no use to who waits for it.
pub(crate) fn note_failure(id: &JobId, header: &Header) -> Option<CompletionNote> {
    let tag = header.completion.clone()?;
    let packed = Some(codec::pack(id, header, None));
    Some(CompletionNote { tag, packed })
}

impl Jobs {
    /// The id of the job that a queue makes of a seed; see [`NewJob::seed`](crate::NewJob::seed).
    /// It changes with the queue's number of partitions.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is no name of a queue.
    pub fn chosen_id(&self, queue: &str, seed: &str) -> Result<JobId, Error> {
        Ok(JobId::chosen(&self.lane_for(queue, seed.as_bytes())?, seed))
    }

    /// Completions of a queue: of each tag those after a cursor, and with an empty cursor all that
    /// are not acknowledged. About `max`, in the order of each tag; waits for some for up to `wait`.
    /// Can be dropped at any time.
    ///
    /// A store that came back older may give some again that are before the cursor.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad tag or a cursor that no completion had; [`Error::Unavailable`].
    pub async fn completions(
        &self,
        queue: &str,
        after: &[(String, String)],
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Completion>, Error> {
        let lanes = self.lanes_of(queue)?;
        let mut sources = Vec::with_capacity(after.len() * lanes.len());
        let mut positions: BTreeMap<&str, Position> = BTreeMap::new();
        for (tag, cursor) in after {
            check_tag(tag)?;
            let position = Position::read(cursor)?;
            for lane in lanes_with(&lanes, queue, &position) {
                let after = position.after(lane.partition).to_owned();
                let tag = tag.clone();
                sources.push(CompletionSource { lane, tag, after });
            }
            positions.insert(tag.as_str(), position);
        }
        let stored = self.store.completions(&sources, max.max(1), wait).await?;
        let mut completions = Vec::with_capacity(stored.len());
        for entry in stored {
            let CompletionSource { lane, tag, .. } = &sources[entry.source];
            let Some(position) = positions.get_mut(tag.as_str()) else {
                continue;
            };
            position.advance(lane.partition, entry.cursor.clone());
            match completion(tag, position.text(), &entry) {
                Ok(completion) => completions.push(completion),
                Err(undecodable) => {
                    // Its job is there, for whoever looks for it.
                    tracing::error!(%lane, tag, %undecodable, "a completion cannot be decoded");
                    let entries = [(tag.clone(), vec![entry.cursor])];
                    self.store.acknowledge(lane, &entries).await?;
                }
            }
        }
        Ok(completions)
    }

    /// Deletes completions, by tag and cursor: what is to be done about them is done. Those that
    /// are gone already are no error.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad tag or a cursor that no completion had; [`Error::Unavailable`].
    pub async fn acknowledge(
        &self,
        queue: &str,
        completions: &[(String, Vec<String>)],
    ) -> Result<(), Error> {
        let mut lanes: BTreeMap<u16, Vec<(&str, Vec<String>)>> = BTreeMap::new();
        for (tag, cursors) in completions {
            check_tag(tag)?;
            for cursor in cursors {
                let position = Position::read(cursor)?;
                let (partition, entry) = position.own.ok_or_else(bad_cursor)?;
                let entries = lanes.entry(partition).or_default();
                match entries.last_mut() {
                    Some((of, same)) if *of == tag.as_str() && same.len() < MAX_BATCH => {
                        same.push(entry)
                    }
                    _ => entries.push((tag.as_str(), vec![entry])),
                }
            }
        }
        let calls = lanes.into_iter().map(|(partition, entries)| async move {
            let lane = Lane::new(queue, partition)?;
            // As many tags as there are, and together not many more entries than a batch has.
            let mut batch: Vec<(String, Vec<String>)> = Vec::new();
            let mut size = 0;
            for (tag, entries) in entries {
                size += entries.len();
                batch.push((tag.to_owned(), entries));
                if size >= MAX_BATCH {
                    self.store.acknowledge(&lane, &batch).await?;
                    (batch, size) = (Vec::new(), 0);
                }
            }
            if !batch.is_empty() {
                self.store.acknowledge(&lane, &batch).await?;
            }
            Ok::<(), Error>(())
        });
        try_join_all(calls).await.map(drop)
    }
}

/// The lanes to read a tag from: those of the queue, and those of the cursor, which the queue may
/// have had before it got fewer partitions.
fn lanes_with(lanes: &[Lane], queue: &str, position: &Position) -> Vec<Lane> {
    let mut all = lanes.to_vec();
    for partition in position.partitions() {
        if !all.iter().any(|lane| lane.partition == partition) {
            let queue = queue.to_owned();
            all.push(Lane { queue, partition });
        }
    }
    all
}

fn completion(
    tag: &str,
    cursor: String,
    entry: &StoredCompletion,
) -> Result<Completion, codec::Undecodable> {
    let (id, header, result) = codec::unpack(&entry.packed)?;
    Ok(Completion {
        tag: tag.to_owned(),
        cursor,
        id,
        key: header.seed,
        status: entry.status,
        left_out: result.is_none() && codec::is_left_out(&entry.packed),
        result,
        error: header.error,
        retryable: header.retryable && entry.status == JobStatus::Dead,
        attempt: header.attempt,
        metrics: header.metrics,
        started_at: header.started_at,
        ended_at: header.ended_at,
    })
}

/// Where a tag's reader is: after an entry in each partition. As text `<partition>=<entry>,…`, that
/// of the completion itself first.
#[derive(Debug, Default)]
struct Position {
    own: Option<(u16, String)>,
    others: BTreeMap<u16, String>,
}

impl Position {
    fn read(cursor: &str) -> Result<Self, Error> {
        let mut position = Self::default();
        if cursor.is_empty() {
            return Ok(position);
        }
        for part in cursor.split(',') {
            let (partition, entry) = part.split_once('=').ok_or_else(bad_cursor)?;
            let partition = partition.parse().map_err(|_| bad_cursor())?;
            if entry.is_empty() {
                return Err(bad_cursor());
            }
            match &position.own {
                None => position.own = Some((partition, entry.to_owned())),
                Some(_) => drop(position.others.insert(partition, entry.to_owned())),
            }
        }
        Ok(position)
    }

    fn partitions(&self) -> impl Iterator<Item = u16> {
        let own = self.own.iter().map(|(partition, _)| *partition);
        own.chain(self.others.keys().copied())
    }

    fn after(&self, partition: u16) -> &str {
        match &self.own {
            Some((own, entry)) if *own == partition => entry,
            _ => self.others.get(&partition).map_or("", String::as_str),
        }
    }

    fn advance(&mut self, partition: u16, entry: String) {
        if let Some((of, before)) = self.own.replace((partition, entry)) {
            self.others.insert(of, before);
        }
        self.others.remove(&partition);
    }

    fn text(&self) -> String {
        let own = self.own.iter().map(|(partition, entry)| (partition, entry));
        let parts = own.chain(&self.others);
        let parts = parts.map(|(partition, entry)| format!("{partition}={entry}"));
        parts.collect::<Vec<_>>().join(",")
    }
}

fn bad_cursor() -> Error {
    Error::invalid("cursor", "is not one of a completion")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_its_completion_first_and_leads_on_in_every_partition() {
        let mut position = Position::read("").unwrap();
        assert_eq!(position.text(), "");
        for (partition, entry, text) in [
            (0, "1-0", "0=1-0"),
            (0, "2-0", "0=2-0"),
            (2, "1-1", "2=1-1,0=2-0"),
            (0, "3-0", "0=3-0,2=1-1"),
        ] {
            position.advance(partition, entry.to_owned());
            assert_eq!(position.text(), text);
            let read = Position::read(text).unwrap();
            assert_eq!(read.text(), text);
            assert_eq!(read.after(partition), entry);
        }
        for bad in ["x", "0", "0=", "0=1,", "x=1-0", "70000=1-0"] {
            assert!(Position::read(bad).is_err(), "{bad}");
        }
    }
}
