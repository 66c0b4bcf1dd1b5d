//! A gateway's refusals: problem details (RFC 9457).

use std::fmt;

use anyhow::{Context as _, bail};
use reqwest::StatusCode;
use serde_json::Value;

/// A refusal.
#[derive(Debug)]
pub(crate) struct Problem {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// The problem details.
    pub(crate) details: Value,
}

impl Problem {
    /// The refusal that an error is, if it is one.
    pub(crate) fn of(error: &anyhow::Error) -> Option<&Self> {
        error.downcast_ref()
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        self.status.is_server_error() || self.status == StatusCode::TOO_MANY_REQUESTS
    }

    pub(crate) fn text(&self, field: &str) -> &str {
        self.details[field].as_str().unwrap_or_default()
    }
}

impl std::error::Error for Problem {}

/// What is wrong, then the request's id, by which the gateway's log has it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.text("title"))?;
        if !self.text("detail").is_empty() {
            write!(f, ": {}", self.text("detail"))?;
        }
        let errors = self.details["errors"].as_array();
        // A single one is in the detail already.
        for error in errors
            .iter()
            .filter(|errors| errors.len() > 1)
            .flat_map(|it| it.iter())
        {
            let of = |name| error[name].as_str().unwrap_or_default();
            write!(f, "\n  {}: {}", of("field"), of("reason"))?;
        }
        match self.text("request_id") {
            "" => Ok(()),
            id => write!(f, "\n  request_id: {id}"),
        }
    }
}

/// An answer's JSON.
pub(super) fn read(address: &str, status: StatusCode, text: &[u8]) -> anyhow::Result<Value> {
    let json: Option<Value> = serde_json::from_slice(text).ok();
    if status.is_success() {
        return json.with_context(|| {
            format!("{address} does not answer with JSON: name a mesh-gateway with --gateway")
        });
    }
    match json {
        Some(details) if details["title"].is_string() => {
            Err(anyhow::Error::new(Problem { status, details }))
        }
        _ => bail!(
            "{address} answers {status} and does not say why: is it a mesh-gateway? Name another \
             with --gateway or MESH_GATEWAY"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_refusal_is_told_with_all_its_fields() {
        let details = json!({
            "title": "A field will not do", "status": 422, "detail": "two fields", "request_id": "r",
            "errors": [{"field": "queue", "reason": "is empty"}, {"field": "kind", "reason": "is none"}],
        });
        let refused = read(
            "gw",
            StatusCode::UNPROCESSABLE_ENTITY,
            details.to_string().as_bytes(),
        );
        let error = refused.unwrap_err();
        assert!(!Problem::of(&error).unwrap().is_transient());
        assert_eq!(
            error.to_string(),
            "422 A field will not do: two fields\n  queue: is empty\n  kind: is none\n  request_id: r"
        );
    }

    #[test]
    fn what_is_no_gateway_is_told_so() {
        for (status, text) in [(StatusCode::OK, "<html>"), (StatusCode::NOT_FOUND, "{}")] {
            let error = read("gw", status, text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("--gateway"), "{error}");
        }
    }
}
