//! The kind `http`.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use fetch::{HttpClient, Request};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jobs::{Failure, Job};
use serde_json::{Map, Value, json};
use url::Url;
use work::Http;

use super::call::idempotency_key;
use crate::meter::AttemptFacts;

/// How much of an answer that is a failure is told.
const MAX_SHOWN: usize = 300;

/// Sends the request of a job: its result is the answer. A status from 400 is a failure, one that
/// may pass where the status says so.
pub(crate) async fn run(
    client: &HttpClient,
    request: &Http,
    job: &Job,
    left: Duration,
    facts: &AttemptFacts,
) -> Result<Value, Failure> {
    let request = build(request, job, left).map_err(Failure::permanent)?;
    let answer = client
        .send(request)
        .await
        .map_err(|error| match error.is_transient() {
            true => Failure::retryable(error.to_string()),
            false => Failure::permanent(error.to_string()),
        })?;
    facts.set("response_bytes", answer.body.len());
    facts.set("redirects", answer.redirects);
    if answer.status.as_u16() >= 400 {
        let text = String::from_utf8_lossy(&answer.body);
        let text: String = text.chars().take(MAX_SHOWN).collect();
        let error = format!("{} answered {}: {text}", answer.url, answer.status);
        return Err(
            match (
                is_retryable(answer.status),
                client.retry_after(&answer.headers),
            ) {
                (true, Some(after)) => Failure::retry_after(error, after),
                (true, None) => Failure::retryable(error),
                (false, _) => Failure::permanent(error),
            },
        );
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

fn build(request: &Http, job: &Job, left: Duration) -> Result<Request, String> {
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
    // A job may be done twice: a server that knows the header sees that it is the same request.
    if !method.is_safe()
        && let Ok(key) = HeaderValue::try_from(idempotency_key(job))
    {
        headers.entry("idempotency-key").or_insert(key);
    }
    Ok(Request {
        url,
        method,
        headers,
        body: request.body.clone().unwrap_or_default().into(),
        time: Some(request.time_limit().min(left)),
    })
}

/// Too early, too many, or the server's own fault.
fn is_retryable(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Headers as an object; those that come several times are joined, as HTTP reads them.
fn header_map(headers: &HeaderMap) -> Map<String, Value> {
    let mut told = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter();
        let values: Vec<_> = values
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        told.insert(name.to_string(), values.join(", ").into());
    }
    told
}
