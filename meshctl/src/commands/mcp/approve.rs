//! `meshctl mcp approve`.

use clap::Args;

use super::{Access, pins};
use crate::output::Output;

/// Approve the changed tools of a mount, and show what has changed.
#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    meshctl mcp pins github\n  \
    meshctl mcp approve github\n  \
    meshctl mcp approve github create_issue")]
pub(super) struct Approve {
    /// The mount's name, as `meshctl mcp pins` shows it
    name: String,

    /// Only this tool of it
    tool: Option<String>,

    /// Consul's address; by default that of CONSUL_HTTP_ADDR, else 127.0.0.1:8500
    #[arg(long, value_name = "ADDR")]
    consul: Option<String>,
}

impl Approve {
    pub(super) async fn run(self, _: &Access, out: &Output) -> anyhow::Result<()> {
        let store = pins::store(self.consul.as_deref())?;
        let service = pins::service(&self.name);
        let approved = store.approve(&service, self.tool.as_deref()).await?;
        for (pin, changes) in &approved {
            if out.json {
                out.value(&pins::value(pin))?;
            } else {
                pins::show(out, pin, changes)?;
            }
        }
        if !out.json {
            out.line(&format!("approved {}", approved.len()))?;
        }
        Ok(())
    }
}
