//! The kind `http`: a request to a server outside the mesh.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fetch::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use jobs::Failure;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use crate::{Attempt, Description, FieldError, JobKind};

/// The longest that a request may ask to take, in seconds.
pub const MAX_TIMEOUT: f64 = 30.0;

/// How many characters of a failed answer the error shows.
const MAX_SHOWN: usize = 300;

/// A request to be sent. The runner decides whether it may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// An `http` or `https` URL.
    pub url: String,
    /// Its method; `GET`.
    #[serde(default = "get")]
    pub method: String,
    /// Its headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Its body, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How many seconds it may take, redirects included; 10, at most [`MAX_TIMEOUT`].
    #[serde(default = "ten")]
    pub timeout: f64,
    /// Every answer is a result, whatever its status.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub any_status: bool,
}

fn get() -> String {
    "GET".to_owned()
}

const fn ten() -> f64 {
    10.0
}

/// Headers that the connection sets.
const RESERVED: [HeaderName; 6] = [
    header::HOST,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
];

impl Http {
    /// How long it may take, redirects included.
    #[must_use]
    pub fn time_limit(&self) -> Duration {
        Duration::try_from_secs_f64(self.timeout.min(MAX_TIMEOUT)).unwrap_or_default()
    }

    /// Whether the next answer may have another status: too early, too many, or the server's own fault.
    #[must_use]
    pub fn may_pass(status: StatusCode) -> bool {
        status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
    }
}

impl JobKind for Http {
    const NAME: &'static str = "http";
    const DESCRIPTION: Description = Description {
        does: "sends a request to a server outside the mesh",
        payload: "`url`, `method`, `headers`, `body`, `timeout` in seconds; `any_status`: every answer is a result",
        result: "`status_code`, `headers`, `body` (or `body_base64`) and `url`",
        retried: "no connection, no answer in time, 408, 425, 429, 5xx",
        dead: "every other status from 400; an address that is not allowed",
        example: r#"{"kind": "http", "payload": {"url": "https://example.org/get", "method": "GET", "timeout": 10}, "max_attempts": 3}"#,
    };

    fn check(&self) -> Result<(), FieldError> {
        check_url(&self.url).map_err(|reason| FieldError::new("url", reason))?;
        match Method::try_from(self.method.as_str()) {
            Ok(method) if ![Method::CONNECT, Method::TRACE].contains(&method) => {}
            _ => {
                let reason = format!("{:?} is no method to send, such as GET", self.method);
                return Err(FieldError::new("method", reason));
            }
        }
        for (name, value) in &self.headers {
            let wrong = |reason| Err(FieldError::new(format!("headers.{name}"), reason));
            match HeaderName::try_from(name.as_str()) {
                Err(_) => return wrong("is no name of a header"),
                Ok(known) if RESERVED.contains(&known) => {
                    return wrong("the connection sets this itself");
                }
                Ok(_) if HeaderValue::try_from(value.as_str()).is_err() => {
                    return wrong("give printable text");
                }
                Ok(_) => {}
            }
        }
        if !(self.timeout > 0.0 && self.timeout <= MAX_TIMEOUT) {
            let reason = format!(
                "{} is not more than 0 and at most {MAX_TIMEOUT} seconds",
                self.timeout
            );
            return Err(FieldError::new("timeout", reason));
        }
        Ok(())
    }

    async fn run(&self, attempt: &Attempt<'_>) -> Result<Value, Failure> {
        let (client, facts) = (&attempt.runtime.http, attempt.facts);
        let request = build(self, attempt).map_err(Failure::permanent)?;
        let answer = client.send(request).await.map_err(|error| {
            let text = error.to_string();
            match error.is_transient() {
                true => Failure::retryable(text),
                false => Failure::permanent(text),
            }
        })?;
        facts.set("response_bytes", answer.body.len());
        facts.set("redirects", answer.redirects);
        if answer.status.as_u16() >= 400 && !self.any_status {
            let text = String::from_utf8_lossy(&answer.body);
            let text: String = text.chars().take(MAX_SHOWN).collect();
            let error = format!("{} answered {}: {text}", answer.url, answer.status);
            return Err(match client.retry_after(&answer.headers) {
                _ if !Self::may_pass(answer.status) => Failure::permanent(error),
                Some(after) => Failure::retry_after(error, after),
                None => Failure::retryable(error),
            });
        }
        let mut result = json!({
            "status_code": answer.status.as_u16(),
            "url": answer.url.as_str(),
            "headers": header_map(&answer.headers),
            "redirects": answer.redirects,
        });
        match std::str::from_utf8(&answer.body) {
            Ok(text) => result["body"] = text.into(),
            Err(_) => result["body_base64"] = BASE64_STANDARD.encode(&answer.body).into(),
        }
        Ok(result)
    }
}

fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("{} is neither http nor https", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a URL is logged, give credentials in a header".to_owned());
    }
    Ok(())
}

fn build(request: &Http, attempt: &Attempt<'_>) -> Result<Request, String> {
    let url = Url::parse(&request.url).map_err(|error| format!("url: {error}"))?;
    let method =
        Method::try_from(request.method.as_str()).map_err(|error| format!("method: {error}"))?;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let parsed = HeaderName::try_from(name.as_str())
            .ok()
            .zip(HeaderValue::try_from(value.as_str()).ok());
        let (name, value) = parsed.ok_or_else(|| format!("headers.{name}: cannot be sent"))?;
        headers.append(name, value);
    }
    // A job may run twice. A server that knows this header recognizes the repeated request.
    if !method.is_safe()
        && let Ok(key) = HeaderValue::try_from(attempt.idempotency_key())
    {
        headers.entry("idempotency-key").or_insert(key);
    }
    Ok(Request {
        url,
        method,
        headers,
        body: request.body.clone().unwrap_or_default().into(),
        time: Some(request.time_limit().min(attempt.time_left())),
    })
}

/// Headers as an object. Repeated ones are joined by commas, as HTTP allows.
fn header_map(headers: &HeaderMap) -> Map<String, Value> {
    let joined = |name: &HeaderName| {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        (name.to_string(), values.join(", ").into())
    };
    headers.keys().map(joined).collect()
}
