//! The kind `pipeline`.

use std::time::Duration;

use ::pipeline::{Progress, Run};
use channel::Mesh;
use jobs::{Context, Failure};
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;
use work::Pipeline;

use crate::meter::Facts;

/// Carries out the run of a job, from where an earlier attempt left it: its result is the report.
pub(crate) async fn run(
    mesh: &Mesh,
    order: &Pipeline,
    left: Duration,
    context: &Context,
    facts: &Facts,
) -> Result<Value, Failure> {
    let run = Run {
        run_id: order.run_id.clone(),
        goal: order.goal.clone(),
        deadline: Some(Instant::now() + left),
    };
    let (sender, mut news) = watch::channel(0);
    let mut progress = |progress: Progress| {
        sender.send_replace(progress.percent);
    };
    // A job that is called off drops this future, and with it the run.
    let cancel = CancellationToken::new();
    let running = Box::pin(::pipeline::run(mesh, &run, &mut progress, &cancel));
    let telling = async {
        while news.changed().await.is_ok() {
            let percent = *news.borrow_and_update();
            tell(context, percent).await;
        }
        // The sender lives as long as the run.
        std::future::pending().await
    };
    let report = tokio::select! {
        report = running => report,
        never = telling => never,
    };
    let report = report.map_err(|error| match error.may_succeed_later() {
        true => match error.retry_after() {
            Some(after) => Failure::later(error.to_string(), after),
            None => Failure::passing(error.to_string()),
        },
        false => Failure::lasting(error.to_string()),
    })?;
    tell(context, 100).await;
    let report =
        serde_json::to_value(report).map_err(|error| Failure::lasting(error.to_string()))?;
    for (name, value) in report["metrics"].as_object().into_iter().flatten() {
        facts.set(name, value.clone());
    }
    Ok(report)
}

async fn tell(context: &Context, percent: u8) {
    if let Err(error) = context.progress(&format!("{percent}%")).await {
        tracing::debug!(%error, "progress not told");
    }
}
