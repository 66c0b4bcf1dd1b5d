//! What a kind of job is.

use jobs::{Failure, NewJob, Payload};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Attempt, FieldError};

/// A kind of job. The type that implements it is the payload of its jobs.
pub trait JobKind: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name, as jobs have it.
    const NAME: &'static str;
    /// What people read about it.
    const DESCRIPTION: Description;

    /// Checks what the types of the fields cannot say.
    ///
    /// # Errors
    /// With the first field that is invalid.
    fn check(&self) -> Result<(), FieldError>;

    /// Fills in what a submitter may leave out. The result is the same each time under one
    /// idempotency key.
    fn complete(_payload: &mut Map<String, Value>, _key: Option<&str>) {}

    /// The payload for one firing of a timer, which the key names. `given` is the timer's own
    /// payload, before it was completed.
    #[must_use]
    fn for_firing(self, _given: &Value, _key: &str) -> Self {
        self
    }

    /// Runs one attempt. Its result is the job's.
    fn run(&self, attempt: &Attempt<'_>) -> impl Future<Output = Result<Value, Failure>> + Send;

    /// Reads a payload and checks it.
    ///
    /// # Errors
    /// With the first field that is invalid.
    fn read(payload: &Value) -> Result<Self, FieldError> {
        if !payload.is_object() {
            return Err(FieldError::new("payload", "has to be an object"));
        }
        let read: Self =
            serde_path_to_error::deserialize(payload).map_err(|error| FieldError::of(&error))?;
        read.check()?;
        Ok(read)
    }

    /// A job with this payload and the defaults of every other field. The payload is not checked.
    ///
    /// # Panics
    /// Never: payloads have only string keys.
    #[must_use]
    fn new_job(&self) -> NewJob {
        let value = serde_json::to_value(self).expect("payloads have only string keys");
        NewJob::new(Self::NAME, Payload::json(&value))
    }

    /// A job with this payload, checked.
    ///
    /// # Errors
    /// With the first field that is invalid.
    fn checked_job(&self) -> Result<NewJob, FieldError> {
        self.check()?;
        Ok(self.new_job())
    }
}

/// What people read about a kind, in Markdown.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// What a job does, such as "sends a request to a server outside the mesh".
    pub does: &'static str,
    /// The fields of its payload.
    pub payload: &'static str,
    /// What its result is.
    pub result: &'static str,
    /// The failures after which it is retried.
    pub retried: &'static str,
    /// The failures after which it becomes a dead letter.
    pub dead: &'static str,
    /// A submission, as JSON.
    pub example: &'static str,
}
