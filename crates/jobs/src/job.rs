//! A job: as it is submitted, and as a worker gets it.

use std::{collections::BTreeMap, time::Duration};

use backoff::Backoff;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Error, History, JobId, JobStatus, clock, completion};

/// What a job is about, or what came of it; the queue never looks inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A JSON text.
    Json(Bytes),
    /// Bytes of the kind's own making.
    Binary(Bytes),
}

impl Payload {
    /// The JSON text of a value.
    #[must_use]
    pub fn json(value: &serde_json::Value) -> Self {
        Self::Json(value.to_string().into())
    }

    /// The bytes, whatever they are.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// The priorities: 5 is the highest.
pub const PRIORITIES: std::ops::RangeInclusive<u8> = 1..=5;

/// The longest that a job may wait.
const MAX_DELAY: Duration = Duration::from_secs(366 * 86_400);

/// A job to be submitted.
#[derive(Debug, Clone)]
pub struct NewJob {
    /// The queue, by default `default`.
    pub queue: String,
    /// Its kind: what handles it.
    pub kind: String,
    /// What it is about; at most [`QueueOptions::max_payload`](crate::QueueOptions::max_payload)
    /// bytes.
    pub payload: Payload,
    /// 1 to 5; 5 is the highest, 3 the default.
    pub priority: u8,
    /// How long it is to wait before it may run.
    pub delay: Duration,
    /// How long one attempt may take; 60 s by default.
    pub timeout: Duration,
    /// How often it is tried at most, at least once; 5 by default.
    pub max_attempts: u32,
    /// When the result is no longer wanted, Unix milliseconds: the job is not started after that.
    pub deadline: Option<u64>,
    /// Its id is made from this, 1 to 256 bytes: as long as the job is kept, whatever became of it,
    /// nothing happens when it is submitted again. Excludes both keys.
    pub seed: Option<String>,
    /// Its end leaves an entry in the completions with this tag, for
    /// [`Jobs::completions`](crate::Jobs::completions): 1 to 32 of a-z, 0-9, `_` and `-`.
    pub completion: Option<String>,
    /// How long it waits after a failed attempt; the queue's own back-off by default.
    pub backoff: Option<Backoff>,
    /// Makes submitting it twice within a day make one job, within its queue.
    pub idempotency_key: Option<String>,
    /// The same, in a namespace that no client can name: of timers and of the parts of tasks.
    pub internal_key: Option<String>,
    /// Who submitted it, as the front end authenticated them.
    pub caller: Option<String>,
    /// Trace context: `traceparent`, `tracestate`.
    pub trace: BTreeMap<String, String>,
}

impl NewJob {
    /// A job of a kind with the defaults of every other field.
    #[must_use]
    pub fn new(kind: impl Into<String>, payload: Payload) -> Self {
        Self {
            queue: "default".to_owned(),
            kind: kind.into(),
            payload,
            priority: 3,
            delay: Duration::ZERO,
            timeout: Duration::from_secs(60),
            max_attempts: 5,
            deadline: None,
            seed: None,
            completion: None,
            backoff: None,
            idempotency_key: None,
            internal_key: None,
            caller: None,
            trace: BTreeMap::new(),
        }
    }

    pub(crate) fn check(&self, max_payload: usize) -> Result<(), Error> {
        let named = !self.kind.is_empty() && self.kind.len() <= 64;
        if !named || self.kind.chars().any(char::is_control) {
            return Err(Error::invalid("kind", "give 1 to 64 printable characters"));
        }
        if !PRIORITIES.contains(&self.priority) {
            return Err(Error::invalid(
                "priority",
                format!("{} is not 1 to 5", self.priority),
            ));
        }
        if self.max_attempts == 0 {
            return Err(Error::invalid(
                "max_attempts",
                "0 would never run, give at least 1",
            ));
        }
        if self.timeout.is_zero() {
            return Err(Error::invalid(
                "timeout",
                "0 leaves no time, give at least 1 ms",
            ));
        }
        if self.delay > MAX_DELAY {
            return Err(Error::invalid("delay", "is more than a year"));
        }
        let size = self.payload.bytes().len();
        if size > max_payload {
            let reason = format!("{size} bytes are more than the {max_payload} allowed");
            return Err(Error::invalid("payload", reason));
        }
        if matches!(&self.idempotency_key, Some(key) if key.is_empty() || key.len() > 256) {
            return Err(Error::invalid("idempotency_key", "give 1 to 256 bytes"));
        }
        // What begins with one is an internal key to the store.
        if matches!(&self.idempotency_key, Some(key) if key.chars().any(char::is_control)) {
            let reason = "has control characters, give printable ones";
            return Err(Error::invalid("idempotency_key", reason));
        }
        if let Some(seed) = &self.seed {
            if seed.is_empty() || seed.len() > 256 {
                return Err(Error::invalid("seed", "give 1 to 256 bytes"));
            }
            if self.key().is_some() {
                let reason = "excludes an idempotency key: it does the same";
                return Err(Error::invalid("seed", reason));
            }
        }
        if let Some(tag) = &self.completion {
            completion::check_tag(tag)?;
        }
        if matches!(&self.backoff, Some(backoff) if backoff.max > MAX_DELAY) {
            return Err(Error::invalid("backoff", "is more than a year"));
        }
        Ok(())
    }

    /// The key under which the store knows it. No client's begins with a control character.
    pub(crate) fn key(&self) -> Option<String> {
        match &self.internal_key {
            Some(key) => Some(format!("\u{1}{key}")),
            None => self.idempotency_key.clone(),
        }
    }

    /// What two submissions with one key must have in common, as a short text.
    pub(crate) fn fingerprint(&self) -> String {
        let form = matches!(self.payload, Payload::Json(_));
        let head = format!(
            "{}\n{form}\n{}\n{:?}\n{:?}\n{}\n",
            self.kind, self.priority, self.delay, self.timeout, self.max_attempts
        );
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(head.as_bytes());
        // Only where they are given: fingerprints outlive versions.
        if let Some(tag) = &self.completion {
            hash.update(format!("completion {tag}\n").as_bytes());
        }
        if let Some(Backoff { base, max, jitter }) = self.backoff {
            hash.update(format!("backoff {base:?} {max:?} {jitter}\n").as_bytes());
        }
        hash.update(self.payload.bytes());
        format!("{:032x}", hash.digest128())
    }

    /// The job, taken in at a time that its id has too, if it was not made from a seed.
    pub(crate) fn into_job(self, id: JobId, enqueued_at: u64) -> Job {
        let waits = !self.delay.is_zero();
        // That it was queued at once is what its time of submission says.
        let mut history = History::default();
        if waits {
            history.push(JobStatus::Scheduled, enqueued_at);
        }
        Job {
            id,
            payload: self.payload,
            header: Header {
                kind: self.kind,
                priority: self.priority,
                max_attempts: self.max_attempts,
                timeout_ms: clock::millis(self.timeout),
                deadline: self.deadline,
                seed: self.seed,
                completion: self.completion,
                backoff: self.backoff.map(PackedBackoff::from),
                idempotency_key: self.idempotency_key,
                internal_key: self.internal_key,
                caller: self.caller,
                trace: self.trace,
                enqueued_at,
                due_at: waits.then(|| enqueued_at.saturating_add(clock::millis(self.delay))),
                history,
                ..Header::default()
            },
        }
    }
}

/// A job as it is kept and handed to a worker.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it is about.
    pub payload: Payload,
    /// Everything else.
    pub header: Header,
}

/// Everything about a job but its id and payload. Times are Unix milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// What handles it.
    #[serde(rename = "k")]
    pub kind: String,
    /// 1 to 5; 5 is the highest.
    #[serde(rename = "p")]
    pub priority: u8,
    /// How many attempts were started, this one included: 0 before the first.
    #[serde(rename = "a")]
    pub attempt: u32,
    /// How often it is tried at most.
    #[serde(rename = "m")]
    pub max_attempts: u32,
    /// How long one attempt may take.
    #[serde(rename = "t")]
    pub timeout_ms: u64,
    /// When it was submitted.
    #[serde(rename = "q")]
    pub enqueued_at: u64,
    /// After this it is not started any more.
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<u64>,
    /// What its id was made from.
    #[serde(rename = "g", default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<String>,
    /// The tag of the completions that its end goes to.
    #[serde(rename = "y", default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// How long it waits after a failed attempt; the queue's own back-off where it does not say.
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    pub backoff: Option<PackedBackoff>,
    /// The submitter's key against doing it twice.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The key of the platform's own against doing it twice.
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub internal_key: Option<String>,
    /// Who submitted it.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// Trace context: `traceparent`, `tracestate`.
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trace: BTreeMap<String, String>,
    /// From when on its next attempt could start; the time of submission where it does not say.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<u64>,
    /// When its latest attempt started.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// What its latest failed attempt said.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its latest attempt failed in a way that may pass, and it had no more: of a job with a
    /// completion only.
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
    /// When it ended for good.
    #[serde(rename = "z", default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// What its latest attempt cost, as its worker measured it.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<serde_json::Value>,
    /// What happened to it.
    #[serde(rename = "h", default, skip_serializing_if = "History::is_empty")]
    pub history: History,
}

/// A back-off as three numbers: the first pause and the longest in ms, and the jitter in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackedBackoff(u64, u64, u16);

impl From<Backoff> for PackedBackoff {
    fn from(backoff: Backoff) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000"
        )]
        let jitter = (backoff.jitter.clamp(0.0, 1.0) * 1_000.0).round() as u16;
        Self(
            clock::millis(backoff.base),
            clock::millis(backoff.max),
            jitter,
        )
    }
}

impl From<PackedBackoff> for Backoff {
    fn from(PackedBackoff(base, max, jitter): PackedBackoff) -> Self {
        let [base, max] = [base, max].map(Duration::from_millis);
        Self::new(base, max, f64::from(jitter) / 1_000.0)
    }
}

impl Header {
    /// How long it waits after a failed attempt: by its own back-off or the queue's.
    pub(crate) fn backoff_or(&self, queue: &Backoff) -> Backoff {
        self.backoff.map_or(*queue, Backoff::from)
    }
}
