//! `meshctl mcp pins`.

use ::mcp::pins::{Change, Pin, Pins as PinStore, changes};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::Access;
use crate::output::{Output, Style, plain};

/// List the pinned definitions of mounted tools, and what has changed of them since.
///
/// A mounted tool's first definition is kept in Consul's KV. One that changes is neither listed nor
/// called until `meshctl mcp approve` takes the new definition.
#[derive(Args, Debug)]
pub(super) struct Pins {
    /// Only those of this mount
    name: Option<String>,

    /// Consul's address; by default that of CONSUL_HTTP_ADDR, else 127.0.0.1:8500
    #[arg(long, value_name = "ADDR")]
    consul: Option<String>,
}

impl Pins {
    pub(super) async fn run(self, _: &Access, out: &Output) -> anyhow::Result<()> {
        let pins = store(self.consul.as_deref())?;
        let service = self.name.as_deref().map(service);
        let listed = pins.list(service.as_deref()).await?;
        if out.json {
            return Ok(listed.iter().try_for_each(|pin| out.value(&value(pin)))?);
        }
        if listed.is_empty() {
            out.remark("no tool is pinned");
        }
        let row = |pin: &Pin| {
            let state = if pin.changed.is_some() {
                "changed, blocked"
            } else {
                "as approved"
            };
            [plain(&pin.service), plain(&pin.tool), state.to_owned()]
        };
        let rows: Vec<_> = listed.iter().map(row).collect();
        out.table(["MOUNT", "TOOL", "STATE"], &rows)?;
        for pin in &listed {
            if let Some(changed) = &pin.changed {
                out.line("")?;
                show(out, pin, &changes(&pin.approved, changed))?;
            }
        }
        Ok(())
    }
}

/// The pins in the KV store of Consul.
pub(super) fn store(consul: Option<&str>) -> anyhow::Result<PinStore> {
    let mut environment = service::config::environment();
    if let Some(address) = consul {
        environment.insert("CONSUL_HTTP_ADDR".to_owned(), address.to_owned());
    }
    environment.insert("DISCOVERY".to_owned(), "consul".to_owned());
    let config = router::SPEC.loader().env(environment).load()?;
    let consul = service::registry(&config).context("set up Consul")?;
    Ok(PinStore::new(consul))
}

/// The Consul name of a mount, which people may give without its kind.
pub(super) fn service(name: &str) -> String {
    match name.starts_with("tool-") {
        true => name.to_owned(),
        false => format!("tool-{name}"),
    }
}

/// A pin for programs.
pub(super) fn value(pin: &Pin) -> Value {
    let changed = pin.changed.as_ref();
    let changes = changed
        .map(|it| changes(&pin.approved, it))
        .unwrap_or_default();
    let changes: Vec<_> = changes
        .iter()
        .map(|it| json!({"place": it.place, "before": it.before, "after": it.after}))
        .collect();
    json!({"service": pin.service, "tool": pin.tool, "changed": changed.is_some(), "changes": changes})
}

/// What differs, a place each.
pub(super) fn show(out: &Output, pin: &Pin, changes: &[Change]) -> anyhow::Result<()> {
    let name = format!("{} {}", plain(&pin.service), plain(&pin.tool));
    out.line(&out.paint(Style::Strong, &name))?;
    for change in changes {
        // A line for the place, and one for each value.
        for line in change.to_string().lines() {
            let line = format!("  {}", plain(line));
            let line = match line.trim_start().chars().next() {
                Some('-') => out.paint(Style::Bad, &line),
                Some('+') => out.paint(Style::Good, &line),
                _ => line,
            };
            out.line(&line)?;
        }
    }
    Ok(())
}
