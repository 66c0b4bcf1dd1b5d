//! The admin listeners of the programs, as a client.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use reqwest::{Client, header, redirect::Policy};
use telemetry::root_cause;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(3);
/// Largest answer that is read, in bytes.
const LARGEST: usize = 32 << 20;

/// Asks admin listeners, with the token of `ADMIN_TOKEN` where there is one.
#[derive(Clone, Debug)]
pub(crate) struct AdminClient {
    http: Client,
    token: Option<String>,
}

/// An answer over HTTP.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
    /// The time in its `Date`, a whole second.
    pub(crate) date: Option<SystemTime>,
    /// Our time in the middle between question and answer, and how long the answer took.
    pub(crate) at: SystemTime,
    pub(crate) took: Duration,
}

impl AdminClient {
    /// One with the token of this environment.
    pub(crate) fn new(environment: &BTreeMap<String, String>) -> anyhow::Result<Self> {
        let http = Client::builder()
            .use_rustls_tls()
            .tls_built_in_root_certs(false)
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .build()
            .context("set up HTTP")?;
        let token = environment.get("ADMIN_TOKEN").filter(|it| !it.is_empty());
        let token = token.cloned();
        Ok(Self { http, token })
    }

    /// The answer to GET of a path at `host:port`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn get(&self, address: &str, path: &str) -> Result<Answer, String> {
        let mut request = self.http.get(format!("http://{address}{path}"));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        read(request).await
    }
}

/// Sends a request and reads the answer.
///
/// # Errors
/// Why there is none.
pub(crate) async fn read(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let asked = SystemTime::now();
    let mut answer = request.send().await.map_err(|error| why(&error))?;
    let took = asked.elapsed().unwrap_or_default();
    let date = answer.headers().get(header::DATE);
    let date = date.and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let status = answer.status().as_u16();
    let mut body = Vec::new();
    while let Some(part) = answer.chunk().await.map_err(|error| why(&error))? {
        if body.len() + part.len() > LARGEST {
            return Err(format!("its answer is longer than {LARGEST} bytes"));
        }
        body.extend_from_slice(&part);
    }
    Ok(Answer {
        status,
        text: String::from_utf8_lossy(&body).into_owned(),
        date,
        at: asked + took / 2,
        took,
    })
}

fn why(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it does not answer in time".to_owned();
    }
    root_cause(error)
}
