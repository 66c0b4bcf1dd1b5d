//! `POST /api/v1/call/{service}/{grpc}/{method}`: a call of any method, with JSON in and out.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use axum::{
    body::Body,
    response::{Sse, sse},
};
use bytes::Bytes;
use dynamic::{DynamicCall, INSTANCE, MessageStream, SESSION};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderValue, header};
use serde_json::{Value, json};

use super::prelude::*;
use crate::body::{parse_json, read_body};

/// Headers that are sent on as metadata.
const FORWARDED_HEADERS: [&str; 2] = [SESSION, "x-request-id"];

/// How to call.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CallParams {
    /// How long it may take; `call_timeout` when absent.
    #[param(minimum = 1, maximum = 86400000_u64)]
    timeout_ms: Option<u64>,
}

/// Call a method.
///
/// Message and answer are JSON, by the service's own reflection. A stream of answers is a line of
/// JSON each, or server-sent events where Accept asks for them. A stream that breaks ends with
/// {"problem": …}. A method that takes a stream of messages gets them from a JSON array.
#[utoipa::path(post, path = "/api/v1/call/{service}/{grpc}/{method}", tag = "mesh",
    operation_id = "call",
    params(
        ("service" = String, Path, description = "A service's public id or Consul name", example = "echo-agent"),
        ("grpc" = String, Path, description = "The gRPC service's full name", example = "agentplatform.AgentService"),
        ("method" = String, Path, description = "The method", example = "ExecuteTask"),
        CallParams,
        ("x-mesh-session" = Option<String>, Header, description = "The session that the call belongs to")),
    request_body(content = Object, description = "The message", example = json!({"input": "hello"})),
    responses((status = 200, description = "The answer; x-mesh-instance names the instance that gave it", body = Object,
        example = json!({"task_id": "", "output": "Echo Agent Response: hello", "success": true})),
        (status = 401, description = "The service requires authentication", body = Problem,
            content_type = "application/problem+json", example = json!({"status": 401})),
        (status = 499, description = "The service cancelled the call", body = Problem,
            content_type = "application/problem+json", example = json!({"status": 499})),
        (status = 502, description = "The service failed", body = Problem,
            content_type = "application/problem+json", example = json!({"status": 502})),
        (status = 504, description = "No answer in time", body = Problem,
            content_type = "application/problem+json", example = json!({"status": 504}))))]
pub(super) async fn call(
    State(app): State<App>,
    caller: RequestContext,
    QueryParams(params): QueryParams<CallParams>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let unknown = |_| Problem::new(ProblemKind::NotFound, "no service has that name");
    let Path((service, grpc, method)) = path.map_err(unknown)?;
    let wants_events = accepts(request.headers(), "text/event-stream");
    let metadata = metadata(request.headers(), &caller);
    let body = read_body(request, &app).await?;
    let message: Value = if body.is_empty() {
        json!({})
    } else {
        parse_json(&body)?
    };
    let given = params.timeout_ms.map(Duration::from_millis);
    let call = DynamicCall {
        service,
        method: format!("{grpc}/{method}"),
        timeout: Some(given.unwrap_or_else(|| app.keys.call_timeout)),
        metadata,
    };
    let described = app.calls.method(&call.service, &call.method).await?;
    if !described.is_server_streaming() {
        let answer = app.calls.call(&call, message).await?;
        return Ok(with_instance(
            JsonResponse::ok(answer.message).into_response(),
            answer.instance,
        ));
    }
    let stream = app.calls.stream(&call, message).await?;
    let instance = stream.instance.clone();
    let messages = messages(stream);
    let answer = if wants_events {
        let events = messages.map(|(name, value)| {
            let event = sse::Event::default().event(name).data(value.to_string());
            Ok::<_, Infallible>(event)
        });
        Sse::new(events).into_response()
    } else {
        let lines =
            messages.map(|(_, value)| Ok::<_, Infallible>(Bytes::from(format!("{value}\n"))));
        let mut answer = Body::from_stream(lines).into_response();
        let form = HeaderValue::from_static("application/x-ndjson");
        answer.headers_mut().insert(header::CONTENT_TYPE, form);
        answer
    };
    Ok(with_instance(answer, instance))
}

/// The messages as they come, and the problem that broke the stream.
fn messages(
    stream: MessageStream,
) -> impl futures_util::Stream<Item = (&'static str, Value)> + Send {
    stream::unfold(Some(stream), async |stream| {
        let mut stream = stream?;
        match stream.next().await {
            Ok(Some(message)) => Some((("message", message), Some(stream))),
            Ok(None) => None,
            Err(status) => {
                let problem = Problem::from(status);
                Some((("problem", json!({ "problem": problem })), None))
            }
        }
    })
}

fn with_instance(mut answer: Response, instance: Option<String>) -> Response {
    let instance = instance.and_then(|id| HeaderValue::try_from(id).ok());
    if let Some(instance) = instance {
        answer.headers_mut().insert(INSTANCE, instance);
    }
    answer
}

fn metadata(headers: &HeaderMap, caller: &RequestContext) -> BTreeMap<String, String> {
    let mut metadata = caller.trace.clone();
    for name in FORWARDED_HEADERS {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(value) = value {
            metadata.insert(name.to_owned(), value.to_owned());
        }
    }
    metadata
}

fn accepts(headers: &HeaderMap, form: &str) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| value.to_str().is_ok_and(|value| value.contains(form)))
}
