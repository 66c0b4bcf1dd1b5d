//! Calls of tools. What does not depend on the arguments was prepared with the tool, so that a call looks
//! nothing up; its result is written as JSON once.

mod answer;
pub(crate) mod mounted;
mod request;
mod ticker;

use std::{pin::pin, sync::Arc, time::Duration};

use dynamic::{ByteStream, CallHead, DynamicClient};
use serde_json::{Map, Value};
use tonic::{
    Status,
    metadata::{AsciiMetadataValue, MetadataMap},
};

use crate::{
    CallContext, CallError, CallOutcome, MeshTool, ProgressSink, Tasks, ToolKeys, ToolResult,
    status::{failed, invalid_arguments, too_large},
};
pub(crate) use answer::Form;
use answer::StreamedAnswer;
pub(crate) use request::Request;
pub(crate) use ticker::Ticker;

/// Metadata that names the caller to services.
const CALLER: &str = "x-mesh-caller";
/// Metadata by which a service recognizes a call that is sent again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// Calls tools. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ToolCaller {
    client: DynamicClient,
    tasks: Option<Tasks>,
    max_result: usize,
    timeout: Option<Duration>,
}

impl ToolCaller {
    /// Calls by `client`; long calls as jobs where there are `tasks`.
    #[must_use]
    pub fn new(client: DynamicClient, tasks: Option<Tasks>, keys: &ToolKeys) -> Self {
        Self {
            client,
            tasks,
            max_result: keys.mcp_max_result,
            timeout: Some(keys.mcp_call_timeout).filter(|timeout| !timeout.is_zero()),
        }
    }

    /// The jobs that long calls are.
    #[must_use]
    pub const fn tasks(&self) -> Option<&Tasks> {
        self.tasks.as_ref()
    }

    /// Calls a tool. A failure of the tool, of its service or of the mesh is a result that says so. To
    /// cancel the call, drop the future.
    ///
    /// # Errors
    /// For a tool that is gone, and for what is no tool of a service.
    pub async fn call(
        &self,
        tool: &MeshTool,
        arguments: Map<String, Value>,
        context: &CallContext,
        progress: &mut impl ProgressSink,
    ) -> Result<CallOutcome, CallError> {
        if let Some(key) = &context.idempotency_key {
            check_key(key)?;
        }
        let request = match Request::new(tool, arguments)? {
            Ok(request) => request,
            Err(error) => {
                return Ok(CallOutcome::Result(
                    self.finished(invalid_arguments(&error), tool),
                ));
            }
        };
        let is_long = tool.is_task || context.idempotency_key.is_some();
        if let Some(tasks) = self
            .tasks
            .as_ref()
            .filter(|_| is_long && request.is_unary())
            && let Some(job) = tasks.submit(tool, &request, context).await?
        {
            // Rare beside direct calls, and large.
            let outcome = Box::pin(tasks.follow(job, context, progress)).await?;
            return Ok(match outcome {
                CallOutcome::Result(result) => CallOutcome::Result(self.finished(result, tool)),
                task @ CallOutcome::Task(_) => task,
            });
        }
        let result = self.direct(tool, request, context, progress).await?;
        Ok(CallOutcome::Result(self.finished(result, tool)))
    }

    /// One call of the service.
    async fn direct(
        &self,
        tool: &MeshTool,
        request: Request,
        context: &CallContext,
        progress: &mut impl ProgressSink,
    ) -> Result<ToolResult, CallError> {
        let timeout = context.timeout.or(self.timeout);
        let metadata = metadata(context)?;
        let (route, form) = (request.route.clone(), request.form.clone());
        let session = request.session(context);
        let messages = request.encode(context, progress.is_wanted());
        let head = CallHead {
            timeout,
            metadata,
            session,
        };
        let mut ticker = Ticker::new(&tool.service, progress.is_wanted());
        let opening = pin!(self.client.send_bytes(&route, head, messages));
        let mut stream = match ticker.during(opening, progress).await {
            Ok(stream) => stream,
            Err(status) => return failed(&status, &tool.name),
        };
        if matches!(form, Form::Mounted) {
            let read = Box::pin(mounted::answer(&mut stream, &mut ticker, progress)).await;
            let mut result = match read {
                Ok(result) => result?,
                Err(status) => failed(&status, &tool.name)?,
            };
            result.instance = result.instance.or_else(|| stream.instance());
            return Ok(result);
        }
        let read = match form.is_stream() {
            // Rarer than unary calls, and larger.
            true => Box::pin(self.streamed(&form, &mut stream, &mut ticker, progress)).await,
            false => self.unary(&form, &mut stream, &mut ticker, progress).await,
        };
        let mut result = match read {
            Ok(result) => result,
            Err(status) => failed(&status, &tool.name)?,
        };
        if result.instance.is_none() {
            result.instance = stream.instance();
        }
        Ok(result)
    }

    async fn unary(
        &self,
        form: &Form,
        stream: &mut ByteStream,
        ticker: &mut Ticker,
        progress: &mut impl ProgressSink,
    ) -> Result<ToolResult, Status> {
        let reading = async {
            let message = stream.next().await?;
            // The status comes after the message.
            let more = match &message {
                Some(_) => stream.next().await?,
                None => None,
            };
            match (message, more) {
                (Some(message), None) => Ok(message),
                (None, _) => Err(Status::internal("the service ended without a message")),
                (_, Some(_)) => Err(Status::internal("the service sends more than one message")),
            }
        };
        let message = ticker.during(pin!(reading), progress).await?;
        Ok(form.result(message, self.max_result))
    }

    /// Each message is progress. What is past the limits is read on only where somebody wants to know.
    async fn streamed(
        &self,
        form: &Form,
        stream: &mut ByteStream,
        ticker: &mut Ticker,
        progress: &mut impl ProgressSink,
    ) -> Result<ToolResult, Status> {
        let mut answer = StreamedAnswer::new(form, self.max_result);
        loop {
            match ticker.during(stream.next(), progress).await {
                Ok(Some(message)) => {
                    let text = answer.push(message);
                    if progress.is_wanted() {
                        ticker.report(progress, text).await;
                    } else if answer.is_full() {
                        return Ok(answer.finish());
                    }
                }
                Ok(None) => return Ok(answer.finish()),
                Err(status) if answer.is_empty() => return Err(status),
                Err(status) => return Ok(answer.broken(&status)),
            }
        }
    }

    /// Names the service, and refuses what is too large.
    fn finished(&self, mut result: ToolResult, tool: &MeshTool) -> ToolResult {
        if let Some(failure) = too_large(&result, self.max_result) {
            let instance = result.instance.take();
            result = ToolResult {
                instance,
                ..failure
            };
        }
        result.service = Some(Arc::clone(&tool.service));
        result
    }
}

/// As the queue takes keys of clients.
fn check_key(key: &str) -> Result<(), CallError> {
    let fits =
        (1..=256).contains(&key.len()) && key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match fits {
        true => Ok(()),
        false => Err(CallError::invalid_params(
            "mesh.v1/idempotencyKey: give 1 to 256 printable characters of ASCII",
        )),
    }
}

/// What goes to the service beside the message.
fn metadata(context: &CallContext) -> Result<MetadataMap, CallError> {
    let mut metadata = context.metadata.clone();
    let named = [
        (CALLER, context.caller.as_deref()),
        (IDEMPOTENCY_KEY, context.idempotency_key.as_deref()),
    ];
    for (name, value) in named {
        let Some(value) = value else { continue };
        let value = AsciiMetadataValue::try_from(value)
            .map_err(|_| CallError::invalid_params(format!("{name} has to be printable ASCII")))?;
        metadata.insert(name, value);
    }
    Ok(metadata)
}
