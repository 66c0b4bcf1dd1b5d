//! `meshctl workflows run`.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{json as read_json, watch};
use crate::{
    gateway::GatewayClient,
    output::{Output, text},
};

/// Run a stored workflow, or one of a file, and print the run's id.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl workflows run refunds --inputs '{\"amount\": 40}'\n  \
    meshctl workflows run @refund.json --watch")]
pub(super) struct Run {
    /// The workflow's name, or JSON, @file, or - for standard input
    #[arg(value_name = "NAME|JSON|-|@file")]
    workflow: String,

    /// Its inputs: a JSON object, @file, or - for standard input
    #[arg(long, value_name = "JSON|-|@file")]
    inputs: Option<String>,

    /// 1 to 5, 5 is the highest
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    priority: Option<u8>,

    /// To find it by; can be given several times
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    labels: Vec<(String, String)>,

    /// Its idempotency key: running it again with this key is the same run
    #[arg(long, value_name = "KEY")]
    key: Option<String>,

    /// Follow it to its end, as `meshctl workflows watch` does
    #[arg(long)]
    watch: bool,
}

impl Run {
    pub(super) async fn run(
        self,
        gateway: &GatewayClient,
        out: &Output,
    ) -> anyhow::Result<ExitCode> {
        let mut body = Map::new();
        if let Some(inputs) = &self.inputs {
            body.insert("inputs".to_owned(), read_json(inputs, "inputs").await?);
        }
        if let Some(priority) = self.priority {
            body.insert("priority".to_owned(), priority.into());
        }
        let labels: Map<_, _> = self
            .labels
            .into_iter()
            .map(|(key, value)| (key, value.into()))
            .collect();
        body.insert("labels".to_owned(), labels.into());
        let url = if is_name(&self.workflow) {
            gateway.url(&["workflows", &self.workflow, "execute"])
        } else {
            body.insert(
                "workflow".to_owned(),
                read_json(&self.workflow, "workflow").await?,
            );
            gateway.url(&["runs"])
        };
        let body: Value = json!(body);
        let started = gateway
            .post_once(&url, Some(&body), self.key.as_deref())
            .await?;
        let id = text(&started, "run_id");
        if self.watch {
            out.remark(&id);
            return watch::follow(gateway, out, &id).await;
        }
        if out.json {
            out.value(&started)?;
        } else {
            out.line(&id)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether it is a name, and no workflow.
fn is_name(text: &str) -> bool {
    text != "-" && !text.starts_with('@') && !text.trim_start().starts_with('{')
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_from_a_workflow() {
        assert!(is_name("refunds") && is_name("release/v1.0"));
        for workflow in ["-", "@file.json", " {\"nodes\": []}"] {
            assert!(!is_name(workflow), "{workflow}");
        }
    }
}
