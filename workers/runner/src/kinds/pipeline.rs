//! The kind `pipeline`.

use std::time::Duration;

use ::pipeline::{Progress, Run};
use channel::Mesh;
use jobs::{Failure, JobContext};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use work::Pipeline;

use crate::meter::AttemptFacts;

/// Carries out the run of a job, from where an earlier attempt left it: its result is the report.
pub(crate) async fn run(
    mesh: &Mesh,
    order: &Pipeline,
    left: Duration,
    context: &JobContext,
    facts: &AttemptFacts,
) -> Result<Value, Failure> {
    let run = Run {
        run_id: order.run_id.clone(),
        goal: order.goal.clone(),
        deadline: Some(Instant::now() + left),
    };
    let (sender, mut updates) = watch::channel(0);
    let mut progress = |progress: Progress| {
        sender.send_replace(progress.percent);
    };
    // A job that is called off drops this future, and with it the run.
    let cancel = CancellationToken::new();
    let running = Box::pin(::pipeline::run(mesh, &run, &mut progress, &cancel));
    let reporting = async {
        while updates.changed().await.is_ok() {
            let percent = *updates.borrow_and_update();
            report_progress(context, percent).await;
        }
        // The sender lives as long as the run.
        std::future::pending().await
    };
    let report = tokio::select! {
        report = running => report,
        never = reporting => never,
    };
    let report = report.map_err(|error| match error.is_retryable() {
        true => match error.retry_after() {
            Some(after) => Failure::retry_after(error.to_string(), after),
            None => Failure::retryable(error.to_string()),
        },
        false => Failure::permanent(error.to_string()),
    })?;
    report_progress(context, 100).await;
    let report =
        serde_json::to_value(report).map_err(|error| Failure::permanent(error.to_string()))?;
    for (name, value) in report["metrics"].as_object().into_iter().flatten() {
        facts.set(name, value.clone());
    }
    Ok(report)
}

async fn report_progress(context: &JobContext, percent: u8) {
    if let Err(error) = context.progress(&format!("{percent}%")).await {
        tracing::debug!(%error, "progress not told");
    }
}
