//! Requests that another mount of the same name holds.

use proto::mesh::v1::{McpMessage, mcp_service_client::McpServiceClient};
use serde_json::{Value, json};

use super::{CALLER, Call, PASSED_ON};
use crate::{
    asks::{self, TASKS},
    link::{Era, Facts},
    message::{Raw, code, error, error_with, raw, text},
    mount::Mount,
    parked::{Parked, State},
    replies::{Out, answer},
};

/// Where a task is.
pub(super) enum Found {
    /// At the server, under the id that the request has now.
    Here,
    /// At the server, which is of an earlier revision, under this id.
    Legacy(String),
    /// At another mount, which has answered.
    PassedOn,
    Nowhere(Raw),
}

pub(super) async fn find_task(
    mount: &Mount,
    call: &mut Call,
    facts: &Facts,
    bytes: &[u8],
    out: &Out,
) -> Found {
    let given = text(call.params.get("taskId")).unwrap_or_default();
    if facts.era == Era::Legacy && !asks::has_tasks(&call.capabilities.0) {
        let data = json!({"requiredCapabilities": {"extensions": {TASKS: {}}}});
        let text = "Missing required client capability";
        return Found::Nowhere(error_with(code::NO_CAPABILITY, text, &data));
    }
    let State::Task { instance, sealed } = Parked::read(&given) else {
        // Those of a server that others can ask too are not marked.
        return match (facts.era, facts.is_own) {
            (Era::Modern, false) => Found::Here,
            _ => Found::Nowhere(error(code::INVALID_PARAMS, "there is no such task")),
        };
    };
    if !mount.parked.is_here(&instance) {
        if pass_on(mount, call, &instance, bytes, out).await {
            return Found::PassedOn;
        }
        let text = "there is no such task: the mount that had it is gone";
        return Found::Nowhere(error(code::INVALID_PARAMS, text));
    }
    // Somebody else's does not exist, as far as a caller can tell.
    let Some(id) = mount.parked.task(sealed, &call.caller) else {
        return Found::Nowhere(error(code::INVALID_PARAMS, "there is no such task"));
    };
    if facts.era == Era::Legacy {
        return Found::Legacy(id.to_owned());
    }
    call.params
        .insert("taskId".to_owned(), raw(&Value::from(id)));
    Found::Here
}

/// Passes a request on to the mount that holds its state, but only once. Whether that one took it.
pub(super) async fn pass_on(
    mount: &Mount,
    call: &Call,
    instance: &str,
    bytes: &[u8],
    out: &Out,
) -> bool {
    if call.passed_on {
        return false;
    }
    let channel = mount.context.mesh.channel(mount.context.spec.service);
    let mut client = McpServiceClient::new(channel.instance(instance))
        .max_decoding_message_size(mount.keys.mount_max_message.saturating_add(1 << 20));
    let mut request = tonic::Request::new(McpMessage {
        message: bytes.to_vec(),
        related_request: Vec::new(),
    });
    let metadata = request.metadata_mut();
    metadata.insert(PASSED_ON, tonic::metadata::MetadataValue::from_static("1"));
    if let Ok(caller) = call.caller.parse() {
        metadata.insert(CALLER, caller);
    }
    let Ok(answers) = client.call(request).await else {
        return false;
    };
    let mut answers = answers.into_inner();
    loop {
        let next = tokio::select! {
            next = answers.message() => next,
            () = out.closed() => return true,
        };
        match next {
            Ok(Some(message)) => drop(out.send(Ok(message)).await),
            Ok(None) => return true,
            Err(status) => {
                let text = format!("the mount that held this request: {}", status.message());
                let outcome = Err(error(code::INTERNAL, text));
                answer(out, Some(&call.id), &outcome).await;
                return true;
            }
        }
    }
}
