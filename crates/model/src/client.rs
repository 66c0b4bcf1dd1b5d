//! A model at an endpoint, and one request to it with its retries.

use std::sync::Arc;

use chrono::Utc;
use config::{Config, Secret};
use reqwest::{
    Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::warn;

use crate::{
    Error, ModelKeys, TextSink,
    cache::Cache,
    chat_span,
    error::AttemptError,
    error_response::{ErrorResponse, optional_params},
    metrics::ModelMetrics,
    request_params::{EndpointProfile, RequestParams},
    retry,
    stream::{Completion, CompletionBuilder, truncate},
    url::{endpoint, is_azure},
    wire::{Function, Message},
};

/// Longest part of an error response that is read, bytes.
const MAX_ERROR_BODY: usize = 64 * 1024;

/// A model at an endpoint, with a cache of its answers.
///
/// ```
/// use mesh_model::{Model, ModelKeys};
///
/// let model = Model::new(ModelKeys {
///     model_url: Some("http://localhost:11434/v1".to_owned()),
///     model_name: "llama3.2".to_owned(),
///     ..ModelKeys::default()
/// })?;
/// assert_eq!(model.name(), "llama3.2");
/// # Ok::<_, mesh_model::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    http: reqwest::Client,
    url: Url,
    pub(crate) keys: ModelKeys,
    cache: Cache,
    /// What the process has found out about the endpoint.
    endpoint: Arc<EndpointProfile>,
    metrics: Option<ModelMetrics>,
}

/// The question of one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round<'a> {
    pub(crate) messages: &'a [Message],
    pub(crate) functions: &'a [Function],
    /// Whether no function may be called any more. They are still sent, since earlier calls name them.
    pub(crate) closed: bool,
}

impl Round<'_> {
    /// Whether the model has called a function before.
    pub(crate) fn has_calls(&self) -> bool {
        let mut messages = self.messages.iter();
        messages.any(|message| !message.tool_calls.is_empty())
    }
}

impl Model {
    /// The model that the keys describe. Nothing is sent yet.
    ///
    /// # Errors
    /// When the URL is not valid, the model has no name, or the key cannot be a header.
    pub fn new(keys: ModelKeys) -> Result<Self, Error> {
        let bad = |key, problem: &str| Error::InvalidConfig {
            key,
            problem: problem.to_owned(),
        };
        let url = endpoint(keys.model_url.as_deref().unwrap_or_default()).ok_or_else(|| {
            let problem = "is no URL: give one such as http://localhost:11434/v1";
            bad("model_url", problem)
        })?;
        if keys.model_name.is_empty() {
            let problem = "is empty: name the model that model_url serves";
            return Err(bad("model_name", problem));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = keys.model_api_key.as_ref().map(Secret::expose) {
            let secret = |text: &str| {
                let value = HeaderValue::from_str(text);
                let mut value = value.map_err(|_| bad("model_api_key", "cannot be a header"))?;
                value.set_sensitive(true);
                Ok(value)
            };
            headers.insert(AUTHORIZATION, secret(&format!("Bearer {key}"))?);
            if is_azure(&url) {
                headers.insert("api-key", secret(key)?);
            }
        }
        // Neither redirects nor a proxy of the environment: the key goes to the configured host.
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(keys.model_connect_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("mesh/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad("model_url", &error.to_string()))?;
        let params = RequestParams::new(&keys.model_max_tokens_name, &keys.model_omit);
        Ok(Self {
            endpoint: EndpointProfile::shared(url.as_str(), &keys.model_name, params),
            http,
            url,
            cache: Cache::new(keys.model_cache_bytes),
            keys,
            metrics: None,
        })
    }

    /// The same, which counts its tokens and takes the time of its answers in `registry`.
    #[must_use]
    pub fn measured(mut self, registry: &telemetry::MetricsRegistry) -> Self {
        let provider = self.provider();
        self.metrics = Some(ModelMetrics::new(registry, provider, self.name()));
        self
    }

    /// The provider by the conventions for generative AI. An endpoint that only speaks OpenAI's
    /// protocol counts as OpenAI's.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        if is_azure(&self.url) {
            "azure.ai.openai"
        } else {
            "openai"
        }
    }

    /// The model that the configuration describes; `None` when `model_url` is empty.
    ///
    /// # Errors
    /// As [`Model::new`].
    pub fn from_config(config: &Config) -> Result<Option<Self>, Error> {
        let keys = ModelKeys::from_config(config);
        keys.model_url
            .is_some()
            .then(|| Self::new(keys))
            .transpose()
    }

    /// The model's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.keys.model_name
    }

    /// One round: the answer, and whether the cache had it.
    pub(crate) async fn ask(
        &self,
        round: Round<'_>,
        sink: &dyn TextSink,
    ) -> Result<(Arc<Completion>, bool), Error> {
        // The key does not depend on the parameters that the endpoint turns out to reject.
        let plain = self.request(round, &RequestParams::default());
        let key = Cache::key(json!(plain).to_string().as_bytes());
        if let Some(known) = self.cache.get(key) {
            sink.send(&known.content).await;
            return Ok((known, true));
        }
        let began = Instant::now();
        let deadline = began + self.keys.model_timeout;
        let mut span = chat_span::begin(&self.keys, &self.url, round);
        let sending = timeout_at(deadline, self.send(round, sink, deadline));
        let answer = span.run(sending).await.unwrap_or(Err(Error::Timeout));
        chat_span::end(&mut span, &answer);
        if let Some(metrics) = &self.metrics {
            metrics.observe(&answer, began.elapsed());
        }
        let answer = Arc::new(answer?);
        self.cache.put(key, Arc::clone(&answer));
        Ok((answer, false))
    }

    /// The body of a request, without the parameters that the endpoint rejects.
    fn request(&self, round: Round<'_>, params: &RequestParams) -> Map<String, Value> {
        let messages = round.messages.iter().map(|message| {
            let mut sent = json!(message);
            if params.sends_reasoning() && !message.tool_calls.is_empty() {
                sent["reasoning_content"] = json!(message.reasoning);
            }
            sent
        });
        let mut request = Map::new();
        request.insert("model".to_owned(), json!(self.keys.model_name));
        request.insert("messages".to_owned(), messages.collect());
        // Functions that were called have to be sent, whatever the endpoint rejected before.
        let offers = params.has("tools") || round.has_calls();
        if offers && !round.functions.is_empty() {
            let functions = round.functions.iter();
            let tools = functions.map(|it| json!({"type": "function", "function": it}));
            request.insert("tools".to_owned(), tools.collect());
        }
        let optional = [
            // At temperature 0 the same question has the same answer, as the cache assumes.
            ("temperature", self.keys.model_temperature.map(Value::from)),
            ("stream", Some(json!(true))),
            (
                "stream_options",
                params.has("stream").then(|| json!({"include_usage": true})),
            ),
            (
                "tool_choice",
                (round.closed && request.contains_key("tools")).then(|| json!("none")),
            ),
        ];
        let limit = params.max_tokens_name();
        let limit = limit.map(|name| (name, Some(json!(self.keys.model_max_tokens))));
        for (name, value) in optional.into_iter().chain(limit) {
            if let Some(value) = value.filter(|_| params.has(name)) {
                request.insert(name.to_owned(), value);
            }
        }
        request
    }

    /// Sends a request until it is answered, rejected, or out of attempts. A request that leaves out a
    /// rejected parameter is no further attempt.
    async fn send(
        &self,
        round: Round<'_>,
        sink: &dyn TextSink,
        deadline: Instant,
    ) -> Result<Completion, Error> {
        let mut params = self.endpoint.params();
        let mut attempt = 1;
        loop {
            self.wait_out_hold_off(deadline).await?;
            let request = self.request(round, &params);
            let body = json!(request).to_string();
            let (problem, asked) = match self.send_once(body, sink).await {
                Ok(answer) => {
                    self.endpoint.accepted(&params);
                    return Ok(answer);
                }
                Err(AttemptError::Permanent(error)) => return Err(error),
                Err(AttemptError::Transient(problem, asked)) => (problem, asked),
                Err(AttemptError::Rejected(status, said)) => {
                    let refusal = ErrorResponse::parse(status, &said);
                    // A result of a function means nothing without the functions.
                    let mut sent: Vec<_> = optional_params().collect();
                    sent.retain(|name| request.contains_key(*name));
                    sent.retain(|name| *name != "tools" || !round.has_calls());
                    if let Some(next) = params.adapted_to(&refusal, &sent) {
                        params = next;
                        continue;
                    }
                    let message = truncate(&said);
                    if !retry::is_retryable(status) {
                        return Err(Error::Rejected { status, message });
                    }
                    (format!("HTTP {status}: {message}"), None)
                }
            };
            attempt += 1;
            if attempt > self.keys.model_attempts {
                return Err(match asked.filter(|asked| !asked.is_zero()) {
                    Some(asked) => Error::RetryAfter(problem, asked),
                    None => Error::Unavailable(problem),
                });
            }
            let wait = retry::pause(attempt - 1, asked, &mut rand::rng());
            warn!(
                model = self.keys.model_name,
                attempt,
                ?wait,
                problem,
                "asked again"
            );
            if Instant::now() + wait > deadline {
                return Err(Error::RetryAfter(problem, wait));
            }
            sleep(wait).await;
        }
    }

    /// Waits until the endpoint accepts requests again, by a `Retry-After` to any of its models.
    async fn wait_out_hold_off(&self, deadline: Instant) -> Result<(), Error> {
        while let Some(wait) = self.endpoint.hold_off_left() {
            if Instant::now() + wait > deadline {
                let problem = "the endpoint's Retry-After is longer than model_timeout";
                return Err(Error::RetryAfter(problem.to_owned(), wait));
            }
            sleep(wait).await;
        }
        Ok(())
    }

    async fn send_once(
        &self,
        body: String,
        sink: &dyn TextSink,
    ) -> Result<Completion, AttemptError> {
        let lost = |error: reqwest::Error| AttemptError::Transient(cause(error), None);
        let sent = self.http.post(self.url.clone()).body(body).send().await;
        let response = sent.map_err(lost)?;
        let status = response.status();
        if status.is_success() {
            // A reader who has text would get it twice from another attempt.
            let mut streamed = false;
            return match self.read(response, sink, &mut streamed).await {
                Err(AttemptError::Transient(problem, _)) if streamed => {
                    Err(AttemptError::Permanent(Error::Unavailable(problem)))
                }
                done => done,
            };
        }
        let asked = retry::retry_after(response.headers(), Utc::now());
        let status = status.as_u16();
        let asked = asked.filter(|_| retry::is_retryable(status));
        if let Some(asked) = asked {
            self.endpoint.hold_off(asked);
        }
        let said = error_body(response).await;
        match asked {
            Some(_) => {
                let problem = format!("HTTP {status}: {}", truncate(&said));
                Err(AttemptError::Transient(problem, asked))
            }
            None => Err(AttemptError::Rejected(status, said)),
        }
    }

    async fn read(
        &self,
        mut response: reqwest::Response,
        sink: &dyn TextSink,
        streamed: &mut bool,
    ) -> Result<Completion, AttemptError> {
        let mut assembly = CompletionBuilder::default();
        let mut size = 0;
        loop {
            let bytes = match response.chunk().await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                // A connection that is lost after a complete answer does no harm.
                Err(_) if assembly.is_complete() => break,
                Err(error) => return Err(AttemptError::Transient(cause(error), None)),
            };
            size += bytes.len();
            if size > self.keys.model_max_bytes {
                let limit = self.keys.model_max_bytes;
                let text = format!("is over {limit} bytes (model_max_bytes)");
                return Err(AttemptError::Permanent(Error::InvalidResponse(text)));
            }
            let text = assembly.push(&bytes)?;
            if !text.is_empty() {
                *streamed |= sink.has_reader();
                sink.send(&text).await;
            }
        }
        let (answer, text) = assembly.finish()?;
        if !text.is_empty() {
            sink.send(&text).await;
        }
        Ok(answer)
    }
}

/// Why a request or its answer was lost, without the URL, which may contain a key.
fn cause(error: reqwest::Error) -> String {
    truncate(&telemetry::error_chain(&error.without_url()))
}

/// The first part of an error response's body.
async fn error_body(mut response: reqwest::Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(bytes)) = response.chunk().await {
        body.extend_from_slice(&bytes);
        if body.len() > MAX_ERROR_BODY {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}
