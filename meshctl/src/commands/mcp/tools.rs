//! `meshctl mcp tools`.

use anyhow::bail;
use clap::Args;
use serde_json::Value;

use super::{Access, first_line, parameters};
use crate::{
    methods,
    output::{Output, Style, text},
};

/// List the tools that clients see, or show one with its parameters.
#[derive(Args, Debug)]
pub(super) struct Tools {
    /// Show this tool alone
    name: Option<String>,
}

impl Tools {
    pub(super) async fn run(self, access: &Access, out: &Output) -> anyhow::Result<()> {
        let mut client = access.client(()).await?;
        let tools = client.tools().await?;
        client.close().await;
        let Some(name) = &self.name else {
            return list(out, &tools);
        };
        let Some(tool) = tools.iter().find(|tool| tool["name"] == **name) else {
            bail!("{}", unknown(name, &tools));
        };
        if out.json {
            return Ok(out.value(tool)?);
        }
        show(out, tool)
    }
}

fn list(out: &Output, tools: &[Value]) -> anyhow::Result<()> {
    if out.json {
        return Ok(tools.iter().try_for_each(|tool| out.value(tool))?);
    }
    if tools.is_empty() {
        out.remark("there are no tools: `meshctl mcp services` says of each service why");
    }
    let row = |tool: &Value| {
        let about = text(tool, "description");
        [text(tool, "name"), hints(tool), first_line(&about)]
    };
    let rows: Vec<_> = tools.iter().map(row).collect();
    Ok(out.table(["NAME", "HINTS", "WHAT IT DOES"], &rows)?)
}

fn show(out: &Output, tool: &Value) -> anyhow::Result<()> {
    out.line(&out.paint(Style::Strong, &text(tool, "name")))?;
    out.facts(&[
        ("title", text(tool, "title")),
        ("about", text(tool, "description")),
        ("hints", hints(tool)),
    ])?;
    out.line("")?;
    let rows = parameters(tool);
    if rows.is_empty() {
        return Ok(out.line("It takes no parameters.")?);
    }
    Ok(out.table(["PARAMETER", "TYPE", "", "WHAT IT IS"], &rows)?)
}

/// What a tool says of itself; most say nothing.
fn hints(tool: &Value) -> String {
    let annotations = &tool["annotations"];
    let hints = [
        ("readOnlyHint", true, "read-only"),
        ("destructiveHint", true, "destructive"),
        ("idempotentHint", true, "idempotent"),
    ];
    let told = hints
        .iter()
        .filter(|(name, value, _)| annotations[name] == *value);
    let told: Vec<_> = told.map(|(_, _, word)| *word).collect();
    told.join(" ")
}

/// That a tool is not there, and which one was probably meant.
pub(super) fn unknown(name: &str, tools: &[Value]) -> String {
    let names = tools.iter().filter_map(|tool| tool["name"].as_str());
    let near = methods::suggest(name, names);
    format!("no tool is called {name}{near} (`meshctl mcp tools` lists them)")
}
