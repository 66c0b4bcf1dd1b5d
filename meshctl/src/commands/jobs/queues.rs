//! `meshctl jobs queues`.

use clap::Args;
use serde_json::Value;

use crate::{
    duration,
    gateway::GatewayClient,
    output::{Output, text},
};

/// Count the jobs of each queue.
#[derive(Args, Debug)]
pub(super) struct Queues;

impl Queues {
    pub(super) async fn run(self, gateway: &GatewayClient, out: &Output) -> anyhow::Result<()> {
        let queues = gateway.get(&gateway.url(&["queues"])).await?;
        if out.json {
            return Ok(out.value(&queues)?);
        }
        let rows: Vec<_> = queues.as_array().into_iter().flatten().map(row).collect();
        if rows.is_empty() {
            out.remark("no queue has had a job yet");
        }
        let heading = [
            "QUEUE",
            "QUEUED",
            "OLDEST",
            "RUNNING",
            "SCHEDULED",
            "FAILED",
            "DEAD",
            "SUCCEEDED",
            "CANCELLED",
            "SERVED",
        ];
        Ok(out.table(heading, &rows)?)
    }
}

fn row(queue: &Value) -> [String; 10] {
    let served = match queue["served"].as_bool() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "?",
    };
    let count = |field: &str| queue[field].to_string();
    #[expect(clippy::cast_possible_truncation, reason = "whole seconds are shown")]
    let oldest = queue["oldest_queued_seconds"]
        .as_f64()
        .map(|seconds| duration::shown(seconds as i64));
    [
        text(queue, "queue"),
        count("queued"),
        oldest.unwrap_or_default(),
        count("running"),
        count("scheduled"),
        count("failed"),
        count("dead"),
        count("succeeded"),
        count("cancelled"),
        served.to_owned(),
    ]
}
