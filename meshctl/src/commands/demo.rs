//! `meshctl demo`: a mesh that is started, called in every way, and ended again.

mod calls;
mod mcp;
mod workflow;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, timeout};

use super::up;
use crate::{
    local::{InstanceCounts, LocalMesh, Ports},
    output::{Output, Style},
    registry::Registry,
    router,
};
use calls::Step;

/// Longest time for all calls together.
const LIMIT: Duration = Duration::from_secs(30);
/// Those who call others and are not called: the runners of jobs and of workflows, the gateway.
const CALLERS: usize = 3;
/// What the demo starts.
const MESH: InstanceCounts = InstanceCounts {
    jobs: false,
    workflows: true,
    gateway: true,
    echo: 3,
    weather: 1,
    itinerary: 1,
    routers: 1,
};

/// Start a mesh in memory, call it in every way, and end it again.
///
/// Three echo agents, a weather tool, an itinerary worker and a router, each on its own TCP port, runners
/// that carry out a workflow, and a gateway that shows all of it to AI editors; needs nothing but this
/// program. Fails when a call fails, the calls are not spread evenly, or the workflow does not end well.
#[derive(Args, Debug)]
pub(crate) struct Demo {}

impl Demo {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
        let started = Instant::now();
        let folder = workflow::Folder::new()?;
        let registry = Registry::memory(folder.environment(), "in memory".to_owned());
        let local = LocalMesh::start(MESH, Ports::default(), &registry).await?;
        let steps = timeout(LIMIT, print_steps(out, &local)).await;
        local.drain(|_, _| {}).await;
        let steps = steps.with_context(|| format!("the calls took over {LIMIT:?}"));
        let steps = steps.and_then(|steps| steps)?;
        let took = started.elapsed();
        if out.json {
            let seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
            return Ok(out.value(&json!({ "steps": steps, "seconds": seconds }))?);
        }
        farewell(out, took)
    }
}

/// Makes the calls and tells each as it is made.
async fn print_steps(out: &Output, local: &LocalMesh) -> anyhow::Result<Vec<serde_json::Value>> {
    let address = local.router().context("the demo has a router")?.to_string();
    if !out.json {
        let count = local.instances().count() - CALLERS - 1;
        let mesh = format!("a router on {address}, {count} instances behind it\n");
        out.line(&format!("{} {mesh}", out.paint(Style::Strong, "mesh:")))?;
    }
    let channel = router::connect(&address).await?;
    let mut steps = Vec::new();
    let mut print = |step: Step| -> anyhow::Result<()> {
        if out.json {
            steps.push(step.value());
        } else {
            let done = out.paint(Style::Good, "ok");
            out.line(&format!(
                "{done} {:<20} {:<30} {}",
                step.call, step.answered_by, step.what
            ))?;
        }
        Ok(())
    };
    let mut tally: BTreeMap<String, usize> = BTreeMap::new();
    for number in 1..=calls::TASKS {
        let step = calls::execute_task(&channel, number).await?;
        *tally.entry(step.answered_by.clone()).or_default() += 1;
        print(step)?;
    }
    print(spread(&tally)?)?;
    for step in calls::others(&channel).await {
        print(step?)?;
    }
    print(workflow::carry_out(local).await.context("the workflow")?)?;
    for step in mcp::list_and_call(local).await.context("MCP")? {
        print(step)?;
    }
    Ok(steps)
}

/// The tasks have to be spread evenly over the echo agents.
fn spread(tally: &BTreeMap<String, usize>) -> anyhow::Result<Step> {
    let counts: Vec<String> = tally.values().map(usize::to_string).collect();
    let agents = usize::from(MESH.echo);
    if tally.len() != agents || tally.values().any(|count| count * agents != calls::TASKS) {
        bail!(
            "{} tasks were not spread evenly over {agents} echo agents: {tally:?}",
            calls::TASKS
        );
    }
    Ok(Step {
        call: "spread",
        answered_by: counts.join("/"),
        what: format!("{} tasks over {agents} instances", calls::TASKS),
    })
}

fn farewell(out: &Output, took: Duration) -> anyhow::Result<()> {
    let meshctl = std::env::args()
        .next()
        .unwrap_or_else(|| "meshctl".to_owned());
    let (took, stays) = (
        took.as_secs_f64(),
        out.paint(Style::Strong, "a mesh that stays"),
    );
    let then = out.paint(Style::Strong, "then, in another terminal");
    out.line(&format!(
        "\nall calls answered in {took:.1} s; nothing is left running\n\n{stays}\n  \
         {meshctl} up --echo 3      # or: cargo run -p meshctl -- up --echo 3\n\n{then}"
    ))?;
    for line in up::examples("127.0.0.1:50051", &meshctl, MESH) {
        out.line(&format!("  {line}"))?;
    }
    Ok(())
}
