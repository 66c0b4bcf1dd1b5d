//! The spans of agents and tools, as OpenTelemetry's conventions for generative AI name them. What was
//! asked and answered is in them only where `trace_content` says so.

use std::collections::BTreeMap;

use serde_json::json;
use service::Context;
use telemetry::{ScopedSpan, SpanKind, rpc, trace_content};

use crate::{Invocation, InvocationError, Task, TaskError, TaskOutcome, text::truncate};

/// The longest operation that a span names, characters: callers may send anything.
const MAX_OPERATION: usize = 64;

/// The span of a task that an agent works on.
pub(crate) fn agent(context: &Context, task: &Task) -> ScopedSpan {
    let name = context.public_id();
    let mut span = ScopedSpan::begin(format!("invoke_agent {name}"), SpanKind::Internal);
    span.record(|fields| {
        fields.text("gen_ai.operation.name", "invoke_agent");
        fields.text("gen_ai.agent.name", &name);
        fields.text("gen_ai.agent.id", &context.instance_id);
        if !task.session.is_empty() {
            fields.text("gen_ai.conversation.id", &task.session);
        }
        if trace_content() {
            let asked =
                json!([{"role": "user", "parts": [{"type": "text", "content": task.goal}]}]);
            fields.text("gen_ai.input.messages", &asked.to_string());
        }
    });
    span
}

/// Notes how a task ended.
pub(crate) fn ended(span: &mut ScopedSpan, result: &Result<TaskOutcome, TaskError>) {
    match result {
        Ok(outcome) => span.record(|fields| {
            if trace_content() {
                let part = json!({"type": "text", "content": outcome.output});
                let said = json!([{"role": "assistant", "parts": [part], "finish_reason": "stop"}]);
                fields.text("gen_ai.output.messages", &said.to_string());
            }
        }),
        // What is wrong with a task is its sender's affair.
        Err(TaskError::Invalid(_)) => {}
        Err(TaskError::Unavailable(_)) => span.fail("unavailable"),
        Err(TaskError::ModelUnavailable { .. }) => span.fail("model_unavailable"),
    }
}

/// The span of a call of a tool.
pub(crate) fn tool(context: &Context, call: &Invocation) -> ScopedSpan {
    let name = context.public_id();
    let mut span = ScopedSpan::begin(format!("execute_tool {name}"), SpanKind::Internal);
    span.record(|fields| {
        fields.text("gen_ai.operation.name", "execute_tool");
        fields.text("gen_ai.tool.name", &name);
        fields.text("gen_ai.tool.type", "function");
        fields.text("mesh.operation", &truncate(&call.operation, MAX_OPERATION));
        if trace_content() {
            let given = json!(call.parameters.iter().collect::<BTreeMap<_, _>>());
            fields.text("gen_ai.tool.call.arguments", &given.to_string());
        }
    });
    span
}

/// Notes how a call of a tool ended.
pub(crate) fn tool_ended(span: &mut ScopedSpan, outcome: &Result<String, InvocationError>) {
    match outcome {
        Ok(result) => span.record(|fields| {
            if trace_content() {
                fields.text("gen_ai.tool.call.result", result);
            }
        }),
        Err(InvocationError::Rejected(_)) => {}
        Err(InvocationError::Status(status)) => {
            let code = status.code() as i32;
            if rpc::is_server_error(code) {
                span.fail(rpc::code_name(code));
            }
        }
    }
}
