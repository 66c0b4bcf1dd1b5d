//! The kind `pipeline`: research, code and review towards a goal.

use ::pipeline::{Progress, Run};
use jobs::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Attempt, Description, FieldError, JobKind,
    check::{check_id, check_text},
    ids::IdSeed,
};

/// The longest prefix of a run's id that leaves room for the rest.
const MAX_RUN_PREFIX: usize = 48;

/// A run of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What to find out and to draft.
    pub goal: String,
    /// Names the run and its folder: letters, digits, `-` and `_`.
    pub run_id: String,
}

impl Pipeline {
    /// A new run. Under an idempotency key it has the same id each time.
    #[must_use]
    pub fn new(goal: &str, idempotency_key: Option<&str>) -> Self {
        Self {
            goal: goal.to_owned(),
            run_id: IdSeed::new(idempotency_key, goal).id("run", 0),
        }
    }
}

impl JobKind for Pipeline {
    const NAME: &'static str = "pipeline";
    const DESCRIPTION: Description = Description {
        does: "researches, drafts and reviews towards a goal",
        payload: "`goal`",
        result: "the report ([what the steps leave](pipeline.md))",
        retried: "an agent or a tool is unavailable, the time is up; finished steps are not repeated",
        dead: "an agent refuses",
        example: r#"{"kind": "pipeline", "payload": {"goal": "How does a router drain?"}, "timeout_ms": 600000}"#,
    };

    fn check(&self) -> Result<(), FieldError> {
        check_text("goal", &self.goal)?;
        check_id("run_id", &self.run_id)
    }

    fn complete(payload: &mut Map<String, Value>, key: Option<&str>) {
        if let (None, Some(goal)) = (
            payload.get("run_id"),
            payload.get("goal").and_then(Value::as_str),
        ) {
            let run_id = Self::new(goal, key).run_id;
            payload.insert("run_id".to_owned(), run_id.into());
        }
    }

    /// A `run_id` that the timer's payload has is the prefix of the ids of its runs.
    fn for_firing(self, given: &Value, key: &str) -> Self {
        let Some(prefix) = given.get("run_id") else {
            return self;
        };
        let own = Self::new(&self.goal, Some(key)).run_id;
        let own = own.split_once('-').map_or(own.as_str(), |(_, own)| own);
        let prefix = prefix.as_str().unwrap_or("run").chars();
        let prefix: String = prefix.take(MAX_RUN_PREFIX).collect();
        Self {
            run_id: format!("{prefix}-{own}"),
            ..self
        }
    }

    /// Continues the run where an earlier attempt left it. Its result is the report.
    async fn run(&self, attempt: &Attempt<'_>) -> Result<Value, Failure> {
        let run = Run {
            run_id: self.run_id.clone(),
            goal: self.goal.clone(),
            deadline: Some(Instant::now() + attempt.time_left()),
        };
        let (sender, mut updates) = watch::channel(0);
        let mut progress = |progress: Progress| {
            sender.send_replace(progress.percent);
        };
        // A job that is cancelled drops this future, and with it the run.
        let cancel = CancellationToken::new();
        let running = Box::pin(::pipeline::run(
            &attempt.runtime.mesh,
            &run,
            &mut progress,
            &cancel,
        ));
        let reporting = async {
            while updates.changed().await.is_ok() {
                let percent = *updates.borrow_and_update();
                attempt.report_progress(&format!("{percent}%")).await;
            }
            // The sender lives as long as the run.
            std::future::pending().await
        };
        let report = tokio::select! {
            report = running => report,
            never = reporting => never,
        };
        let report = report.map_err(|error| match error.retry_after() {
            _ if !error.is_retryable() => Failure::permanent(error.to_string()),
            Some(after) => Failure::retry_after(error.to_string(), after),
            None => Failure::retryable(error.to_string()),
        })?;
        attempt.report_progress("100%").await;
        let report =
            serde_json::to_value(report).map_err(|error| Failure::permanent(error.to_string()))?;
        for (name, value) in report["metrics"].as_object().into_iter().flatten() {
            attempt.facts.set(name, value.clone());
        }
        Ok(report)
    }
}
