//! `meshctl mcp services`.

use clap::Args;
use serde_json::Value;

use super::{Access, first_line};
use crate::output::{Output, text};

/// List the services with the tools that each has, and why one has none.
#[derive(Args, Debug)]
pub(super) struct Services;

impl Services {
    pub(super) async fn run(self, access: &Access, out: &Output) -> anyhow::Result<()> {
        let gateway = access.endpoint.gateway.client()?;
        let listed = gateway.get(&gateway.url(&["mcp", "services"])).await?;
        if out.json {
            return Ok(out.value(&listed)?);
        }
        let services = listed["services"].as_array();
        let rows: Vec<_> = services.into_iter().flatten().map(row).collect();
        if rows.is_empty() {
            out.remark("the gateway knows no services");
        }
        Ok(out.table(["SERVICE", "METHODS", "TOOLS", "PROBLEM"], &rows)?)
    }
}

fn row(service: &Value) -> [String; 4] {
    let mode = match &service["mode"] {
        Value::Array(methods) => {
            let methods: Vec<_> = methods.iter().filter_map(Value::as_str).collect();
            methods.join(" ")
        }
        mode => mode.as_str().unwrap_or_default().to_owned(),
    };
    [
        text(service, "service"),
        crate::output::plain(&mode),
        service["tools"].to_string(),
        first_line(&text(service, "problem")),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_is_a_row() {
        let service =
            json!({"service": "tool-x", "mode": ["a.B/C", "d.E/*"], "tools": 2, "problem": null});
        assert_eq!(row(&service), ["tool-x", "a.B/C d.E/*", "2", ""]);
    }
}
