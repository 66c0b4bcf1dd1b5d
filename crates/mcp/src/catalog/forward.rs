//! Requests that mounted servers answer: their prompts and resources, under the names that they give.

use std::sync::Arc;

use dynamic::{CallHead, DynamicClient, MethodRoute};
use prost::Message as _;
use proto::mesh::v1::McpMessage;
use serde_json::{Map, Value, json};

use super::{
    mounts, resources,
    snapshot::{CatalogView, MeshPrompt},
};
use crate::{
    CallError,
    rpc::{self, Message},
};

pub use super::mounts::{mount_name, request};

const CALL: &str = "mesh.v1.McpService/Call";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";

/// The result of a request. Where it says nothing of its client, it is one without capabilities.
///
/// # Errors
/// The server's own error, or `INTERNAL_ERROR` where it does not answer.
pub(super) async fn ask(
    client: &DynamicClient,
    service: &Arc<str>,
    method: &str,
    params: Value,
    head: CallHead,
) -> Result<Map<String, Value>, CallError> {
    let failed = |status: tonic::Status| {
        CallError::internal(format!("the mount does not answer: {}", status.message()))
    };
    let message = match params["_meta"][VERSION].is_string() {
        true => {
            let request = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
            request.to_string().into_bytes()
        }
        false => request(method, params),
    };
    let message = McpMessage {
        message,
        related_request: Vec::new(),
    };
    let route = MethodRoute::new(service, CALL).map_err(failed)?;
    let sent = client.send_bytes(&route, head, vec![message.encode_to_vec().into()]);
    let mut answers = sent.await.map_err(failed)?;
    while let Some(bytes) = answers.next().await.map_err(failed)? {
        let answer = McpMessage::decode(bytes);
        let answer = answer.map_err(|error| CallError::internal(error.to_string()))?;
        let Ok(Message::Response(response)) = rpc::parse_one(&answer.message) else {
            continue;
        };
        return match response.outcome {
            Ok(result) => serde_json::from_str(result.get())
                .map_err(|error| CallError::internal(error.to_string())),
            Err(error) => Err(refused(error.get())),
        };
    }
    Err(CallError::internal("the mount has ended without an answer"))
}

/// An error as the server gave it.
fn refused(error: &str) -> CallError {
    let mut error: Value = serde_json::from_str(error).unwrap_or_default();
    let code = error["code"].as_i64().and_then(|it| i32::try_from(it).ok());
    let data = error["data"].take();
    CallError {
        code: code.unwrap_or(rpc::code::INTERNAL_ERROR),
        message: error["message"].as_str().unwrap_or("no reason").to_owned(),
        data: Some(data).filter(|data| !data.is_null()),
    }
}

/// The mount whose resource has this address, and the address that its server knows: of those that a
/// view shows.
#[must_use]
pub fn resource<'a>(view: &CatalogView, uri: &'a str) -> Option<(Arc<str>, &'a str)> {
    if let Some(known) = view.resource(uri) {
        let inner = mounts::inner_uri(&known.service, uri)?;
        return Some((Arc::clone(&known.service), inner));
    }
    // One that a template describes is in no list.
    uri.strip_prefix(mounts::SCHEME)?;
    view.mounted_tools().find_map(|tool| {
        let inner = mounts::inner_uri(&tool.service, uri)?;
        (!inner.is_empty()).then(|| (Arc::clone(&tool.service), inner))
    })
}

/// The answer to `prompts/get` for the prompt of a mounted server. `params` are the client's.
///
/// # Errors
/// As [`ask`].
pub async fn prompt(
    client: &DynamicClient,
    prompt: &MeshPrompt,
    mut params: Value,
    head: CallHead,
) -> Result<Map<String, Value>, CallError> {
    let name = prompt.of_server.as_deref().unwrap_or(&prompt.name);
    params["name"] = name.into();
    ask(client, &prompt.service, "prompts/get", params, head).await
}

/// What the argument of a mounted server's prompt may be. `params` are the client's.
///
/// # Errors
/// As [`ask`].
pub(super) async fn complete_prompt(
    client: &DynamicClient,
    prompt: &MeshPrompt,
    mut params: Value,
    head: CallHead,
) -> Result<Value, CallError> {
    let name = prompt.of_server.as_deref().unwrap_or(&prompt.name);
    params["ref"]["name"] = name.into();
    let method = "completion/complete";
    match ask(client, &prompt.service, method, params, head).await {
        Ok(mut result) => {
            result.remove("resultType");
            Ok(result.into())
        }
        // Most servers complete nothing.
        Err(error) if error.code == rpc::code::METHOD_NOT_FOUND => {
            Ok(resources::completion(Vec::new()))
        }
        Err(error) => Err(error),
    }
}
