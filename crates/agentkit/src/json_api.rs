//! JSON APIs outside the mesh, which tools ask at hosts of the operator's choice.

use std::{fmt::Display, time::Duration};

use fetch::{EgressPolicy, FetchLimits, HttpClient, Request};
use http::{HeaderValue, header::ACCEPT};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::text::shorten;

/// A client of a JSON API. It follows no redirects: a key goes to the configured host only.
#[derive(Debug)]
pub struct JsonApi {
    client: HttpClient,
    limit_key: Option<&'static str>,
}

/// Why an API gave no answer. A retry may succeed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApiError(String);

impl ApiError {
    /// The error about a host that did not answer as it should.
    #[must_use]
    pub fn new(host: &str, problem: impl Display) -> Self {
        Self(format!("{host}: {problem}"))
    }
}

impl JsonApi {
    /// A client whose requests take at most `timeout`, and whose answers have at most `max_bytes`, the
    /// value of the key `limit_key` if it is one.
    ///
    /// # Errors
    /// When the system's TLS cannot be set up.
    pub fn new(
        policy: EgressPolicy,
        timeout: Duration,
        max_bytes: usize,
        limit_key: Option<&'static str>,
    ) -> Result<Self, fetch::Error> {
        let limits = FetchLimits {
            time: timeout,
            connect: timeout,
            body: max_bytes,
            redirects: 0,
            ..FetchLimits::default()
        };
        let client = HttpClient::new(policy, limits)?;
        Ok(Self { client, limit_key })
    }

    /// Sends a request whose answer is a `T`.
    ///
    /// # Errors
    /// When the host does not answer, answers with an error, or the answer is no `T`.
    pub async fn send<T: DeserializeOwned>(&self, mut request: Request) -> Result<T, ApiError> {
        let host = request.url.host_str().unwrap_or_default().to_owned();
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(ACCEPT, json);
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| match error {
            fetch::Error::TooLarge { limit } => {
                let key = self.limit_key.map(|key| format!(", the limit of {key}"));
                let key = key.unwrap_or_default();
                ApiError::new(
                    &host,
                    format!("the answer is larger than {limit} bytes{key}"),
                )
            }
            fetch::Error::Redirects { .. } => {
                ApiError::new(&host, "it redirects, which is not followed")
            }
            fetch::Error::Timeout { .. } => ApiError::new(&host, error),
            // The others name the host.
            other => ApiError(other.to_string()),
        })?;
        let (status, body) = (answer.status, answer.body);
        if !status.is_success() {
            let problem = format!("HTTP {status}: {}", shorten(&reason(&body)));
            return Err(ApiError::new(&host, problem));
        }
        serde_json::from_slice(&body).map_err(|error| {
            let problem = format!("the answer is not JSON of a known form: {error}");
            ApiError::new(&host, problem)
        })
    }
}

/// The `reason` of an error as JSON, else its text.
fn reason(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    match json["reason"].as_str() {
        Some(reason) => reason.to_owned(),
        None => String::from_utf8_lossy(body).into_owned(),
    }
}
