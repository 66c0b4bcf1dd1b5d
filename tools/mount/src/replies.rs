//! What a client is sent: messages, responses, and the errors of the mount itself.

use proto::{
    error_info::{self, Reason},
    mesh::v1::McpMessage,
};
use serde_json::json;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::{
    link::Gone,
    message::{self, Outcome, Raw, code, error, error_with},
};

/// Where messages to a client go.
pub(crate) type Out = mpsc::Sender<Result<McpMessage, Status>>;

/// Sends a response.
pub(crate) async fn answer(out: &Out, id: Option<&Raw>, outcome: &Outcome) {
    let message = message::response(id.map(|it| &**it), outcome);
    let related_request = id
        .map(|id| id.get().as_bytes().to_vec())
        .unwrap_or_default();
    send(out, message, related_request).await;
}

/// Sends a message. A client that has left is no error.
pub(crate) async fn send(out: &Out, message: Vec<u8>, related_request: Vec<u8>) {
    let message = McpMessage {
        message,
        related_request,
    };
    out.send(Ok(message)).await.ok();
}

/// The error about a method that nobody knows.
pub(crate) fn unknown(method: &str) -> Raw {
    error(
        code::UNKNOWN_METHOD,
        format!("Method not found: {method:.200}"),
    )
}

/// The error about a server that does not answer, with the gRPC status that it would be.
pub(crate) fn gone_error(gone: &Gone) -> Raw {
    let (code, ..) = classified(gone);
    let data = json!({"mesh.v1/status": {"code": format!("{code:?}")}});
    error_with(code::INTERNAL, &gone_text(gone), &data)
}

/// A server that does not answer, as a status.
pub(crate) fn gone_status(gone: &Gone) -> Status {
    let (code, reason, key) = classified(gone);
    let key = key.map(|key| ("key", key.to_owned()));
    error_info::status(code, reason, gone_text(gone), key)
}

fn gone_text(gone: &Gone) -> String {
    format!("the mounted server: {gone}")
}

/// The code and reason of the status, and the key of the limit that was reached.
const fn classified(gone: &Gone) -> (Code, Reason, Option<&'static str>) {
    match gone {
        Gone::Away(_) => (Code::Unavailable, Reason::DependencyAway, None),
        Gone::Lost => (Code::Unavailable, Reason::ConnectionLost, None),
        Gone::Busy(_) => (
            Code::ResourceExhausted,
            Reason::Limit,
            Some("mount_max_calls"),
        ),
        Gone::Late(_) => (Code::DeadlineExceeded, Reason::Limit, Some("mount_timeout")),
    }
}
