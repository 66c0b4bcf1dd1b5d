//! `meshctl describe`: a service of the mesh, or a gRPC symbol.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use dynamic::ReflectionClient;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};
use serde_json::json;
use tonic::transport::Channel;

use crate::{
    contract::{self, ListKind, ListedService},
    methods,
    output::{Output, Style},
    proto_text::Symbol,
    router::RouterArgs,
};

/// Describe a service by its id, or a gRPC service, method or message by its name.
#[derive(Args, Debug)]
pub(crate) struct Describe {
    /// Such as echo-agent, AgentService, agentplatform.AgentService/ExecuteTask or TaskRequest
    name: String,

    #[command(flatten)]
    router: RouterArgs,
}

impl Describe {
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<ExitCode> {
        let channel = self.router.connect().await?;
        let is_id = !self.name.contains(['.', '/']);
        if is_id {
            let entries = contract::list(&channel, &ListKind::ALL, &self.name).await?;
            if !entries.is_empty() {
                return print(out, &entries);
            }
        }
        let mut reflection = ReflectionClient::new(channel.clone());
        if let Some(symbol) = find(&mut reflection, &self.name).await? {
            if out.json {
                out.value(&symbol.value())?;
            } else {
                out.line(&symbol.text())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let ids: Vec<String> = contract::list(&channel, &ListKind::ALL, "")
            .await?
            .iter()
            .map(ListedService::id)
            .collect();
        let symbols = reflection.services().await?;
        let known = ids.iter().chain(&symbols).map(String::as_str);
        bail!(
            "{:?} is neither a service of the mesh nor a gRPC symbol{}; there are {} and {}",
            self.name,
            methods::suggest(&self.name, known),
            ids.join(", "),
            symbols.join(", ")
        )
    }
}

fn print(out: &Output, entries: &[ListedService]) -> anyhow::Result<ExitCode> {
    for (number, entry) in entries.iter().enumerate() {
        if out.json {
            let info = dynamic::to_json(&entry.message);
            out.value(&json!({ "kind": entry.kind_name(), "info": info }))?;
            continue;
        }
        if number > 0 {
            out.line("")?;
        }
        out.line(&out.paint(
            Style::Strong,
            &format!("{} {}", entry.kind_name(), entry.id()),
        ))?;
        for (field, value) in entry.message.fields() {
            print_field(out, field.name(), value)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_field(out: &Output, name: &str, value: &Value) -> anyhow::Result<()> {
    let name = out.paint(Style::Quiet, &format!("{:<21}", name.replace('_', " ")));
    let lines: Vec<String> = match value {
        Value::List(items) => items.iter().map(line).collect(),
        other => line(other).lines().map(str::to_owned).collect(),
    };
    for (number, line) in lines.iter().enumerate() {
        let margin = if number == 0 {
            name.clone()
        } else {
            " ".repeat(21)
        };
        out.line(&format!("  {margin}  {line}"))?;
    }
    Ok(())
}

/// A value on one line; a parameter of a tool as `location (string, required): which place`.
fn line(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Message(parameter) => parameter_line(parameter),
        other => format!("{other:?}"),
    }
}

fn parameter_line(parameter: &DynamicMessage) -> String {
    let text = |field| {
        let value = parameter.get_field_by_name(field);
        value
            .as_deref()
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let required = parameter.get_field_by_name("required");
    let required = required
        .as_deref()
        .and_then(Value::as_bool)
        .unwrap_or_default();
    let required = if required { "required" } else { "optional" };
    format!(
        "{} ({}, {required}): {}",
        text("name"),
        text("type"),
        text("description")
    )
}

/// A full name is asked for; a short one is looked for in whatever the mesh serves.
async fn find(
    reflection: &mut ReflectionClient<Channel>,
    name: &str,
) -> anyhow::Result<Option<Symbol>> {
    let name = name.trim_start_matches('/').replace('/', ".");
    let listed = reflection.services().await?;
    for asked in std::iter::once(&name)
        .filter(|name| name.contains('.'))
        .chain(&listed)
    {
        match reflection.pool(asked).await {
            Ok(pool) => {
                if let Some(symbol) = symbol(&pool, &name) {
                    return Ok(Some(symbol));
                }
            }
            Err(error) if methods::is_not_found(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

fn symbol(pool: &DescriptorPool, name: &str) -> Option<Symbol> {
    let named = |full: &str| methods::is_named(full, name);
    let service = || {
        pool.services()
            .find(|it| named(it.full_name()))
            .map(Symbol::Service)
    };
    let method = || {
        let mut methods = pool
            .services()
            .flat_map(|service| service.methods().collect::<Vec<_>>());
        methods.find(|it| named(it.full_name())).map(Symbol::Method)
    };
    let message = || {
        pool.all_messages()
            .find(|it| named(it.full_name()))
            .map(Symbol::Message)
    };
    let enumeration = || {
        pool.all_enums()
            .find(|it| named(it.full_name()))
            .map(Symbol::Enum)
    };
    service()
        .or_else(method)
        .or_else(message)
        .or_else(enumeration)
}
