//! `meshctl describe`: a service of the mesh, or a gRPC symbol.

use anyhow::bail;
use clap::Args;
use dynamic::ReflectionClient;
use prost_reflect::{DescriptorPool, DynamicMessage, ServiceDescriptor, Value};
use serde_json::json;

use crate::{
    contract::{self, ListKind, ListedService, text},
    methods,
    output::{Output, Style},
    proto_text::Symbol,
    router::{Channel, RouterArgs},
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
    pub(crate) async fn run(self, out: &Output) -> anyhow::Result<()> {
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
            return Ok(match out.json {
                true => out.value(&symbol.value()),
                false => out.line(&symbol.text()),
            }?);
        }
        let listed = contract::list(&channel, &ListKind::ALL, "").await?;
        let ids: Vec<String> = listed.iter().map(ListedService::id).collect();
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

fn print(out: &Output, entries: &[ListedService]) -> anyhow::Result<()> {
    for (number, entry) in entries.iter().enumerate() {
        if out.json {
            let info = dynamic::to_json(&entry.message);
            out.value(&json!({ "kind": entry.kind_name(), "info": info }))?;
            continue;
        }
        if number > 0 {
            out.line("")?;
        }
        let heading = format!("{} {}", entry.kind_name(), entry.id());
        out.line(&out.paint(Style::Strong, &heading))?;
        for (field, value) in entry.message.fields() {
            print_field(out, field.name(), value)?;
        }
    }
    Ok(())
}

fn print_field(out: &Output, name: &str, value: &Value) -> anyhow::Result<()> {
    let name = out.paint(Style::Quiet, &format!("{:<21}", name.replace('_', " ")));
    let lines: Vec<String> = match value {
        Value::List(items) => items.iter().map(line).collect(),
        other => line(other).lines().map(str::to_owned).collect(),
    };
    let indent = " ".repeat(21);
    for (number, line) in lines.iter().enumerate() {
        let margin = if number == 0 { &name } else { &indent };
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
    let required = parameter.get_field_by_name("required");
    let required = match required.as_deref().and_then(Value::as_bool) {
        Some(true) => "required",
        _ => "optional",
    };
    let [name, kind, about] = ["name", "type", "description"].map(|it| text(parameter, it));
    format!("{name} ({kind}, {required}): {about}")
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
    let services: Vec<_> = pool.services().collect();
    let methods = services.iter().flat_map(ServiceDescriptor::methods);
    let services = services.iter().cloned().map(Symbol::Service);
    services
        .chain(methods.map(Symbol::Method))
        .chain(pool.all_messages().map(Symbol::Message))
        .chain(pool.all_enums().map(Symbol::Enum))
        .find(|symbol| methods::is_named(symbol.full_name(), name))
}
