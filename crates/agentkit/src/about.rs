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
    /// The name that people read.
    pub name: &'static str,
    /// What it does, in a line.
    pub description: &'static str,
    /// A longer description; where it is empty, the operations or parameters are listed.
    pub details: &'static str,
    /// How it works, and what it does not do.
    pub how_it_works: &'static str,
    /// The form of its answers.
    pub return_format: &'static str,
    /// What people use it for.
    pub use_cases: &'static [&'static str],
    /// The operations of a tool; empty for an agent or a worker.
    pub operations: &'static [Operation],
    /// The parameters of its requests.
    pub parameters: &'static [Parameter],
}

/// One operation of a tool.
#[derive(Debug)]
pub struct Operation {
    /// Its name in a request.
    pub name: &'static str,
    /// What it does and answers, in a line.
    pub about: &'static str,
}

/// One parameter of a request.
#[derive(Debug)]
pub struct Parameter {
    name: &'static str,
    /// A type of JSON Schema.
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
    /// A parameter that every request needs: its name, its type in JSON Schema, and what it means.
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

/// A description on the wire: the fields that agents, tools and workers share, and those of its kind.
macro_rules! info {
    ($info:ident, $id:ident, $about:ident, $context:ident, $($field:ident),+) => {
        $info {
            $id: $context.public_id(),
            name: $about.name.to_owned(),
            description: $about.description.to_owned(),
            endpoint: $context.endpoint.clone(),
            detailed_description: $about.detailed(),
            how_it_works: $about.how_it_works.to_owned(),
            return_format: $about.return_format.to_owned(),
            use_cases: owned($about.use_cases),
            version: $context.spec.version.to_owned(),
            $($field),+
        }
    };
}

impl About {
    /// An empty description, for `..About::EMPTY`.
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
        let capabilities = capabilities.map(|tag| (*tag).to_owned()).collect();
        info!(AgentInfo, agent_id, self, context, capabilities)
    }

    pub(crate) fn tool(&self, context: &Context) -> ToolInfo {
        let parameters = self.parameters();
        info!(ToolInfo, tool_id, self, context, parameters)
    }

    pub(crate) fn worker(&self, context: &Context) -> WorkerInfo {
        let (tags, parameters) = (owned(context.spec.tags), self.parameters());
        info!(WorkerInfo, worker_id, self, context, tags, parameters)
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
        let operations = self.operations.iter().map(|row| (row.name, row.about));
        let parameters = self.parameters.iter().map(|row| (row.name, row.about));
        if !self.details.is_empty() {
            self.details.to_owned()
        } else if !self.operations.is_empty() {
            format!("Operations: {}.", list(operations))
        } else if !self.parameters.is_empty() {
            format!("{}. Parameters: {}.", self.description, list(parameters))
        } else {
            self.description.to_owned()
        }
    }
}

/// Rows as `name: about; name: about`.
pub(crate) fn list<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let rows = rows.map(|(name, about)| format!("{name}: {about}"));
    rows.collect::<Vec<_>>().join("; ")
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
