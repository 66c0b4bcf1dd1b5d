//! What a client is sent: messages, responses, and the errors of the mount itself.

use proto::mesh::v1::McpMessage;
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
    let code = match gone {
        Gone::Away(_) | Gone::Lost => Code::Unavailable,
        Gone::Busy(_) => Code::ResourceExhausted,
        Gone::Late(_) => Code::DeadlineExceeded,
    };
    let data = json!({"mesh.v1/status": {"code": format!("{code:?}")}});
    error_with(
        code::INTERNAL,
        &format!("the mounted server: {gone}"),
        &data,
    )
}
