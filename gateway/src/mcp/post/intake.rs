//! What a client sends: its body, and what it takes as an answer.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use mcp::rpc::{RpcError, code};
use service::{BodyTimeout, RequestBody};

use crate::mcp::{McpServer, answer};

/// What a client takes as an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Takes {
    /// Streams of events.
    pub(crate) events: bool,
}

impl Takes {
    /// Refuses a body that is not declared as JSON.
    pub(in crate::mcp) fn of_content(headers: &HeaderMap) -> Result<(), Response> {
        if let Err(problem) = crate::body::check_content_type(headers) {
            let error = RpcError::new(code::INVALID_REQUEST, problem.detail);
            return Err(answer::error(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                None,
                &error,
            ));
        }
        Ok(())
    }

    /// By `Accept` and `Content-Type`.
    pub(in crate::mcp) fn of(headers: &HeaderMap) -> Result<Self, Response> {
        Self::of_content(headers)?;
        let (mut events, mut json, mut said) = (false, false, false);
        for value in headers.get_all(header::ACCEPT) {
            said = true;
            let value = value.to_str().unwrap_or_default();
            for form in value.split(',') {
                match form.split(';').next().unwrap_or_default().trim() {
                    "text/event-stream" | "text/*" => events = true,
                    "application/json" | "application/*" => json = true,
                    "*/*" => json = true,
                    _ => {}
                }
            }
        }
        if said && !json && !events {
            let text = "send Accept: application/json, text/event-stream";
            let error = RpcError::new(code::INVALID_REQUEST, text);
            return Err(answer::error(StatusCode::NOT_ACCEPTABLE, None, &error));
        }
        Ok(Self { events })
    }
}

impl McpServer {
    /// The whole body, up to the limit.
    pub(in crate::mcp) async fn read_body(
        &self,
        headers: &HeaderMap,
        body: RequestBody,
    ) -> Result<Bytes, Response> {
        let invalid = |status, text: String| {
            Err(answer::error(
                status,
                None,
                &RpcError::new(code::INVALID_REQUEST, text),
            ))
        };
        if let Some(form) = headers.get(header::CONTENT_ENCODING)
            && form != "identity"
        {
            let text = "compressed bodies are not taken here".to_owned();
            return invalid(StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
        }
        match Limited::new(body, self.keys.mcp_max_body).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => {
                let text = format!(
                    "the body is larger than mcp_max_body = {}",
                    self.keys.mcp_max_body
                );
                invalid(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            Err(error) if error.is::<BodyTimeout>() => {
                let text = "no more of the body arrived within body_timeout".to_owned();
                invalid(StatusCode::REQUEST_TIMEOUT, text)
            }
            Err(_) => {
                let text = "the connection ended before the whole body had arrived".to_owned();
                invalid(StatusCode::BAD_REQUEST, text)
            }
        }
    }
}
