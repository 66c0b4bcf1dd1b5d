//! One request to Consul and its answer. Registrations go through consulrs. What it lacks, and what
//! it drops from an answer, is requested by the same HTTP client.

use std::{fmt, future::Future, time::Duration};

use consulrs::{
    api::ApiResponse,
    client::{ConsulClient, ConsulClientSettings},
    error::ClientError,
};
use reqwest::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use telemetry::root_cause;
use tokio::time::{Instant, timeout};

use super::{
    api_types::{AgentSelf, AgentService},
    options::{ConsulOptions, NAME},
    request::{millis, register_request},
};
use crate::{Error, Registration, status::AnswerCounts, validate};

/// How long a request may take that does not wait for changes. A blocking query may take this much
/// longer than its wait.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The wait of a brief blocking query.
const BRIEF_WAIT: Duration = Duration::from_secs(2);

/// How much of Consul's own words an error repeats, bytes.
const MAX_ERROR_BYTES: usize = 300;

/// How to ask a question that can wait for changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueryMode {
    /// Any server answers, when its state has changed or the wait is over.
    Blocking {
        /// The index of the last answer; 0 is answered at once.
        index: u64,
        /// Whether to wait for [`BRIEF_WAIT`] only.
        brief: bool,
    },
    /// The leader answers, at once.
    Immediate,
}

/// An answer with its index.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) index: u64,
    pub(super) value: T,
    /// Whether Consul says that it left out what the token may not read.
    pub(super) filtered: bool,
    /// How long it took to read.
    pub(super) cost: Duration,
}

impl<T> Answer<T> {
    #[cfg(test)]
    pub(super) fn new(index: u64, value: T) -> Self {
        Self {
            index,
            value,
            filtered: false,
            cost: Duration::ZERO,
        }
    }

    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            index: self.index,
            filtered: self.filtered,
            cost: self.cost,
            value: change(self.value),
        }
    }
}

/// Asks one Consul agent.
pub(super) struct ConsulApi {
    consul: ConsulClient,
    wait: Duration,
    pub(super) answers: AnswerCounts,
}

impl fmt::Debug for ConsulApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsulApi")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl ConsulApi {
    pub(super) fn new(options: &ConsulOptions) -> Result<Self, Error> {
        let address = options.url()?.to_string().trim_end_matches('/').to_owned();
        let http = rustify::Client::new(&address, options.http()?);
        // All fields are set, because the builder would take others from the environment.
        let settings = ConsulClientSettings {
            address,
            ca_certs: Vec::new(),
            client_cert: None,
            client_key: None,
            token: options.token()?,
            verify: true,
            version: 1,
        };
        Ok(Self {
            consul: ConsulClient { http, settings },
            wait: options.wait()?,
            answers: AnswerCounts::default(),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.consul.settings.address
    }

    pub(super) async fn register(&self, registration: &Registration) -> Result<(), Error> {
        path_segment(&registration.id)?;
        path_segment(&registration.service)?;
        let mut request = register_request(registration);
        let sent =
            consulrs::service::register(&self.consul, &registration.service, Some(&mut request));
        self.ask(sent).await.map(drop)
    }

    pub(super) async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        let path = format!("agent/service/{}", path_segment(id)?);
        // The body is not read, only whether there is one.
        let answer = self
            .send(Method::GET, &path, String::new(), REQUEST_TIMEOUT)
            .await?;
        Ok(answer.status() != StatusCode::NOT_FOUND)
    }

    pub(super) async fn deregister(&self, id: &str) -> Result<(), Error> {
        let asked = consulrs::service::deregister(&self.consul, path_segment(id)?, None);
        let outcome = match timeout(REQUEST_TIMEOUT, asked).await {
            Ok(Err(ClientError::APIError { code, message })) if is_gone(code, message.as_ref()) => {
                Ok(())
            }
            Ok(Err(error)) => Err(self.error(error)),
            Ok(Ok(_)) => Ok(()),
            Err(_) => Err(self.unreachable(format!("no answer in {REQUEST_TIMEOUT:?}"))),
        };
        self.answers.note(&outcome);
        outcome
    }

    /// Identifies this run of the agent: one that lost its data has another. `None` when the token
    /// may not ask.
    pub(super) async fn incarnation(&self) -> Result<Option<String>, Error> {
        match self.get::<AgentSelf>("agent/self", None).await {
            Ok(it) => Ok(Some(it.value.config.node_id)),
            Err(Error::Refused { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The IDs of this agent's other registrations of the same service at the same address and
    /// port.
    pub(super) async fn duplicates_of(&self, it: &Registration) -> Result<Vec<String>, Error> {
        let services = self
            .get::<std::collections::HashMap<String, AgentService>>("agent/services", None)
            .await?;
        let mut services = services.value;
        services.retain(|id, other| *id != it.id && other.is_at(it));
        Ok(services.into_keys().collect())
    }

    /// Reads the JSON at a path below `/v1`. Not found is read as `null`, the JSON of `None`.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        ask: Option<QueryMode>,
    ) -> Result<Answer<T>, Error> {
        let (query, limit) = ask.map_or((String::new(), REQUEST_TIMEOUT), |ask| self.query(ask));
        let separator = if path.contains('?') { '&' } else { '?' };
        let path = format!("{path}{separator}{query}");
        let answer = self.send(Method::GET, &path, String::new(), limit).await?;
        let begun = Instant::now();
        let header = |name| answer.headers().get(name)?.to_str().ok();
        let index = header("x-consul-index").and_then(|index| index.parse().ok());
        let index = index.unwrap_or(0);
        let filtered = header("x-consul-results-filtered-by-acls") == Some("true");
        let missing = answer.status() == StatusCode::NOT_FOUND;
        let body = answer.bytes().await;
        let body = body.map_err(|error| self.unreachable(root_cause(&error)))?;
        let body: &[u8] = if missing { b"null" } else { &body };
        let value = serde_json::from_slice(body).map_err(|error| Error::Failed {
            registry: NAME,
            reason: format!("its answer cannot be read: {error}"),
        })?;
        Ok(Answer {
            index,
            value,
            filtered,
            cost: begun.elapsed(),
        })
    }

    /// Sends a request to a path below `/v1`. Success and 404 are answers.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<Response, Error> {
        let outcome = self.send_once(method, path, body, limit).await;
        self.answers.note(&outcome);
        outcome
    }

    async fn send_once(
        &self,
        method: Method,
        path: &str,
        body: String,
        limit: Duration,
    ) -> Result<Response, Error> {
        let settings = &self.consul.settings;
        let url = format!("{}/v1/{path}", settings.address);
        let mut request = self.consul.http.http.request(method, url).timeout(limit);
        if let Some(token) = &settings.token {
            request = request.header("X-Consul-Token", token);
        }
        let answer = request.body(body).send().await.map_err(|error| {
            self.unreachable(if error.is_timeout() && !error.is_connect() {
                format!("no answer in {limit:?}")
            } else {
                root_cause(&error)
            })
        })?;
        let code = answer.status().as_u16();
        if answer.status().is_success() || code == 404 {
            return Ok(answer);
        }
        let message = answer.text().await.ok();
        Err(self.error(ClientError::APIError { code, message }))
    }

    /// The parameters of a query, and how long its answer may take. Consul adds up to a sixteenth
    /// to the wait.
    fn query(&self, ask: QueryMode) -> (String, Duration) {
        let (index, brief) = match ask {
            QueryMode::Immediate => return (String::new(), REQUEST_TIMEOUT),
            QueryMode::Blocking { index, brief } => (index, brief),
        };
        let wait = if brief {
            self.wait.min(BRIEF_WAIT)
        } else {
            self.wait
        };
        let wait = wait.mul_f64(rand::random_range(1.0..1.1));
        let limit = if index == 0 {
            REQUEST_TIMEOUT
        } else {
            wait + wait / 16 + REQUEST_TIMEOUT
        };
        (format!("stale&index={index}&wait={}", millis(wait)), limit)
    }

    async fn ask<T>(
        &self,
        asked: impl Future<Output = Result<ApiResponse<T>, ClientError>>,
    ) -> Result<ApiResponse<T>, Error> {
        let outcome = match timeout(REQUEST_TIMEOUT, asked).await {
            Ok(answered) => answered.map_err(|error| self.error(error)),
            Err(_) => Err(self.unreachable(format!("no answer in {REQUEST_TIMEOUT:?}"))),
        };
        self.answers.note(&outcome);
        outcome
    }

    fn error(&self, error: ClientError) -> Error {
        let (code, message) = match error {
            ClientError::APIError { code, message } => (code, message.unwrap_or_default()),
            other => return self.unreachable(root_cause(&other)),
        };
        let words = error_text(&message);
        // A server that is busy or has no leader answers 429 or 5xx: that is temporary.
        if code >= 500 || code == 429 {
            return Error::Failed {
                registry: NAME,
                reason: format!("{words} (HTTP {code})"),
            };
        }
        let advice = if code == 403 {
            "; check the token and its policy"
        } else {
            ""
        };
        Error::Refused {
            registry: NAME,
            reason: format!("{words} (HTTP {code}){advice}"),
        }
    }

    pub(super) fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable {
            registry: NAME,
            address: self.address().to_owned(),
            reason,
        }
    }
}

/// Whether Consul has no instance of this ID to remove. Older versions answer that with HTTP 500.
fn is_gone(code: u16, message: Option<&String>) -> bool {
    let words = message.map(String::as_str).unwrap_or_default();
    code == 404 || (code == 500 && words.starts_with("Unknown service"))
}

/// Consul's own words, on one line and cut.
fn error_text(message: &str) -> String {
    let mut words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.is_empty() {
        "no reason given".clone_into(&mut words);
    }
    words.truncate(words.floor_char_boundary(MAX_ERROR_BYTES));
    words
}

/// A name as part of a path. consulrs encodes special characters twice, which would name another
/// service, so they are refused.
pub(super) fn path_segment(name: &str) -> Result<&str, Error> {
    validate::name(name)
        .map(|()| name)
        .map_err(|_| Error::Refused {
            registry: NAME,
            reason: format!(
                "{} cannot be a name: use at most 255 letters, digits and -._~:@+=,",
                validate::quoted(name)
            ),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client() -> ConsulApi {
        ConsulApi::new(&ConsulOptions::at("127.0.0.1")).expect("usable")
    }

    #[test]
    fn a_blocking_query_is_given_longer_than_it_waits() {
        let client = client();
        for _ in 0..100 {
            for (brief, asked) in [(false, client.wait), (true, BRIEF_WAIT)] {
                let (query, limit) = client.query(QueryMode::Blocking { index: 7, brief });
                let wait = query.strip_prefix("stale&index=7&wait=");
                let wait = wait.and_then(|wait| wait.strip_suffix("ms")?.parse().ok());
                let wait = Duration::from_millis(wait.expect("milliseconds"));
                assert!(wait >= asked && wait <= asked * 11 / 10, "{wait:?}");
                assert!(limit > wait + wait / 16, "{limit:?}");
            }
        }
        let first = QueryMode::Blocking {
            index: 0,
            brief: false,
        };
        assert_eq!(client.query(first).1, REQUEST_TIMEOUT);
    }

    #[test]
    fn names_that_need_encoding_are_refused() {
        assert!(path_segment("agent-echo").is_ok());
        let error = path_segment("a b").expect_err("a space").to_string();
        assert!(error.contains(r#""a b""#), "{error}");
    }

    #[test]
    fn refusals_are_told_from_failures_and_each_says_consuls_words_once() {
        let api = |code| ClientError::APIError {
            code,
            message: Some("its\n words\n".to_owned()),
        };
        for (code, refused) in [
            (400, true),
            (403, true),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let error = client().error(api(code));
            assert_eq!(matches!(error, Error::Refused { .. }), refused, "{code}");
            assert_eq!(matches!(error, Error::Failed { .. }), !refused, "{code}");
            let told = error.to_string();
            assert_eq!(told.matches("its words").count(), 1, "{told}");
            assert!(told.contains(&code.to_string()), "{told}");
        }
    }

    #[test]
    fn an_instance_that_is_gone_is_removed_already() {
        let words = |text: &str| Some(text.to_owned());
        assert!(is_gone(404, None));
        assert!(is_gone(500, words(r#"Unknown service {"x" {}}"#).as_ref()));
        assert!(is_gone(500, words(r#"Unknown service ID "x""#).as_ref()));
        assert!(!is_gone(500, words("No cluster leader").as_ref()));
        assert!(!is_gone(403, words("Unknown service").as_ref()));
    }

    #[test]
    fn the_token_is_not_in_debug_output() {
        let options = ConsulOptions {
            token: Some("secret".to_owned()),
            ..ConsulOptions::at("127.0.0.1")
        };
        let client = ConsulApi::new(&options).expect("usable");
        assert!(!format!("{client:?}").contains("secret"));
    }
}
