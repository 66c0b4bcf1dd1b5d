//! Listing jobs, page by page.

use serde::{Deserialize, Serialize};

use crate::{Error, Jobs, Lane, Record, Status};

/// The most jobs on a page.
const MAX_PAGE: usize = 1_000;
/// How many pages of the store one call reads, when its filter lets few jobs through.
const MAX_READS: usize = 32;

/// Which jobs to list; `None` lets all through.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this queue.
    pub queue: Option<String>,
    /// With this status.
    pub status: Option<Status>,
    /// Of this kind.
    pub kind: Option<String>,
}

/// A page of jobs. It may hold fewer than asked for, or none, while there are more pages.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The jobs: by queue, then running, queued, failed, scheduled, dead, succeeded, cancelled.
    pub jobs: Vec<Record>,
    /// Where the next page begins; none after the last.
    pub next: Option<String>,
}

/// Where a page begins; opaque to callers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Cursor {
    lane: String,
    status: String,
    after: String,
    /// How many jobs of the store's page were told already.
    skip: usize,
}

impl Cursor {
    fn encode(&self) -> String {
        let json = serde_json::to_vec(self).expect("a cursor is four plain fields");
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
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Listing, Error> {
        let limit = limit.clamp(1, MAX_PAGE);
        let start = match cursor {
            None => None,
            Some(text) => {
                let start = Cursor::decode(text);
                Some(start.ok_or_else(|| Error::invalid("cursor", "is not one of a listing"))?)
            }
        };
        let lanes = match &filter.queue {
            Some(queue) => self.lanes_of(queue)?,
            None => self.store.lanes().await?,
        };
        let statuses = Status::ALL.into_iter();
        let statuses = statuses.filter(|status| filter.status.is_none_or(|only| only == *status));
        let statuses: Vec<Status> = statuses.collect();
        let places: Vec<(&Lane, Status)> = lanes
            .iter()
            .flat_map(|lane| statuses.iter().map(move |status| (lane, *status)))
            .collect();
        let mut place = 0;
        let mut at = Cursor::default();
        if let Some(start) = start {
            let named = |(lane, status): &(&Lane, Status)| {
                lane.to_string() == start.lane && status.as_str() == start.status
            };
            place = places.iter().position(named).ok_or_else(|| {
                Error::invalid("cursor", "is one of a listing with another filter")
            })?;
            at = start;
        }
        let mut jobs = Vec::new();
        let mut reads = 0;
        while let Some((lane, status)) = places.get(place) {
            (at.lane, at.status) = (lane.to_string(), status.as_str().to_owned());
            if jobs.len() == limit || reads == MAX_READS {
                return Ok(Listing {
                    jobs,
                    next: Some(at.encode()),
                });
            }
            reads += 1;
            let (page, next) = self.store.list(lane, *status, &at.after, limit).await?;
            for (index, found) in page.iter().enumerate().skip(at.skip) {
                if jobs.len() == limit {
                    at.skip = index;
                    return Ok(Listing {
                        jobs,
                        next: Some(at.encode()),
                    });
                }
                let record = Record::of(found, &self.store.name())?;
                if filter
                    .kind
                    .as_ref()
                    .is_none_or(|kind| *kind == record.header.kind)
                {
                    jobs.push(record);
                }
            }
            at.skip = 0;
            match next {
                Some(next) => at.after = next,
                None => {
                    at.after.clear();
                    place += 1;
                }
            }
        }
        Ok(Listing { jobs, next: None })
    }
}
