//! A tool, as clients see it and as it is called.

use std::sync::Arc;

use bytes::Bytes;
use dynamic::{MethodRoute, PreparedCall};
use proto::agentplatform::ToolParameter;
use serde_json::{Map, Value, json};

use crate::{Builtin, call::mounted, validate::ArgumentRules};

/// What a tool's service declares of it; nothing is guessed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// It changes nothing.
    pub read_only: Option<bool>,
    /// It may change or delete what is there.
    pub destructive: Option<bool>,
    /// Calling it twice does no more than calling it once.
    pub idempotent: Option<bool>,
    /// It reaches beyond the mesh.
    pub open_world: Option<bool>,
}

impl Annotations {
    /// What is declared here, and where that is silent what `others` declare.
    pub(crate) fn or(self, others: Self) -> Self {
        Self {
            read_only: self.read_only.or(others.read_only),
            destructive: self.destructive.or(others.destructive),
            idempotent: self.idempotent.or(others.idempotent),
            open_world: self.open_world.or(others.open_world),
        }
    }
}

/// How a tool is called.
#[derive(Clone, Debug)]
pub enum ToolTarget {
    /// `agentplatform.AgentService/ExecuteTask`.
    Agent,
    /// `agentplatform.TaskWorker/ProcessTask`.
    Worker {
        /// What it takes.
        parameters: Arc<[ToolParameter]>,
    },
    /// `agentplatform.ToolService/ExecuteTool`.
    ToolOperation {
        /// The operation; `None` where the caller names it, for a tool that lists none.
        operation: Option<Arc<str>>,
        /// What it takes.
        parameters: Arc<[ToolParameter]>,
    },
    /// A method of a gRPC service.
    Method(PreparedCall),
    /// A tool of a mounted MCP server, by the server's name for it.
    Mounted {
        /// The name.
        tool: Arc<str>,
    },
    /// One that the gateway itself has.
    Builtin(Builtin),
}

/// What a list says of a tool.
#[derive(Clone, Debug, Default)]
pub struct ToolDefinition {
    /// Its name, unique and `^[a-zA-Z0-9_-]{1,64}$`.
    pub name: String,
    /// Its name for people; empty for none.
    pub title: String,
    /// What it does.
    pub description: String,
    /// What is declared of it.
    pub annotations: Annotations,
    /// The JSON Schema of its arguments.
    pub input_schema: Value,
    /// The JSON Schema of its `structuredContent`, where that is known.
    pub output_schema: Option<Value>,
    /// Further fields, such as the icons of a mounted tool.
    pub more: Map<String, Value>,
}

/// A tool of the mesh.
#[derive(Clone, Debug)]
pub struct MeshTool {
    /// Its name in the list that it is in: of everything, or of one service.
    pub name: String,
    /// Its name in the list of everything. Rights go by it.
    pub global_name: Arc<str>,
    /// Its name for people; empty for none.
    pub title: String,
    /// What it does.
    pub description: String,
    /// What is declared of it.
    pub annotations: Annotations,
    /// Whether it has an output schema.
    pub has_output_schema: bool,
    /// Its entry in `tools/list`, serialized once. It begins with `{"name":"<name>"`.
    pub json: Bytes,
    /// Consul name of its service.
    pub service: Arc<str>,
    /// The service's public id.
    pub public_id: Arc<str>,
    /// Whether it runs as a durable job, where that is possible.
    pub is_task: bool,
    /// How it is called.
    pub target: ToolTarget,
    /// The way to its method; `None` for a tool of the gateway.
    pub(crate) route: Option<MethodRoute>,
    /// What the fields of its message demand.
    pub(crate) rules: Arc<ArgumentRules>,
}

impl ToolTarget {
    /// The way to the method of a service.
    fn route(&self, service: &Arc<str>) -> Option<MethodRoute> {
        let method = match self {
            Self::Agent => "agentplatform.AgentService/ExecuteTask",
            Self::Worker { .. } => "agentplatform.TaskWorker/ProcessTask",
            Self::ToolOperation { .. } => "agentplatform.ToolService/ExecuteTool",
            Self::Mounted { .. } => mounted::METHOD,
            Self::Method(call) => return Some(call.route().clone()),
            Self::Builtin(_) => return None,
        };
        MethodRoute::new(service, method).ok()
    }

    fn rules(&self) -> ArgumentRules {
        match self {
            Self::Method(call) => ArgumentRules::of(&call.method().input()),
            _ => ArgumentRules::default(),
        }
    }
}

impl Annotations {
    /// As MCP writes them; `None` when nothing is declared.
    #[must_use]
    pub fn to_json(self) -> Option<Value> {
        let hints = [
            ("readOnlyHint", self.read_only),
            ("destructiveHint", self.destructive),
            ("idempotentHint", self.idempotent),
            ("openWorldHint", self.open_world),
        ];
        let given = hints
            .into_iter()
            .filter_map(|(name, hint)| Some((name.to_owned(), hint?.into())));
        let given: Map<String, Value> = given.collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }
}

impl ToolDefinition {
    /// The tool of a service that this defines.
    #[must_use]
    pub fn tool(self, service: &Arc<str>, public_id: &Arc<str>, target: ToolTarget) -> MeshTool {
        let json = self.entry(&self.name).into();
        MeshTool {
            json,
            global_name: self.name.as_str().into(),
            name: self.name,
            title: self.title,
            description: self.description,
            annotations: self.annotations,
            has_output_schema: self.output_schema.is_some(),
            service: Arc::clone(service),
            public_id: Arc::clone(public_id),
            is_task: false,
            route: target.route(service),
            rules: Arc::new(target.rules()),
            target,
        }
    }

    /// Its entry in `tools/list`, under a name.
    fn entry(&self, name: &str) -> String {
        let mut fields = self.more.clone();
        let mut put = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if !self.title.is_empty() {
            put("title", json!(self.title));
        }
        if !self.description.is_empty() {
            put("description", json!(self.description));
        }
        put("inputSchema", self.input_schema.clone());
        if let Some(schema) = &self.output_schema {
            put("outputSchema", schema.clone());
        }
        if let Some(hints) = self.annotations.to_json() {
            put("annotations", hints);
        }
        fields.remove("name");
        let rest = Value::Object(fields).to_string();
        // The name comes first, so that a list under another name needs no second schema.
        let rest = rest.strip_prefix('{').unwrap_or(&rest);
        format!("{{\"name\":{},{rest}", json!(name))
    }
}

impl MeshTool {
    /// Its entry in `tools/list` under another name.
    #[must_use]
    pub fn entry_as(&self, name: &str) -> Bytes {
        let own = format!("{{\"name\":{}", json!(self.name));
        let rest = self.json.get(own.len()..).unwrap_or_default();
        let mut entry = format!("{{\"name\":{}", json!(name)).into_bytes();
        entry.extend_from_slice(rest);
        entry.into()
    }

    /// The same tool under another name, as the list of its service has it.
    #[must_use]
    pub fn renamed(&self, name: &str) -> Self {
        Self {
            json: self.entry_as(name),
            name: name.to_owned(),
            ..self.clone()
        }
    }

    /// The JSON Schema of its arguments, read from its entry.
    #[must_use]
    pub fn input_schema(&self) -> Value {
        self.field("inputSchema").unwrap_or_default()
    }

    /// The JSON Schema of its `structuredContent`, read from its entry.
    #[must_use]
    pub fn output_schema(&self) -> Option<Value> {
        self.field("outputSchema")
    }

    fn field(&self, name: &str) -> Option<Value> {
        let mut entry: Map<String, Value> = serde_json::from_slice(&self.json).ok()?;
        entry.remove(name)
    }
}
