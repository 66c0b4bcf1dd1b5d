//! Calls of tools: real services within the test's process, a real queue and a real runner.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod direct;
mod schemas;
mod tasks;

use std::{sync::Arc, time::Duration};

use discovery::backends::Memory;
use dynamic::{DynamicClient, DynamicOptions, Transport};
use mesh_mcp::{
    CallContext, CallError, CallOutcome, MeshTool, Progress, ProgressSink, ToolCaller,
    ToolDefinition, ToolKeys, ToolResult, ToolTarget, schema,
};
use serde_json::{Value, json};

/// A client of what the registry knows.
pub(crate) fn client(registry: &Arc<Memory>) -> DynamicClient {
    let metrics = telemetry::MetricsRegistry::new();
    let options = channel::ClusterOptions::default();
    let mesh = channel::Mesh::new(registry.clone(), options, &metrics);
    DynamicClient::new(Transport::Mesh(mesh), DynamicOptions::default())
}

/// A tool of a service.
pub(crate) fn tool(service: &str, public_id: &str, target: ToolTarget) -> MeshTool {
    let output = match &target {
        ToolTarget::Agent | ToolTarget::Worker { .. } => Some(schema::task_output_schema()),
        ToolTarget::Method(call) => Some(schema::method_output_schema(
            call.method(),
            &schema::SchemaOptions::default(),
        )),
        _ => None,
    };
    let definition = ToolDefinition {
        name: public_id.to_owned(),
        input_schema: json!({"type": "object"}),
        output_schema: output,
        ..ToolDefinition::default()
    };
    definition.tool(&service.into(), &public_id.into(), target)
}

pub(crate) fn echo_tool() -> MeshTool {
    tool("agent-echo", "echo-agent", ToolTarget::Agent)
}

/// Keeps what is reported.
#[derive(Default)]
pub(crate) struct Reports(pub(crate) Vec<Progress>);

impl ProgressSink for Reports {
    fn is_wanted(&self) -> bool {
        true
    }

    async fn report(&mut self, progress: Progress) {
        self.0.push(progress);
    }
}

pub(crate) async fn call(
    caller: &ToolCaller,
    tool: &MeshTool,
    arguments: Value,
) -> Result<ToolResult, CallError> {
    call_with(caller, tool, arguments, &CallContext::default()).await
}

pub(crate) async fn call_with(
    caller: &ToolCaller,
    tool: &MeshTool,
    arguments: Value,
    context: &CallContext,
) -> Result<ToolResult, CallError> {
    let arguments = arguments.as_object().unwrap().clone();
    match caller.call(tool, arguments, context, &mut ()).await? {
        CallOutcome::Result(result) => Ok(result),
        CallOutcome::Task(task) => panic!("no task was wanted: {task:?}"),
    }
}

/// A result as a client sees it.
pub(crate) fn view(result: &ToolResult) -> Value {
    serde_json::from_str(&result.to_json(true)).unwrap()
}

pub(crate) fn text(result: &ToolResult) -> String {
    view(result)["content"][0]["text"]
        .as_str()
        .unwrap()
        .to_owned()
}

pub(crate) fn keys() -> ToolKeys {
    ToolKeys {
        mcp_call_timeout: Duration::from_secs(10),
        ..ToolKeys::default()
    }
}
