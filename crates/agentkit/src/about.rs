//! What a service says of itself when it is listed: a table, since nothing of it is computed.

use proto::agentplatform::{AgentInfo, ToolInfo, ToolParameter};
use service::Context;

/// The long description of an agent or a tool.
#[derive(Debug)]
pub struct About {
    /// Its name for people.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// How it does that, and what it does not do.
    pub how_it_works: &'static str,
    /// What its answers look like.
    pub return_format: &'static str,
    /// What it is good for.
    pub use_cases: &'static [&'static str],
    /// What a tool can be asked; empty for an agent.
    pub operations: &'static [Operation],
    /// What its requests may carry.
    pub parameters: &'static [Parameter],
}

/// One operation of a tool.
#[derive(Debug)]
pub struct Operation {
    /// What callers say.
    pub name: &'static str,
    /// What it does and answers, in a line.
    pub about: &'static str,
}

/// One parameter of a request.
#[derive(Debug)]
pub struct Parameter {
    /// Its key in the request.
    pub name: &'static str,
    /// Its type in JSON Schema's words.
    pub kind: &'static str,
    /// Whether every request needs it.
    pub required: bool,
    /// What it means and takes.
    pub about: &'static str,
}

impl About {
    pub(crate) fn agent(&self, context: &Context) -> AgentInfo {
        let capabilities = context.spec.tags.iter().filter(|tag| **tag != "agent");
        AgentInfo {
            agent_id: context.public_id(),
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            capabilities: capabilities.map(|tag| (*tag).to_owned()).collect(),
            endpoint: context.endpoint.clone(),
            detailed_description: self.detailed(),
            how_it_works: self.how_it_works.to_owned(),
            return_format: self.return_format.to_owned(),
            use_cases: owned(self.use_cases),
            version: context.spec.version.to_owned(),
        }
    }

    pub(crate) fn tool(&self, context: &Context) -> ToolInfo {
        let parameters = self.parameters.iter().map(|row| ToolParameter {
            name: row.name.to_owned(),
            r#type: row.kind.to_owned(),
            required: row.required,
            description: row.about.to_owned(),
        });
        ToolInfo {
            tool_id: context.public_id(),
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            endpoint: context.endpoint.clone(),
            parameters: parameters.collect(),
            detailed_description: self.detailed(),
            how_it_works: self.how_it_works.to_owned(),
            return_format: self.return_format.to_owned(),
            use_cases: owned(self.use_cases),
            version: context.spec.version.to_owned(),
        }
    }

    /// The operations of a tool; what an agent's tasks may carry.
    fn detailed(&self) -> String {
        let row = |name: &str, about: &str| format!("{name}: {about}");
        if self.operations.is_empty() {
            let rows: Vec<_> = self
                .parameters
                .iter()
                .map(|p| row(p.name, p.about))
                .collect();
            return format!("{}. Parameters: {}.", self.description, rows.join("; "));
        }
        let rows: Vec<_> = self
            .operations
            .iter()
            .map(|o| row(o.name, o.about))
            .collect();
        format!("Operations: {}.", rows.join("; "))
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
