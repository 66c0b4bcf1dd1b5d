//! `meshctl mcp config`: what an editor's configuration needs.

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::Access;
use crate::output::Output;

/// The variable with the token, which is written into no file.
const TOKEN: &str = "MESH_MCP_TOKEN";

/// Print what makes an editor use the mesh.
///
/// The text goes to standard output, and where it belongs to standard error.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl mcp config claude-code > .mcp.json\n  \
    meshctl mcp config vscode --transport stdio\n  \
    meshctl mcp config cursor --url https://mesh.example/mcp --with-token")]
pub(super) struct Config {
    /// Which editor
    #[arg(value_enum)]
    editor: Editor,

    /// How the editor reaches the mesh: by its URL, or through meshctl, which the editor starts. By
    /// default the URL, where the editor's file can have one
    #[arg(long, value_enum)]
    transport: Option<Transport>,

    /// What the editor calls the mesh
    #[arg(long, value_name = "NAME", default_value = "mesh")]
    name: String,

    /// Have it send the token that the variable MESH_MCP_TOKEN holds
    #[arg(long)]
    with_token: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Editor {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Zed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Http,
    Stdio,
}

/// What is told of an editor.
struct Row {
    editor: Editor,
    /// Where its configuration is.
    file: &'static str,
    /// The field that holds the servers.
    servers: &'static str,
    /// Whether a server says of what type it is.
    typed: bool,
    /// How a variable of the environment is written; `None` where it cannot be.
    variable: Option<fn(&str) -> String>,
}

const EDITORS: [Row; 5] = [
    Row {
        editor: Editor::ClaudeCode,
        file: ".mcp.json of a project; or run `claude mcp add-json NAME JSON` with one server",
        servers: "mcpServers",
        typed: true,
        variable: Some(|name| format!("${{{name}}}")),
    },
    Row {
        editor: Editor::ClaudeDesktop,
        file: "claude_desktop_config.json (Settings, Developer, Edit Config)",
        servers: "mcpServers",
        typed: false,
        variable: None,
    },
    Row {
        editor: Editor::Cursor,
        file: ".cursor/mcp.json of a project, or ~/.cursor/mcp.json",
        servers: "mcpServers",
        typed: false,
        variable: Some(|name| format!("${{env:{name}}}")),
    },
    Row {
        editor: Editor::Vscode,
        file: ".vscode/mcp.json of a project (or the command `MCP: Open User Configuration`)",
        servers: "servers",
        typed: true,
        variable: Some(|name| format!("${{env:{name}}}")),
    },
    Row {
        editor: Editor::Zed,
        file: "settings.json (the command `zed: open settings`)",
        servers: "context_servers",
        typed: false,
        variable: None,
    },
];

impl Config {
    pub(super) async fn run(self, access: &Access, out: &Output) -> anyhow::Result<()> {
        let row = EDITORS.iter().find(|row| row.editor == self.editor);
        let row = row.context("every editor has its row")?;
        let takes_urls = row.editor != Editor::ClaudeDesktop;
        let default = match takes_urls {
            true => Transport::Http,
            false => Transport::Stdio,
        };
        let transport = self.transport.unwrap_or(default);
        if transport == Transport::Http && !takes_urls {
            bail!(
                "the file of Claude Desktop names programs only: leave --transport out, or add {} \
                 under Settings, Connectors",
                access.endpoint.address()?
            );
        }
        let server = match transport {
            Transport::Http => self.by_url(row, access)?,
            Transport::Stdio => self.by_program(row, access)?,
        };
        let config = json!({ row.servers: { self.name: server } });
        if out.json {
            let value = json!({ "file": row.file, "config": config });
            return Ok(out.value(&value)?);
        }
        out.remark(&format!("for {}", row.file));
        Ok(out.line(&format!("{config:#}"))?)
    }

    fn by_url(&self, row: &Row, access: &Access) -> anyhow::Result<Value> {
        let mut server = Map::new();
        if row.typed {
            server.insert("type".to_owned(), "http".into());
        }
        server.insert("url".to_owned(), access.endpoint.address()?.as_str().into());
        if self.with_token {
            // An editor that does not know variables needs the token itself, written by a person.
            let token = row.variable.map_or_else(
                || format!("<the token of {TOKEN}>"),
                |written| written(TOKEN),
            );
            let headers = json!({ "Authorization": format!("Bearer {token}") });
            server.insert("headers".to_owned(), headers);
        }
        Ok(server.into())
    }

    fn by_program(&self, row: &Row, access: &Access) -> anyhow::Result<Value> {
        let program = std::env::current_exe().context("find this program")?;
        let mut server = Map::new();
        if row.typed {
            server.insert("type".to_owned(), "stdio".into());
        }
        let url = access.endpoint.address()?;
        server.insert("command".to_owned(), program.display().to_string().into());
        server.insert("args".to_owned(), json!(["mcp", "--url", url.as_str()]));
        if self.with_token {
            let token = row.variable.map_or_else(
                || format!("<the token of {TOKEN}>"),
                |written| written(TOKEN),
            );
            server.insert("env".to_owned(), json!({ TOKEN: token }));
        }
        Ok(server.into())
    }
}
