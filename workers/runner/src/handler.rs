//! One attempt of a job: its span, its cost, its outcome.

use jobs::{Failure, Job, JobContext, Payload};
use serde_json::Value;
use tracing::Instrument as _;
use work::{Attempt, Runtime};

use crate::{
    job_span,
    meter::{AttemptMeter, ms},
    metrics::Metrics,
};

/// Runs attempts of jobs.
pub(crate) struct AttemptHandler {
    pub(crate) runtime: Runtime,
    pub(crate) metrics: Metrics,
    pub(crate) host: Value,
}

#[async_trait::async_trait]
impl jobs::JobHandler for AttemptHandler {
    async fn run(&self, job: &Job, context: &JobContext) -> Result<Option<Payload>, Failure> {
        let mut meter = AttemptMeter::start(job, context, &self.host);
        let kind = work::kind(&job.header.kind);
        let word = kind.as_ref().map_or("unknown", |kind| kind.name);
        let mut attempt = self.metrics.begin(job.id.queue(), word, meter.overdue());
        // Lines of the log name the job.
        let logged = tracing::info_span!("job", job = %job.id, kind = word,
            attempt = job.header.attempt);
        let mut span = job_span::begin(job, word);
        attempt.traced(span.context());
        let facts = meter.facts.clone();
        let work = async {
            let kind = kind.map_err(|error| Failure::permanent(error.to_string()))?;
            let attempt = Attempt {
                job,
                context,
                runtime: &self.runtime,
                facts: &facts,
            };
            let result = kind.run(&attempt).await?;
            Ok(Some(Payload::json(&result)))
        };
        let ended = span.run(meter.run(work.instrument(logged.clone()))).await;
        let ended = ended.map_err(redacted);
        let execution_time_ms = ms(meter.elapsed());
        let queue_time_ms = ms(meter.queued());
        let say = || match &ended {
            Ok(_) => {
                tracing::info!(execution_time_ms, queue_time_ms, "job succeeded");
                "succeeded"
            }
            Err(Failure::Retryable(error) | Failure::RetryAfter(error, _)) => {
                tracing::warn!(execution_time_ms, queue_time_ms, error, "attempt failed");
                "failed"
            }
            Err(Failure::Permanent(error)) => {
                tracing::warn!(
                    execution_time_ms,
                    queue_time_ms,
                    error,
                    "job failed for good"
                );
                "dead"
            }
            Err(Failure::Postponed(delay)) => {
                tracing::debug!(?delay, "job postponed");
                "postponed"
            }
            Err(Failure::Cancelled) => {
                tracing::info!(execution_time_ms, queue_time_ms, "job called off");
                "cancelled"
            }
        };
        let outcome = span.in_scope(|| logged.in_scope(say));
        if let "failed" | "dead" = outcome {
            span.fail(outcome);
        }
        attempt.end(outcome);
        ended
    }
}

/// A failure without passwords, since its text is kept and shown to people.
fn redacted(failure: Failure) -> Failure {
    let redact = |error: String| telemetry::redact(&error).into_owned();
    match failure {
        Failure::Retryable(error) => Failure::Retryable(redact(error)),
        Failure::RetryAfter(error, after) => Failure::RetryAfter(redact(error), after),
        Failure::Permanent(error) => Failure::Permanent(redact(error)),
        other @ (Failure::Postponed(_) | Failure::Cancelled) => other,
    }
}
