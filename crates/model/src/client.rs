//! One endpoint, and one request to it.

use std::{fmt, sync::Arc, time::Duration};

use chrono::Utc;
use reqwest::{
    Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::{
    Error, Listener,
    cache::Cache,
    retry,
    stream::{Answer, Assembly},
    wire::{Function, Message, Offered, Request, StreamOptions},
};

/// Longest part of a refusal that is repeated, characters.
const LONGEST_REFUSAL: usize = 300;

/// What a model is made of.
#[derive(Clone)]
pub struct Settings {
    /// Base URL of the API, with or without `/v1`.
    pub url: String,
    /// The model to ask for.
    pub name: String,
    /// The API's key.
    pub api_key: Option<String>,
    /// Longest time for one request, its retries included.
    pub timeout: Duration,
    /// Longest time for a connection.
    pub connect_timeout: Duration,
    /// How often one request is sent, ≥ 1.
    pub attempts: u32,
    /// How often the model may call functions before it has to answer.
    pub rounds: u32,
    /// Most tokens of one answer.
    pub max_tokens: u32,
    /// Largest answer, bytes.
    pub max_bytes: usize,
    /// Answers kept, bytes; 0 for none.
    pub cache_bytes: usize,
}

/// A model at an endpoint. Its cache is shared by whoever shares it.
#[derive(Debug)]
pub struct Model {
    http: reqwest::Client,
    url: Url,
    pub(crate) settings: Settings,
    cache: Cache,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key.
        f.debug_struct("Settings")
            .field("url", &self.url)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Model {
    /// Checks the settings; nothing is sent.
    ///
    /// # Errors
    /// When the URL is none, the model has no name, or the key cannot be a header.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let bad = |key, problem: &str| Error::Setup {
            key,
            problem: problem.to_owned(),
        };
        let url = endpoint(&settings.url).ok_or_else(|| {
            bad(
                "model_url",
                "is no URL: give one such as http://localhost:11434/v1",
            )
        })?;
        if settings.name.is_empty() {
            return Err(bad(
                "model_name",
                "is empty: name the model that model_url serves",
            ));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &settings.api_key {
            let value = HeaderValue::from_str(&format!("Bearer {key}"));
            let mut value = value.map_err(|_| bad("model_api_key", "cannot be a header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        // Neither redirects nor a proxy of the environment: the key goes to the configured host.
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(settings.connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("mesh/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad("model_url", &error.to_string()))?;
        Ok(Self {
            http,
            url,
            cache: Cache::new(settings.cache_bytes),
            settings,
        })
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// One round: the answer, and whether the cache had it.
    pub(crate) async fn ask(
        &self,
        messages: &[Message],
        functions: &[Function],
        listener: &dyn Listener,
    ) -> Result<(Arc<Answer>, bool), Error> {
        let body = self.body(messages, functions)?;
        let key = Cache::key(&body);
        if let Some(known) = self.cache.get(key) {
            listener.text(&known.content).await;
            return Ok((known, true));
        }
        let deadline = Instant::now() + self.settings.timeout;
        let answer = timeout_at(deadline, self.send(&body, listener)).await;
        let answer = Arc::new(answer.map_err(|_| Error::Timeout)??);
        self.cache.put(key, Arc::clone(&answer));
        Ok((answer, false))
    }

    fn body(&self, messages: &[Message], functions: &[Function]) -> Result<Vec<u8>, Error> {
        let offered = |function| Offered {
            kind: "function",
            function,
        };
        let request = Request {
            model: &self.settings.name,
            messages,
            tools: functions.iter().map(offered).collect(),
            temperature: 0,
            max_tokens: self.settings.max_tokens,
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
        };
        serde_json::to_vec(&request).map_err(|error| Error::Answer(error.to_string()))
    }

    /// Sends a request until it is answered, refused, or sent often enough.
    async fn send(&self, body: &[u8], listener: &dyn Listener) -> Result<Answer, Error> {
        let mut attempt = 1;
        loop {
            let (problem, asked) = match self
                .http
                .post(self.url.clone())
                .body(body.to_vec())
                .send()
                .await
            {
                Err(error) => (error.without_url().to_string(), None),
                Ok(response) if response.status().is_success() => {
                    // Once text has been told, another attempt would tell it twice.
                    let mut told = false;
                    match self.read(response, listener, &mut told).await {
                        Err(Error::Away(problem)) if !told => (problem, None),
                        done => return done,
                    }
                }
                Ok(response) => {
                    let status = response.status();
                    let after = response.headers().get(RETRY_AFTER).cloned();
                    let message = refusal(response).await;
                    if !retry::passes(status) {
                        return Err(Error::Refused {
                            status: status.as_u16(),
                            message,
                        });
                    }
                    let asked = after
                        .and_then(|value| retry::retry_after(value.to_str().ok()?, Utc::now()));
                    (format!("HTTP {}: {message}", status.as_u16()), asked)
                }
            };
            attempt += 1;
            if attempt > self.settings.attempts {
                return Err(Error::Away(problem));
            }
            let wait = retry::wait(attempt, asked, rand::random());
            warn!(
                model = self.settings.name,
                attempt,
                ?wait,
                problem,
                "asked again"
            );
            sleep(wait).await;
        }
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        listener: &dyn Listener,
        told: &mut bool,
    ) -> Result<Answer, Error> {
        let kind = response.headers().get(CONTENT_TYPE);
        let whole = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        let mut assembly = Assembly::default();
        let (mut size, mut body) = (0, Vec::new());
        let lost = |error: reqwest::Error| Error::Away(error.without_url().to_string());
        while let Some(bytes) = response.chunk().await.map_err(lost)? {
            size += bytes.len();
            if size > self.settings.max_bytes {
                let limit = self.settings.max_bytes;
                return Err(Error::Answer(format!(
                    "is over {limit} bytes (model_max_bytes)"
                )));
            }
            if whole {
                body.extend_from_slice(&bytes);
                continue;
            }
            let text = assembly.push(&bytes)?;
            if !text.is_empty() {
                *told = true;
                listener.text(&text).await;
            }
        }
        if whole {
            let text = assembly.whole(&body)?;
            listener.text(&text).await;
        }
        assembly.end()
    }
}

/// Where chat completions are; the base URL is taken with and without `/v1`.
fn endpoint(base: &str) -> Option<Url> {
    let base = base.trim_end_matches('/');
    let path = match base {
        _ if base.ends_with("/chat/completions") => "",
        _ if base.ends_with("/v1") => "/chat/completions",
        _ => "/v1/chat/completions",
    };
    let url = format!("{base}{path}").parse::<Url>().ok()?;
    matches!(url.scheme(), "http" | "https").then_some(url)
}

/// The first part of what an endpoint says instead of an answer.
async fn refusal(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() > 4 * LONGEST_REFUSAL {
            break;
        }
    }
    let text = String::from_utf8_lossy(&body);
    text.trim().chars().take(LONGEST_REFUSAL).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_url_is_taken_in_its_three_forms() {
        for base in ["http://m", "http://m/v1/", "http://m/v1/chat/completions"] {
            assert_eq!(
                endpoint(base).unwrap().as_str(),
                "http://m/v1/chat/completions"
            );
        }
        assert!(endpoint("localhost:11434").is_none());
    }
}
