//! Listing jobs, page by page.

use serde::{Deserialize, Serialize};

use crate::{Error, JobRecord, JobStatus, Jobs, Lane};

/// The most jobs on a page.
const MAX_PAGE: usize = 1_000;
/// How many pages of the store one call reads, when its filter lets few jobs through.
const MAX_READS: usize = 32;

/// Which jobs to list; `None` lets all through.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    /// Of this queue.
    pub queue: Option<String>,
    /// With this status.
    pub status: Option<JobStatus>,
    /// Of this kind.
    pub kind: Option<String>,
}

/// A page of jobs. It may hold fewer jobs than `limit`, or none, while there are more pages.
#[derive(Debug, Clone)]
pub struct JobListing {
    /// The jobs, by queue and partition. Those of one status stand in the order of that: the next
    /// in line first, ended ones latest first. All of them stand latest submitted first, in an
    /// order that no move changes: a job that is there throughout is on one of the pages, once.
    pub jobs: Vec<JobRecord>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// Where a page begins; opaque to callers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Cursor {
    lane: String,
    /// Empty for all.
    status: String,
    after: String,
}

impl Cursor {
    fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("a cursor is three plain fields");
        json.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn decode(text: &str) -> Option<Self> {
        let pairs = text.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(pair, 16).ok()
        });
        serde_json::from_slice(&pairs.collect::<Option<Vec<u8>>>()?).ok()
    }
}

impl Jobs {
    /// Lists jobs: at most `limit`, from where a cursor says or from the beginning.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no listing gave; [`Error::Unavailable`].
    pub async fn list(
        &self,
        filter: &JobFilter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<JobListing, Error> {
        let limit = limit.clamp(1, MAX_PAGE);
        let lanes = match &filter.queue {
            Some(queue) => self.lanes_ever(queue).await?,
            None => self.store.lanes().await?,
        };
        let mut lanes = lanes.as_slice();
        let mut after = String::new();
        if let Some(cursor) = cursor {
            let (lane, position) = place(filter, cursor)?;
            lanes = &lanes[lanes.partition_point(|known| *known < lane)..];
            if lanes.first() == Some(&lane) {
                after = position;
            }
        }
        let (mut jobs, mut reads) = (Vec::new(), 0);
        while let Some((lane, others)) = lanes.split_first() {
            if jobs.len() == limit || reads == MAX_READS {
                let next = Cursor {
                    lane: lane.to_string(),
                    status: word(filter).to_owned(),
                    after,
                };
                let next = Some(next.encode());
                return Ok(JobListing { jobs, next });
            }
            reads += 1;
            let page = self.store.list(lane, filter.status, &after, limit).await?;
            let (last, mut rest) = (page.next, page.jobs.into_iter());
            let mut next = None;
            while jobs.len() < limit
                && let Some(listed) = rest.next()
            {
                let kind = filter.kind.as_ref();
                match JobRecord::of(&listed.found, &self.store.name()) {
                    Ok(record) if kind.is_none_or(|kind| *kind == record.header.kind) => {
                        jobs.push(record);
                    }
                    Ok(_) => {}
                    // One that cannot be read must not hide the others.
                    Err(error) => tracing::warn!(%lane, %error, "a job is left out of a list"),
                }
                next = Some(listed.position);
            }
            if rest.len() == 0 {
                next = last;
            }
            match next {
                Some(next) => after = next,
                None => {
                    after.clear();
                    lanes = others;
                }
            }
        }
        Ok(JobListing { jobs, next: None })
    }
}

impl Jobs {
    /// The lanes of a queue, in order, and those that it had before it got fewer partitions.
    pub(crate) async fn lanes_ever(&self, queue: &str) -> Result<Vec<Lane>, Error> {
        let mut lanes = self.lanes_of(queue)?;
        let known = self.store.lanes().await?;
        lanes.extend(known.into_iter().filter(|lane| lane.queue == queue));
        lanes.sort();
        lanes.dedup();
        Ok(lanes)
    }
}

fn word(filter: &JobFilter) -> &'static str {
    filter.status.map_or("", JobStatus::as_str)
}

/// The lane that a page begins in, and where.
fn place(filter: &JobFilter, cursor: &str) -> Result<(Lane, String), Error> {
    let invalid = || Error::invalid("cursor", "is not one of a listing");
    let cursor = Cursor::decode(cursor).ok_or_else(invalid)?;
    let lane: Lane = cursor.lane.parse().map_err(|_| invalid())?;
    let of_queue = filter
        .queue
        .as_ref()
        .is_none_or(|queue| *queue == lane.queue);
    if !of_queue || cursor.status != word(filter) {
        let reason = "is one of a listing with another filter";
        return Err(Error::invalid("cursor", reason));
    }
    Ok((lane, cursor.after))
}
