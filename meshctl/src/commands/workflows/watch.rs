//! `meshctl workflows watch`.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::Value;
use tokio::time::sleep;

use super::show;
use crate::{
    failure,
    gateway::{GatewayClient, Problem},
    output::{Output, text},
};

/// How long a gateway may be away meanwhile.
const GATEWAY_AWAY_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait before it is asked again.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Follow a run to its end: what happens, a line each, then the run. A gateway may be away for a
/// minute meanwhile.
///
/// Exits with 0 when the run completed, 3 when it failed, 4 when it was cancelled.
#[derive(Args, Debug)]
pub(super) struct Watch {
    /// A run's id
    id: String,
}

impl Watch {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        follow(gateway, out, &self.id).await
    }
}

/// Follows a run to its end.
pub(super) async fn follow(
    gateway: &GatewayClient,
    out: &Output,
    id: &str,
) -> anyhow::Result<ExitCode> {
    let run = gateway.url(&["runs", id]);
    gateway.get(&run).await?;
    let mut cursor = String::new();
    let mut away: Option<Instant> = None;
    loop {
        let told = match events(gateway, out, id, &mut cursor).await {
            Ok(()) => gateway.get(&run).await,
            Err(error) => Err(error),
        };
        match told {
            Ok(run) if is_end(&text(&run, "status")) => {
                let details = gateway.get(&gateway.url(&["runs", id, "details"])).await?;
                show::show(out, &details)?;
                return Ok(exit_code(&text(&run, "status")));
            }
            // This gateway leaves, and another one has more.
            Ok(_) => away = None,
            Err(error) => {
                let lasts = Problem::of(&error).is_some_and(|problem| !problem.is_transient());
                let since = *away.get_or_insert_with(Instant::now);
                let long = since.elapsed() >= GATEWAY_AWAY_LIMIT;
                if lasts || long || failure::is_broken_pipe(&error) {
                    return Err(error);
                }
            }
        }
        sleep(RETRY_DELAY).await;
    }
}

async fn events(
    gateway: &GatewayClient,
    out: &Output,
    id: &str,
    cursor: &mut String,
) -> anyhow::Result<()> {
    let url = gateway.url(&["runs", id, "events"]);
    let Some(mut events) = gateway.events(&url, cursor).await? else {
        return Ok(());
    };
    while let Some(event) = events.next().await? {
        text(&event, "cursor").clone_into(cursor);
        if out.json {
            out.value(&event)?;
        } else {
            out.line(&line(&event))?;
        }
    }
    Ok(())
}

/// `2026-11-30T01:02:03.456Z  node_completed     score`.
fn line(event: &Value) -> String {
    let words = ["error", "message", "detail", "by", "name"].map(|field| text(event, field));
    let words = words.iter().find(|words| !words.is_empty());
    let words = words
        .and_then(|words| words.lines().next())
        .unwrap_or_default();
    let (at, kind, node) = (
        text(event, "at"),
        text(event, "type"),
        text(event, "node_id"),
    );
    format!("{at}  {kind:<18} {node}  {words}")
        .trim_end()
        .to_owned()
}

fn is_end(status: &str) -> bool {
    matches!(status, "COMPLETED" | "FAILED" | "CANCELLED")
}

fn exit_code(status: &str) -> ExitCode {
    ExitCode::from(match status {
        "COMPLETED" => 0,
        "FAILED" => 3,
        _ => 4,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_is_a_line() {
        let event = json!({"at": "T", "type": "node_failed", "node_id": "a", "error": "no\nway"});
        assert_eq!(line(&event), "T  node_failed        a  no");
        assert_eq!(
            line(&json!({"at": "T", "type": "workflow_started"})),
            "T  workflow_started"
        );
    }
}
