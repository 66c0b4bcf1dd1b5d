//! A timer: a job to be submitted by the clock.

mod due;
mod pattern;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, JobId, NewJob, Payload, clock};
use pattern::Pattern;

/// When a timer fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// At the times of a cron pattern, in the timer's time zone: five fields, six with seconds
    /// first, seven with a year last.
    Cron(String),
    /// Every so many milliseconds, at least 100, from when the timer was set.
    Every(u64),
}

/// What to do about times that went by while no scheduler ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedPolicy {
    /// Fire once for all of them.
    #[default]
    Once,
    /// Fire for each of them, the latest 100 at most.
    All,
    /// Leave out what is more than a minute late.
    Skip,
}

impl MissedPolicy {
    /// The word for it in every answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::All => "all",
            Self::Skip => "skip",
        }
    }
}

/// The latest job of a timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The time that it was for, Unix milliseconds.
    pub at: u64,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Why there is no job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Since when a scheduler has a timer in its configuration, and when one last said so. Times are
/// Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// When the configuration that it is of was read.
    pub since: u64,
    /// When a scheduler that has it last said so.
    pub at: u64,
}

/// A job to be submitted by the clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its name; setting another of this name replaces it.
    pub name: String,
    /// When it fires.
    pub when: Schedule,
    /// The time zone of a cron pattern, by its name in the IANA database.
    #[serde(default = "utc")]
    pub timezone: String,
    /// What to do about missed times.
    #[serde(default)]
    pub missed: MissedPolicy,
    /// The queue of its jobs.
    pub queue: String,
    /// The kind of its jobs.
    pub kind: String,
    /// What its jobs are about, as JSON.
    pub payload: serde_json::Value,
    /// The priority of its jobs.
    pub priority: u8,
    /// How often each is tried.
    pub max_attempts: u32,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// When it fires next, Unix milliseconds; setting it computes this. None when it has no
    /// further time.
    #[serde(default)]
    pub next_at: Option<u64>,
    /// For how many times it has fired.
    #[serde(default)]
    pub fired: u64,
    /// Its latest job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Firing>,
    /// When it is of a scheduler's configuration: such a timer is fired by schedulers that have it
    /// only. Others are fired by every scheduler.
    #[serde(rename = "kept", default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Ownership>,
    /// It was removed by hand, though a scheduler has it: it does not fire until its entry changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub removed: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Timer {
    /// A timer with the defaults of a job in everything else.
    #[must_use]
    pub fn new(name: &str, when: Schedule, kind: &str, payload: serde_json::Value) -> Self {
        let job = NewJob::new(kind, Payload::Json(Bytes::new()));
        Self {
            name: name.to_owned(),
            when,
            timezone: utc(),
            missed: MissedPolicy::default(),
            queue: job.queue,
            kind: job.kind,
            payload,
            priority: job.priority,
            max_attempts: job.max_attempts,
            timeout_ms: clock::millis(job.timeout),
            next_at: None,
            fired: 0,
            last: None,
            ownership: None,
            removed: false,
        }
    }

    /// Whether it can be a timer: its name, its times and the job that it makes.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field that will not do.
    pub fn check(&self) -> Result<(), Error> {
        if self.name.is_empty() || self.name.len() > 128 {
            return Err(Error::invalid("name", "give 1 to 128 bytes"));
        }
        if self.name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "has control characters"));
        }
        match &self.when {
            Schedule::Every(period) if *period < 100 => {
                let reason = format!("{period} ms is less than 100 ms");
                return Err(Error::invalid("every", reason));
            }
            Schedule::Every(_) => {}
            Schedule::Cron(pattern) => drop(Pattern::new(pattern, &self.timezone)?),
        }
        self.job().check(usize::MAX)
    }

    /// Its job, about its payload as it is written.
    #[must_use]
    pub fn job(&self) -> NewJob {
        let mut job = NewJob::new(self.kind.clone(), Payload::json(&self.payload));
        job.queue.clone_from(&self.queue);
        job.priority = self.priority;
        job.max_attempts = self.max_attempts;
        job.timeout = std::time::Duration::from_millis(self.timeout_ms);
        job
    }

    /// Whether another one has the same times and makes the same jobs.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let entry = |timer: &Self| Self {
            next_at: None,
            fired: 0,
            last: None,
            ownership: None,
            removed: false,
            ..timer.clone()
        };
        entry(self) == entry(other)
    }

    /// Whether another one has the same times.
    pub(crate) fn has_times_of(&self, other: &Self) -> bool {
        self.when == other.when && self.timezone == other.timezone
    }

    pub(crate) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("a timer has only string keys")
            .into()
    }

    pub(crate) fn decode(text: &Bytes) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }
}
