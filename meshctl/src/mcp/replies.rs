//! The messages that come for a request, the last of which answers it.

use std::fmt;

use anyhow::{Context as _, bail};
use reqwest::{
    StatusCode,
    header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE},
};
use serde_json::Value;
use tokio::time::sleep;

use super::endpoint::{Answer, Endpoint};

/// How often a stream that ended early is asked for again without a message from it.
const ATTEMPTS: u32 = 10;

/// A message.
#[derive(Debug)]
pub(super) struct Reply {
    /// As it came.
    pub(super) text: String,
    pub(super) value: Value,
    /// Whether it ends the request.
    pub(super) is_answer: bool,
}

/// The messages for one request.
#[derive(Debug)]
pub(super) struct Replies<'a> {
    endpoint: &'a Endpoint,
    answer: Answer,
    id: &'a Value,
    /// With which headers a stream that ended early is asked for again; `None` where it cannot be.
    resume: Option<HeaderMap>,
    attempts: u32,
}

impl<'a> Replies<'a> {
    pub(super) const fn new(
        endpoint: &'a Endpoint,
        answer: Answer,
        id: &'a Value,
        resume: Option<HeaderMap>,
    ) -> Self {
        Self {
            endpoint,
            answer,
            id,
            resume,
            attempts: 0,
        }
    }

    /// The next of them.
    ///
    /// # Errors
    /// When what comes is no message, or nothing comes before the answer.
    pub(super) async fn next(&mut self) -> anyhow::Result<Reply> {
        loop {
            match self.answer.next().await {
                Ok(Some(text)) => {
                    self.attempts = 0;
                    return self.read(text);
                }
                Ok(None) => self.go_on(None).await?,
                Err(error) => self.go_on(Some(error)).await?,
            }
        }
    }

    fn read(&self, text: String) -> anyhow::Result<Reply> {
        let value: Value = match serde_json::from_str(&text) {
            Ok(value @ (Value::Object(_) | Value::Array(_))) => value,
            _ => return Err(self.refusal(&text)),
        };
        let is_message = value.is_array() || value["jsonrpc"] == "2.0";
        if !is_message {
            return Err(self.refusal(&text));
        }
        let ends = value.get("result").is_some() || value.get("error").is_some();
        // Who could not read the request does not know its id.
        let is_ours = value["id"] == *self.id
            || (value["id"].is_null() && !self.answer.is_stream() && !value.is_array());
        Ok(Reply {
            is_answer: ends && is_ours,
            text,
            value,
        })
    }

    fn refusal(&self, text: &str) -> anyhow::Error {
        if self.answer.status().is_success() {
            return anyhow::anyhow!(
                "{} does not speak MCP: name an endpoint with --url, such as http://localhost:8080/mcp",
                self.endpoint.address()
            );
        }
        refused(&self.answer, self.endpoint, text)
    }

    /// Asks for the rest of a stream that ended early.
    async fn go_on(&mut self, ended: Option<anyhow::Error>) -> anyhow::Result<()> {
        let early = || match ended {
            Some(error) => error,
            None if self.answer.status().is_success() => anyhow::anyhow!(
                "{} ended its answer early: what was asked may or may not have been done",
                self.endpoint.address()
            ),
            None => refused(&self.answer, self.endpoint, ""),
        };
        let (Some(headers), Some(event)) = (&self.resume, &self.answer.last_event_id) else {
            return Err(early());
        };
        self.attempts += 1;
        if self.attempts > ATTEMPTS {
            return Err(early());
        }
        sleep(self.answer.retry).await;
        let mut headers = headers.clone();
        let value = HeaderValue::from_str(event).context("read the id of an event")?;
        headers.insert("last-event-id", value);
        let (event, retry) = (self.answer.last_event_id.clone(), self.answer.retry);
        // A connection that cannot be had is tried again, as a stream that ends is.
        if let Ok(answer) = self.endpoint.get(headers).await {
            if !answer.status().is_success() {
                bail!("{}", refused(&answer, self.endpoint, ""));
            }
            self.answer = answer;
            self.answer.last_event_id = event;
            self.answer.retry = retry;
        }
        Ok(())
    }
}

/// An answer that is no message.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    text: String,
}

impl std::error::Error for Refused {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

pub(super) fn refused(answer: &Answer, endpoint: &Endpoint, body: &str) -> anyhow::Error {
    let (status, address) = (answer.status(), endpoint.address());
    let details: Value = serde_json::from_str(body).unwrap_or_default();
    let said = details["detail"]
        .as_str()
        .or(details["title"].as_str())
        .or(details["error"]["message"].as_str())
        .unwrap_or_default();
    let mut text = format!("{address} answers {status}");
    if !said.is_empty() {
        text += &format!(": {}", crate::output::plain(said));
    }
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            if let Some(asked) = answer.header(WWW_AUTHENTICATE.as_str()) {
                text += &format!("\n  www-authenticate: {}", crate::output::plain(&asked));
            }
            text += "\n  give a token with --token, or set MESH_MCP_TOKEN";
        }
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            text += ": name an endpoint with --url, such as http://localhost:8080/mcp";
        }
        _ => {}
    }
    anyhow::Error::new(Refused { status, text })
}
