//! The admin listeners of the programs, as a client.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use reqwest::{Client, Response, StatusCode, header, redirect::Policy};
use telemetry::root_cause;
use tokio::time::timeout;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(1);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(3);
/// What is said of one that does not answer.
const SLOW: &str = "it does not answer in time";
/// The limit of an answer that goes on: a year.
const ENDLESS: Duration = Duration::from_secs(365 * 86_400);
/// Characters of a refusal that are shown.
const LONGEST_REASON: usize = 500;
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
        read(self.request(address, path)).await
    }

    /// An answer to GET that goes on for as long as it is read.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn open(&self, address: &str, path: &str) -> Result<Response, String> {
        let request = self.request(address, path).timeout(ENDLESS);
        let answer = timeout(ANSWER, request.send()).await;
        let answer = answer.map_err(|_| SLOW.to_owned())?;
        let answer = answer.map_err(|error| why(&error))?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let text = answer.text().await.map_err(|error| why(&error))?;
        Err(match text.trim() {
            "" => format!("it answers {status}"),
            text => text.chars().take(LONGEST_REASON).collect(),
        })
    }

    fn request(&self, address: &str, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.get(format!("http://{address}{path}"));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
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
        return SLOW.to_owned();
    }
    root_cause(error)
}
