//! Names: of a job, and of the lane (queue and partition) that it lives in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Error, clock};

/// The longest name of a queue, in bytes.
const MAX_QUEUE: usize = 64;

/// One partition of one queue: everything of a lane is kept together, in Redis in one slot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The queue.
    pub queue: String,
    /// The partition, from 0.
    pub partition: u16,
}

impl Lane {
    /// A lane of a queue whose name is lower-case letters, digits, `_` and `-`, at most 64.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another name.
    pub fn new(queue: &str, partition: u16) -> Result<Self, Error> {
        if !is_queue(queue) {
            return Err(Error::invalid(
                "queue",
                format!("{queue:?} is no name, use 1 to 64 of a-z, 0-9, _ and -"),
            ));
        }
        let queue = queue.to_owned();
        Ok(Self { queue, partition })
    }
}

fn is_queue(name: &str) -> bool {
    let plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
    (1..=MAX_QUEUE).contains(&name.len()) && name.bytes().all(plain)
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.queue, self.partition)
    }
}

impl FromStr for Lane {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parts = text.split_once(':');
        let parsed = parts.and_then(|(queue, part)| Some((queue, part.parse().ok()?)));
        let (queue, partition) = parsed
            .ok_or_else(|| Error::invalid("lane", format!("{text:?} is not queue:number")))?;
        Self::new(queue, partition)
    }
}

/// A job's id, `<queue>.<partition>.<27 hex digits>`: it says where the job is kept, and sorts by
/// the time it was made within a lane, unless it was made from a seed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// A new id in a lane, made by this machine's clock: one for a probe or a test. Jobs get
    /// theirs by the clock of their store.
    #[must_use]
    pub fn new(lane: &Lane) -> Self {
        Self::at(lane, clock::now())
    }

    /// A new id in a lane: 44 bits of milliseconds and 64 random ones.
    pub(crate) fn at(lane: &Lane, now: u64) -> Self {
        let chance = rand::random::<u64>();
        let now = now & ((1 << 44) - 1);
        Self(format!(
            "{}.{}.{now:011x}{chance:016x}",
            lane.queue, lane.partition
        ))
    }

    /// The id in a lane that a seed stands for, always the same: 107 bits of its hash. The highest
    /// of the 44 bits of time is set, which no clock does before the year 2248.
    #[must_use]
    pub fn chosen(lane: &Lane, seed: &str) -> Self {
        let hash = xxhash_rust::xxh3::xxh3_128(seed.as_bytes());
        let hash = (hash & ((1 << 107) - 1)) | (1 << 107);
        Self(format!("{}.{}.{hash:027x}", lane.queue, lane.partition))
    }

    /// Whether it was made from a seed.
    pub(crate) fn is_chosen(&self) -> bool {
        self.time_bits() >> 43 == 1
    }

    /// The id that packed bytes begin with, if it is one of the lane.
    pub(crate) fn named_in(lane: &Lane, packed: &[u8]) -> Option<Self> {
        let end = packed.iter().position(|byte| *byte == b'\n')?;
        let id: Self = std::str::from_utf8(&packed[..end]).ok()?.parse().ok()?;
        id.is_in(lane).then_some(id)
    }

    /// An id for what names none, made from that of its entry in a stream, `<ms>-<number>`; as the
    /// scripts make it.
    pub(crate) fn of_entry(lane: &Lane, entry: &str) -> Option<Self> {
        let (ms, number) = entry.split_once('-')?;
        let (ms, number): (u64, u64) = (ms.parse().ok()?, number.parse().ok()?);
        let (ms, number) = (ms % (1 << 44), number % (1 << 53));
        let (queue, partition) = (&lane.queue, lane.partition);
        Some(Self(format!("{queue}.{partition}.{ms:011x}{number:016x}")))
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The queue.
    #[must_use]
    pub fn queue(&self) -> &str {
        self.parts().0
    }

    /// The queue and partition.
    #[must_use]
    pub fn lane(&self) -> Lane {
        let (queue, partition) = self.parts();
        let queue = queue.to_owned();
        Lane { queue, partition }
    }

    /// Whether the job lives in the lane.
    pub(crate) fn is_in(&self, lane: &Lane) -> bool {
        self.parts() == (lane.queue.as_str(), lane.partition)
    }

    fn parts(&self) -> (&str, u16) {
        let mut parts = self.0.split('.');
        let queue = parts.next().unwrap_or_default();
        let partition = parts.next().and_then(|part| part.parse().ok());
        (queue, partition.unwrap_or(0))
    }

    /// When the id was made, Unix milliseconds by the store's clock; 0 if it was made from a seed.
    #[must_use]
    pub fn made_at(&self) -> u64 {
        if self.is_chosen() {
            return 0;
        }
        self.time_bits()
    }

    fn time_bits(&self) -> u64 {
        let unique = self
            .0
            .rsplit('.')
            .next()
            .and_then(|unique| unique.get(..11));
        unique
            .and_then(|ms| u64::from_str_radix(ms, 16).ok())
            .unwrap_or(0)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for JobId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        // One spelling per id: `01` would be another name for partition 1.
        let partition = |part: &str| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            digits && (part == "0" || !part.starts_with('0')) && part.parse::<u16>().is_ok()
        };
        let mut parts = text.split('.');
        let id = text.to_owned();
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(queue), Some(part), Some(unique), None)
                if is_queue(queue)
                    && partition(part)
                    && unique.len() == 27
                    && unique.bytes().all(hex) =>
            {
                Ok(Self(id))
            }
            // An id of another form names no job.
            _ => Err(Error::NotFound { id }),
        }
    }
}

impl TryFrom<String> for JobId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_its_lane_and_survives_text() {
        let lane = Lane::new("work_queue", 7).unwrap();
        let id = JobId::new(&lane);
        assert_eq!(id.lane(), lane);
        assert_eq!(id.as_str().parse::<JobId>().unwrap(), id);
        assert!(clock::now() - id.made_at() < 10_000);
        assert_eq!("work_queue:7".parse::<Lane>().unwrap(), lane);
    }

    #[test]
    fn a_chosen_id_is_the_same_for_the_same_seed_and_lane_and_has_no_time() {
        let lane = Lane::new("default", 0).unwrap();
        let id = JobId::chosen(&lane, "run.node.0.1");
        assert_eq!(id, JobId::chosen(&lane, "run.node.0.1"));
        assert_ne!(id, JobId::chosen(&lane, "run.node.0.2"));
        assert_ne!(
            id,
            JobId::chosen(&Lane::new("default", 1).unwrap(), "run.node.0.1")
        );
        assert_eq!(id.as_str().parse::<JobId>().unwrap(), id);
        assert_eq!((id.lane(), id.made_at()), (lane.clone(), 0));
        assert!(id.is_chosen() && !JobId::new(&lane).is_chosen());
    }

    #[test]
    fn a_foreign_id_names_no_job() {
        for id in [
            "",
            "x",
            "a.b.c",
            "default.00.000000000000000000000000000",
            "D.0.1",
            "{a}.0.1",
        ] {
            assert!(
                matches!(id.parse::<JobId>(), Err(Error::NotFound { .. })),
                "{id}"
            );
        }
    }
}
