//! What a call sends.

use std::sync::Arc;

use bytes::Bytes;
use dynamic::MethodRoute;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use proto::agentplatform::{TaskRequest, ToolRequest};
use serde_json::{Map, Value, json};

use super::{Form, mounted};
use crate::{
    CallContext, CallError, MeshTool, ToolTarget,
    json::{Numbers, write},
    validate::{ArgumentError, messages, parameters},
};

/// A call that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) route: MethodRoute,
    pub(crate) form: Form,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Task(TaskRequest),
    Tool(ToolRequest),
    Method(Vec<DynamicMessage>),
    /// A tool of a mounted server by the server's name for it.
    Mounted(Arc<str>, Map<String, Value>),
}

impl Request {
    /// The call of a tool with these arguments, or what is wrong with them.
    ///
    /// # Errors
    /// For what is no tool of a service.
    pub(crate) fn new(
        tool: &MeshTool,
        arguments: Map<String, Value>,
    ) -> Result<Result<Self, ArgumentError>, CallError> {
        let Some(route) = tool.route.clone() else {
            let text = format!("{} is no tool of a service", tool.name);
            return Err(CallError::internal(text));
        };
        Ok(body(tool, arguments).map(|body| Self {
            route,
            form: Form::of(tool),
            body,
        }))
    }

    /// Whether one message is sent and one is answered.
    pub(crate) fn is_unary(&self) -> bool {
        let sends_one = match &self.body {
            Body::Task(_) | Body::Tool(_) => true,
            Body::Method(messages) => messages.len() == 1,
            Body::Mounted(..) => false,
        };
        sends_one && !self.form.is_stream()
    }

    /// The session that the call belongs to: that of its message, else the client's.
    pub(crate) fn session(&self, context: &CallContext) -> String {
        let own = match &self.body {
            Body::Task(task) => task.session_id.clone(),
            Body::Tool(call) => call.session_id.clone(),
            Body::Method(messages) => {
                let field = messages
                    .first()
                    .and_then(|it| it.get_field_by_name("session_id"));
                field
                    .and_then(|it| it.as_str().map(str::to_owned))
                    .unwrap_or_default()
            }
            Body::Mounted(..) => String::new(),
        };
        match own.is_empty() {
            true => context.session.clone().unwrap_or_default(),
            false => own,
        }
    }

    pub(crate) fn encode(self, context: &CallContext, wants_progress: bool) -> Vec<Bytes> {
        match self.body {
            Body::Task(task) => vec![task.encode_to_vec().into()],
            Body::Tool(call) => vec![call.encode_to_vec().into()],
            Body::Method(messages) => {
                let messages = messages.iter();
                messages
                    .map(|message| message.encode_to_vec().into())
                    .collect()
            }
            Body::Mounted(name, arguments) => {
                vec![mounted::message(&name, &arguments, context, wants_progress)]
            }
        }
    }

    /// The message as JSON, as jobs have it. `None` for one that is no object.
    pub(crate) fn payload(&self) -> Option<Map<String, Value>> {
        let json = match &self.body {
            Body::Task(task) => json!({"agent_id": task.agent_id, "input": task.input,
                "parameters": task.parameters, "session_id": task.session_id}),
            Body::Tool(call) => json!({"tool_id": call.tool_id, "operation": call.operation,
                "parameters": call.parameters, "session_id": call.session_id}),
            Body::Method(messages) => {
                let mut text = String::new();
                write(messages.first()?, &mut text, usize::MAX, Numbers::AsNumbers);
                serde_json::from_str(&text).ok()?
            }
            Body::Mounted(..) => return None,
        };
        match json {
            Value::Object(fields) => Some(fields),
            _ => None,
        }
    }
}

fn body(tool: &MeshTool, mut arguments: Map<String, Value>) -> Result<Body, ArgumentError> {
    let id = tool.public_id.to_string();
    match &tool.target {
        ToolTarget::Agent => {
            let given = arguments.remove("parameters").unwrap_or_default();
            let mut read = parameters(
                arguments,
                &[("input", true), ("session_id", false)],
                &[],
                false,
            )?;
            let given = match given {
                Value::Null => Map::new(),
                Value::Object(given) => given,
                _ => return Err(ArgumentError::new("parameters: give an object of texts")),
            };
            let texts = parameters(given, &[], &[], true)?.texts;
            let mut own = |name| read.own.remove(name).unwrap_or_default();
            Ok(Body::Task(TaskRequest {
                agent_id: id,
                input: own("input"),
                session_id: own("session_id"),
                parameters: texts,
                ..TaskRequest::default()
            }))
        }
        ToolTarget::Worker { parameters: known } => {
            let own = [("input", false), ("session_id", false)];
            let mut read = parameters(arguments, &own, known, false)?;
            let mut own = |name| read.own.remove(name).unwrap_or_default();
            Ok(Body::Task(TaskRequest {
                agent_id: id,
                input: own("input"),
                session_id: own("session_id"),
                parameters: read.texts,
                ..TaskRequest::default()
            }))
        }
        ToolTarget::ToolOperation {
            operation,
            parameters: known,
        } => {
            let is_open = operation.is_none() && known.is_empty();
            let own: &[_] = match operation {
                Some(_) => &[("session_id", false)],
                None => &[("operation", true), ("session_id", false)],
            };
            let mut read = parameters(arguments, own, known, is_open)?;
            let mut own = |name| read.own.remove(name).unwrap_or_default();
            let (named, session_id) = (own("operation"), own("session_id"));
            Ok(Body::Tool(ToolRequest {
                tool_id: id,
                operation: operation.as_ref().map_or(named, ToString::to_string),
                parameters: read.texts,
                session_id,
            }))
        }
        ToolTarget::Method(call) => Ok(Body::Method(messages(
            call.method(),
            arguments,
            &tool.rules,
        )?)),
        // The mount has the schema, and its server checks the arguments.
        ToolTarget::Mounted { tool: name } => Ok(Body::Mounted(Arc::clone(name), arguments)),
        ToolTarget::Builtin(builtin) => Err(ArgumentError::new(format!(
            "{} is the gateway's own",
            builtin.name()
        ))),
    }
}
