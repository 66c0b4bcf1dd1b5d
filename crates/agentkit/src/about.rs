//! The description of an agent, a tool or a worker, which its `List…` call returns.

use proto::agentplatform::{AgentInfo, ToolInfo, ToolOperation, ToolParameter, WorkerInfo};
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
    /// The parameters of its requests. Of a tool whose operations name their own, empty: they are listed together.
    pub parameters: &'static [Parameter],
}

/// One operation of a tool.
///
/// ```
/// use mesh_agentkit::{Operation, Parameter};
///
/// const FIND: Operation = Operation::new("find", "the pages that match `query`")
///     .taking(&[Parameter::required("query", "string", "words to look for")])
///     .read_only();
/// assert_eq!(FIND.name, "find");
/// ```
#[derive(Debug)]
pub struct Operation {
    /// Its name in a request.
    pub name: &'static str,
    /// What it does and answers, in a line.
    pub about: &'static str,
    /// Its own parameters; `None` for those of its tool.
    parameters: Option<&'static [Parameter]>,
    read_only: Option<bool>,
    destructive: Option<bool>,
    idempotent: Option<bool>,
    output_schema: &'static str,
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
        Self {
            name,
            about,
            parameters: None,
            read_only: None,
            destructive: None,
            idempotent: None,
            output_schema: "",
        }
    }

    /// It takes these parameters, and no others of the tool.
    #[must_use]
    pub const fn taking(mut self, parameters: &'static [Parameter]) -> Self {
        self.parameters = Some(parameters);
        self
    }

    /// It changes nothing.
    #[must_use]
    pub const fn read_only(mut self) -> Self {
        self.read_only = Some(true);
        self
    }

    /// It changes something: `destructive` if it may overwrite or remove what is there.
    #[must_use]
    pub const fn writes(mut self, destructive: bool) -> Self {
        self.read_only = Some(false);
        self.destructive = Some(destructive);
        self
    }

    /// Repeating it with the same parameters changes nothing more, or does.
    #[must_use]
    pub const fn idempotent(mut self, idempotent: bool) -> Self {
        self.idempotent = Some(idempotent);
        self
    }

    /// Its results fit this JSON Schema, as text.
    #[must_use]
    pub const fn answering(mut self, schema: &'static str) -> Self {
        self.output_schema = schema;
        self
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

impl Parameter {
    fn to_message(&self) -> ToolParameter {
        ToolParameter {
            name: self.name.to_owned(),
            r#type: self.json_type.to_owned(),
            required: self.required,
            description: self.about.to_owned(),
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
        let (parameters, operations) = (self.tool_parameters(), self.operations());
        info!(ToolInfo, tool_id, self, context, parameters, operations)
    }

    pub(crate) fn worker(&self, context: &Context) -> WorkerInfo {
        let (tags, parameters) = (owned(context.spec.tags), self.parameters());
        info!(WorkerInfo, worker_id, self, context, tags, parameters)
    }

    fn parameters(&self) -> Vec<ToolParameter> {
        self.parameters.iter().map(Parameter::to_message).collect()
    }

    /// What its operations take together. A parameter of some says of which, and no request needs it.
    fn tool_parameters(&self) -> Vec<ToolParameter> {
        if !self.parameters.is_empty() {
            return self.parameters();
        }
        let mut together: Vec<(ToolParameter, Vec<&str>)> = Vec::new();
        for operation in self.operations {
            for row in operation.parameters.unwrap_or_default() {
                match together
                    .iter_mut()
                    .find(|(known, _)| known.name == row.name)
                {
                    Some((known, of)) => {
                        known.required &= row.required;
                        of.push(operation.name);
                    }
                    None => together.push((row.to_message(), vec![operation.name])),
                }
            }
        }
        let parameters = together.into_iter().map(|(mut parameter, of)| {
            if of.len() < self.operations.len() {
                parameter.required = false;
                parameter.description = format!("{}: {}", of.join(", "), parameter.description);
            }
            parameter
        });
        parameters.collect()
    }

    fn operations(&self) -> Vec<ToolOperation> {
        let operations = self.operations.iter().map(|row| {
            let parameters = row.parameters.unwrap_or(self.parameters);
            ToolOperation {
                name: row.name.to_owned(),
                description: row.about.to_owned(),
                parameters: parameters.iter().map(Parameter::to_message).collect(),
                read_only: row.read_only,
                destructive: row.destructive,
                idempotent: row.idempotent,
                output_schema: row.output_schema.to_owned(),
            }
        });
        operations.collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_operations_are_listed_together() {
        const ID: Parameter = Parameter::required("id", "string", "which");
        const ABOUT: About = About {
            operations: &[
                Operation::new("get", "one").taking(&[ID]).read_only(),
                Operation::new("put", "replaces one")
                    .taking(&[ID, Parameter::required("text", "string", "its text")])
                    .writes(true)
                    .idempotent(true),
            ],
            ..About::EMPTY
        };
        let rows = ABOUT.tool_parameters();
        let rows: Vec<_> = rows
            .iter()
            .map(|row| (&*row.name, row.required, &*row.description))
            .collect();
        assert_eq!(
            rows,
            [("id", true, "which"), ("text", false, "put: its text")]
        );
        let [get, put] = ABOUT.operations().try_into().unwrap();
        assert_eq!((get.read_only, get.destructive), (Some(true), None));
        assert_eq!((put.read_only, put.destructive), (Some(false), Some(true)));
        assert_eq!((put.idempotent, put.parameters.len()), (Some(true), 2));
    }
}
