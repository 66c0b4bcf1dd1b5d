//! The description of an agent, a tool or a worker, which its `List…` call returns.

use proto::agentplatform::{AgentInfo, ToolInfo, ToolParameter, WorkerInfo};
use service::Context;

/// The long description of an agent, a tool or a worker.
///
/// ```
/// const ABOUT: mesh_agentkit::About = mesh_agentkit::About {
///     name: "Greeter",
///     description: "Greets",
///     ..mesh_agentkit::About::EMPTY
/// };
/// ```
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// Its name for people.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// More about it; empty for a list of its operations or parameters.
    pub details: &'static str,
    /// How it does that, and what it does not do.
    pub how_it_works: &'static str,
    /// What its answers look like.
    pub return_format: &'static str,
    /// What it is good for.
    pub use_cases: &'static [&'static str],
    /// The operations of a tool; empty for an agent or a worker.
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
    name: &'static str,
    /// In JSON Schema's words.
    json_type: &'static str,
    required: bool,
    about: &'static str,
}

impl Operation {
    /// An operation with its name and a line about it.
    #[must_use]
    pub const fn new(name: &'static str, about: &'static str) -> Self {
        Self { name, about }
    }
}

impl Parameter {
    /// A parameter that every request needs: its name, its type in JSON Schema's words, and what it
    /// means.
    #[must_use]
    pub const fn required(
        name: &'static str,
        json_type: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            required: true,
            ..Self::optional(name, json_type, about)
        }
    }

    /// A parameter that a request may leave out.
    #[must_use]
    pub const fn optional(
        name: &'static str,
        json_type: &'static str,
        about: &'static str,
    ) -> Self {
        Self {
            name,
            json_type,
            required: false,
            about,
        }
    }
}

impl About {
    /// Says nothing; the base of a table that leaves rows out.
    pub const EMPTY: Self = Self {
        name: "",
        description: "",
        details: "",
        how_it_works: "",
        return_format: "",
        use_cases: &[],
        operations: &[],
        parameters: &[],
    };

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
        ToolInfo {
            tool_id: context.public_id(),
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            endpoint: context.endpoint.clone(),
            parameters: self.parameters(),
            detailed_description: self.detailed(),
            how_it_works: self.how_it_works.to_owned(),
            return_format: self.return_format.to_owned(),
            use_cases: owned(self.use_cases),
            version: context.spec.version.to_owned(),
        }
    }

    pub(crate) fn worker(&self, context: &Context) -> WorkerInfo {
        WorkerInfo {
            worker_id: context.public_id(),
            name: self.name.to_owned(),
            description: self.description.to_owned(),
            endpoint: context.endpoint.clone(),
            tags: owned(context.spec.tags),
            detailed_description: self.detailed(),
            how_it_works: self.how_it_works.to_owned(),
            return_format: self.return_format.to_owned(),
            use_cases: owned(self.use_cases),
            version: context.spec.version.to_owned(),
            parameters: self.parameters(),
        }
    }

    fn parameters(&self) -> Vec<ToolParameter> {
        let parameters = self.parameters.iter().map(|row| ToolParameter {
            name: row.name.to_owned(),
            r#type: row.json_type.to_owned(),
            required: row.required,
            description: row.about.to_owned(),
        });
        parameters.collect()
    }

    fn detailed(&self) -> String {
        let list = |rows: Vec<(&str, &str)>| {
            let rows = rows.iter().map(|(name, about)| format!("{name}: {about}"));
            rows.collect::<Vec<_>>().join("; ")
        };
        let operations: Vec<_> = self.operations.iter().map(|o| (o.name, o.about)).collect();
        let parameters: Vec<_> = self.parameters.iter().map(|p| (p.name, p.about)).collect();
        match () {
            () if !self.details.is_empty() => self.details.to_owned(),
            () if !operations.is_empty() => format!("Operations: {}.", list(operations)),
            () if !parameters.is_empty() => {
                format!("{}. Parameters: {}.", self.description, list(parameters))
            }
            () => self.description.to_owned(),
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
