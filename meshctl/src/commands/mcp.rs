//! `meshctl mcp`: the mesh as tools of AI editors. Alone it is an MCP server over standard input and
//! output; its commands are what a person does with the same endpoint.

mod approve;
mod call;
mod config;
mod elicitation;
mod pins;
mod services;
mod tools;

use std::{io::IsTerminal as _, process::ExitCode};

use clap::Args;
use serde_json::Value;

use crate::{
    mcp::{EndpointArgs, Era, McpClient, Responder, bridge},
    output::Output,
    subcommands::subcommands,
};

/// Serve the mesh to an AI editor over standard input and output; or list and call its tools.
///
/// Without a command it carries MCP between standard input and output and the gateway's /mcp, for
/// editors that start their servers themselves. `meshctl mcp config` prints what to write into an
/// editor's configuration.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl mcp tools\n  \
    meshctl mcp call weather-tool__get_weather location=Paris\n  \
    meshctl mcp config vscode\n  \
    meshctl mcp --service tool-weather")]
pub(crate) struct Mcp {
    #[command(flatten)]
    endpoint: EndpointArgs,

    /// Which revisions of the protocol the commands speak
    #[arg(long, global = true, value_enum, default_value_t = Era::Auto)]
    era: Era,

    #[command(subcommand)]
    command: Option<Command>,
}

/// What every command gets.
#[derive(Clone, Debug)]
struct Access {
    endpoint: EndpointArgs,
    era: Era,
}

subcommands! {
    /// One row per command; each is a file of `mcp`.
    enum Command(access: &Access, out: &Output) {
        Tools(tools::Tools),
        Call(call::Call),
        Services(services::Services),
        Pins(pins::Pins),
        Approve(approve::Approve),
        Config(config::Config),
    }
}

impl Mcp {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let access = Access {
            endpoint: self.endpoint,
            era: self.era,
        };
        if let Some(command) = self.command {
            return command.run(&access, out).await;
        }
        if std::io::stdin().is_terminal() {
            out.remark(
                "this carries MCP, a message a line, and is started by an editor: `meshctl mcp config` \
                 says how, `meshctl mcp tools` lists what there is. Ctrl-D ends it",
            );
        }
        bridge(access.endpoint.endpoint()?).await
    }
}

impl Access {
    async fn client<R: Responder>(&self, responder: R) -> anyhow::Result<McpClient<R>> {
        McpClient::connect(self.endpoint.endpoint()?, self.era, responder).await
    }
}

/// The first line of a text, as a cell of a table shows it.
fn first_line(text: &str) -> String {
    const WIDTH: usize = 80;
    let line = text.lines().next().unwrap_or_default();
    match line.char_indices().nth(WIDTH) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line.to_owned(),
    }
}

/// The parameters of a tool: name, type, whether it is required, and what it is.
fn parameters(tool: &Value) -> Vec<[String; 4]> {
    let schema = &tool["inputSchema"];
    let required = schema["required"].as_array();
    let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|it| it == name));
    let properties = schema["properties"].as_object();
    let row = |(name, schema): (&String, &Value)| {
        let mut kind = schema["type"].as_str().unwrap_or("any").to_owned();
        if let Some(items) = schema["items"]["type"].as_str() {
            kind = format!("{kind} of {items}");
        }
        let values = schema["enum"].as_array().into_iter().flatten();
        let values: Vec<_> = values.filter_map(Value::as_str).collect();
        let mut about = crate::output::text(schema, "description").replace('\n', " ");
        if !values.is_empty() {
            about = format!("{about} ({})", values.join(", "));
        }
        let needed = if is_required(name) { "required" } else { "" };
        [
            crate::output::plain(name),
            kind,
            needed.to_owned(),
            about.trim().to_owned(),
        ]
    };
    properties.into_iter().flatten().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_told_in_a_row_each() {
        let tool = json!({"inputSchema": {"type": "object", "required": ["a"], "properties": {
            "a": {"type": "array", "items": {"type": "string"}, "description": "names\nof all"},
            "b": {"type": "string", "enum": ["x", "y"]}}}});
        let rows = parameters(&tool);
        assert_eq!(
            rows[0],
            ["a", "array of string", "required", "names of all"]
        );
        assert_eq!(rows[1], ["b", "string", "", "(x, y)"]);
        assert_eq!(first_line(&"ä".repeat(90)).chars().count(), 81);
    }
}
