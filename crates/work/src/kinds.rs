//! The table of the kinds of jobs.
//!
//! To add a kind, write its file in `kinds/` and add its row to [`KINDS`]. The gateway, `meshctl`,
//! the scheduler, the runner and the check of the guides' tables read the table.

mod call;
mod http;
mod pipeline;
mod task;
#[cfg(test)]
mod tests;

use std::{fmt, pin::Pin};

use jobs::{Failure, NewJob, Timer};
use serde_json::{Map, Value};

use crate::{Attempt, Description, FieldError, JobKind};
pub use call::Call;
pub use http::{Http, MAX_TIMEOUT};
pub use pipeline::Pipeline;
pub use task::{Subtask, Task};

/// Every kind.
pub const KINDS: &[KindRow] = &[
    KindRow::of::<Call>(),
    KindRow::of::<Http>(),
    KindRow::of::<Pipeline>(),
    KindRow::of::<Task>(),
];

/// An attempt under way.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Value, Failure>> + Send + 'a>>;

/// A row of the table of kinds.
#[derive(Clone, Copy)]
pub struct KindRow {
    /// Its name, as jobs have it.
    pub name: &'static str,
    /// What people read about it.
    pub description: Description,
    read: fn(&Value) -> Result<NewJob, FieldError>,
    complete: fn(&mut Map<String, Value>, Option<&str>),
    for_firing: fn(&Value, &Value, &str) -> Result<NewJob, FieldError>,
    run: for<'a> fn(&'a Value, &'a Attempt<'a>) -> Running<'a>,
}

impl KindRow {
    const fn of<K: JobKind>() -> Self {
        Self {
            name: K::NAME,
            description: K::DESCRIPTION,
            read: |payload| Ok(K::read(payload)?.new_job()),
            complete: K::complete,
            for_firing: |payload, given, key| {
                Ok(K::read(payload)?.for_firing(given, key).new_job())
            },
            run: |payload, attempt| {
                Box::pin(async move {
                    let read = K::read(payload).map_err(|error| permanent(&error))?;
                    read.run(attempt).await
                })
            },
        }
    }

    /// The job of a payload.
    ///
    /// # Errors
    /// With the first field that is invalid.
    pub fn read(&self, payload: &Value) -> Result<NewJob, FieldError> {
        (self.read)(payload)
    }

    /// The job of a payload that may leave out what [`JobKind::complete`] fills in.
    ///
    /// # Errors
    /// With the first field that is invalid.
    pub fn complete(&self, payload: &Value, key: Option<&str>) -> Result<NewJob, FieldError> {
        self.read(&self.completed(payload, key))
    }

    /// Runs one attempt of a job of this kind.
    ///
    /// # Errors
    /// A [`Failure`], which says whether and when to try again.
    pub async fn run(&self, attempt: &Attempt<'_>) -> Result<Value, Failure> {
        let payload = serde_json::from_slice(attempt.job.payload.bytes()).map_err(|error| {
            let error = telemetry::humanize(&error.to_string()).into_owned();
            permanent(&FieldError::new("payload", format!("is no JSON: {error}")))
        })?;
        attempt
            .unless_task_cancelled((self.run)(&payload, attempt))
            .await
    }

    fn completed(&self, payload: &Value, key: Option<&str>) -> Value {
        let mut payload = payload.clone();
        if let Some(fields) = payload.as_object_mut() {
            (self.complete)(fields, key);
        }
        payload
    }
}

impl fmt::Debug for KindRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KindRow").field(&self.name).finish()
    }
}

/// A payload that cannot be read now cannot be read later.
fn permanent(error: &FieldError) -> Failure {
    Failure::permanent(error.to_string())
}

/// The kind with this name.
///
/// # Errors
/// For the field `kind`, with the names that exist.
pub fn kind(name: &str) -> Result<&'static KindRow, FieldError> {
    let row = KINDS.iter().find(|row| row.name == name);
    row.ok_or_else(|| {
        let reason = format!("{name:?} is none, use one of {}", kind_names());
        FieldError::new("kind", reason)
    })
}

/// The names of all kinds, separated by commas.
#[must_use]
pub fn kind_names() -> String {
    let names: Vec<&str> = KINDS.iter().map(|row| row.name).collect();
    names.join(", ")
}

/// The job of a timer for the time that a key names. Each firing is a run of its own.
///
/// # Errors
/// With the first field that is invalid.
pub fn timer_job(timer: &Timer, key: &str) -> Result<NewJob, FieldError> {
    let row = kind(&timer.kind)?;
    let payload = row.completed(&timer.payload, Some(key));
    let payload = (row.for_firing)(&payload, &timer.payload, key)?.payload;
    Ok(NewJob {
        payload,
        ..timer.job()
    })
}
