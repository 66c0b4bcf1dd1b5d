//! `meshctl jobs submit`.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Map, Value};

use super::watch;
use crate::{
    duration,
    gateway::GatewayClient,
    json_arg,
    output::{Output, text},
};

/// Submit a job, and print its id.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl jobs submit call '{\"input\":\"hi\"}' --service agent-echo --method agentplatform.AgentService/ExecuteTask\n  \
    meshctl jobs submit http '{\"url\":\"https://example.com/\"}' --delay 5m --key nightly-17\n  \
    meshctl jobs submit pipeline '{\"goal\":\"how are jobs retried\"}' --watch\n  \
    meshctl jobs submit task @task.json --queue slow --priority 5")]
pub(super) struct Submit {
    #[arg(help = format!("What kind of job: {}", work::kind_names()))]
    kind: String,

    /// Its payload: JSON, @file, or - for standard input; {} when absent
    #[arg(value_name = "JSON|-|@file")]
    payload: Option<String>,

    /// For call: a service's id or Consul name
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// For call: pkg.Service/Method
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,

    /// For call: metadata to send along
    #[arg(short = 'H', long = "header", value_name = "KEY:VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,

    /// Its queue; the gateway's own when absent
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    /// 1 to 5, 5 is the highest; 3 when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    priority: Option<u8>,

    /// How long it waits before it may run, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    delay: Option<Duration>,

    /// How long one attempt may take; a minute when absent
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    timeout: Option<Duration>,

    /// How many attempts at most; 5 when absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,

    /// Its idempotency key: submitting it again with this key within a day makes one job
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Follow it to its end, as `meshctl jobs watch` does
    #[arg(long)]
    watch: bool,
}

impl Submit {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        let given = json_arg::read(self.payload.as_deref().unwrap_or("{}")).await?;
        let payload: Value = serde_json::from_str(&given)
            .with_context(|| format!("the payload is not JSON: {}", json_arg::FORMS))?;
        let (url, body) = (gateway.url(&["jobs"]), self.body(payload));
        let accepted = gateway.post(&url, Some(&body)).await?;
        let (id, warning) = (text(&accepted, "job_id"), text(&accepted, "warning"));
        if !warning.is_empty() {
            out.remark(&warning);
        }
        if self.watch {
            out.remark(&id);
            return watch::follow(gateway, out, &id).await;
        }
        if out.json {
            out.value(&accepted)?;
        } else {
            out.line(&id)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The job as the API takes it. The gateway chooses what is not given.
    fn body(&self, payload: Value) -> Value {
        let millis = |duration: Option<Duration>| {
            let millis = u64::try_from(duration?.as_millis()).ok()?;
            Some(Value::from(millis))
        };
        let headers: BTreeMap<_, _> = self.headers.iter().cloned().collect();
        let fields = [
            ("kind", Some(Value::from(self.kind.clone()))),
            ("payload", Some(payload)),
            ("service", self.service.clone().map(Value::from)),
            ("method", self.method.clone().map(Value::from)),
            (
                "metadata",
                (!headers.is_empty()).then(|| serde_json::json!(headers)),
            ),
            ("queue", self.queue.clone().map(Value::from)),
            ("priority", self.priority.map(Value::from)),
            ("delay_ms", millis(self.delay)),
            ("timeout_ms", millis(self.timeout)),
            ("max_attempts", self.max_attempts.map(Value::from)),
            ("idempotency_key", self.key.clone().map(Value::from)),
        ];
        let given = fields.into_iter();
        let given = given.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(given.collect::<Map<_, _>>())
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once(':').ok_or("write KEY:VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
