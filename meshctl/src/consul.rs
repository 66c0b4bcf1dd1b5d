//! Questions to Consul's HTTP API, for people who look for a mistake.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Url};
use serde_json::Value;
use service::Config;

use crate::admin::{self, Answer};

/// How long Consul has to answer.
const ANSWER: Duration = Duration::from_secs(3);

/// The Consul of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct ConsulReader {
    http: Client,
    url: Url,
    token: Option<String>,
}

impl ConsulReader {
    pub(crate) fn new(config: &Config) -> anyhow::Result<Self> {
        let options = service::consul_options(config);
        Ok(Self {
            http: options.http().context("set up Consul")?,
            url: options.url()?,
            token: options.token()?,
        })
    }

    /// Its address as a URL.
    pub(crate) fn address(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Whether it is asked over TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The answer to a path below `/v1/`, given as segments that may hold anything.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn get(&self, segments: &[&str]) -> Result<Answer, String> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("v1").extend(segments);
        }
        let mut request = self.http.get(url).timeout(ANSWER);
        if let Some(token) = &self.token {
            request = request.header("X-Consul-Token", token);
        }
        admin::read(request).await
    }

    /// The same, read as JSON.
    ///
    /// # Errors
    /// Why there is no such answer.
    pub(crate) async fn json(&self, segments: &[&str]) -> Result<Value, String> {
        let answer = self.get(segments).await?;
        if answer.status != 200 {
            return Err(format!("{}: {}", answer.status, answer.text.trim()));
        }
        serde_json::from_str(&answer.text).map_err(|error| format!("it sends no JSON: {error}"))
    }
}
