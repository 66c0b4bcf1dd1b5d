//! An endpoint, and one exchange with it: a message to it, and the messages that come back.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::{Args, ValueEnum};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use url::Url;

use crate::{
    event_stream::EventParser,
    gateway::{self, GatewayArgs},
};

/// The most that one message, or one event that is not complete, may take.
pub(super) const LARGEST: usize = 64 << 20;
/// How long to wait before a stream is asked for again, where its server has not said.
const RETRY: Duration = Duration::from_secs(1);
/// Longest pause that a server can ask for.
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Which revisions of the protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Era {
    /// The newest that the endpoint speaks.
    Auto,
    /// 2026-07-28: each request stands alone.
    Modern,
    /// 2025-11-25 and before: a handshake, then a session.
    Legacy,
}

/// Which endpoint to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct EndpointArgs {
    /// The endpoint's URL; by default /mcp of the gateway
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "MESH_MCP_URL",
        hide_env_values = true
    )]
    url: Option<String>,

    /// Only this service of the mesh, its tools named without a prefix
    #[arg(long, global = true, value_name = "NAME")]
    service: Option<String>,

    /// The bearer token to show
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "MESH_MCP_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,

    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

impl EndpointArgs {
    /// The endpoint, which is connected to when it is asked for something.
    pub(crate) fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let token = self.token.as_ref().filter(|token| !token.is_empty());
        let authorization = token.map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .context("the token has characters that no header can carry")?;
            value.set_sensitive(true);
            anyhow::Ok(value)
        });
        let url = self.address()?;
        Ok(Endpoint {
            http: self.gateway.http(&url)?,
            url,
            authorization: authorization.transpose()?,
        })
    }

    /// The endpoint's URL.
    pub(crate) fn address(&self) -> anyhow::Result<Url> {
        let given = self.url.as_ref().filter(|url| !url.is_empty());
        let mut url = match given {
            Some(text) => endpoint_url(text)?,
            None => {
                let mut url = self.gateway.base()?;
                if let Ok(mut path) = url.path_segments_mut() {
                    path.pop_if_empty().push("mcp");
                }
                url
            }
        };
        if let (Some(service), Ok(mut path)) = (&self.service, url.path_segments_mut()) {
            path.pop_if_empty().push(service);
        }
        Ok(url)
    }
}

fn endpoint_url(text: &str) -> anyhow::Result<Url> {
    let is_none = || format!("{text:?} is no URL of an endpoint: write http://host:port/mcp");
    let url = Url::parse(text).with_context(is_none)?;
    ensure!(matches!(url.scheme(), "http" | "https"), is_none());
    // It would be shown and written into files.
    ensure!(
        url.username().is_empty() && url.password().is_none(),
        "an endpoint's URL takes no credentials: give --token, or set MESH_MCP_TOKEN"
    );
    Ok(url)
}

/// An endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    http: Client,
    url: Url,
    authorization: Option<HeaderValue>,
}

impl Endpoint {
    /// The one at a URL, which takes anybody.
    pub(crate) fn at(url: &str) -> anyhow::Result<Self> {
        let url = endpoint_url(url)?;
        Ok(Self {
            http: gateway::plain_http(&url)?,
            url,
            authorization: None,
        })
    }

    /// Sends a message, or several.
    pub(super) async fn post(&self, body: String, headers: HeaderMap) -> anyhow::Result<Answer> {
        let request = self.http.post(self.url.clone());
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .body(body);
        self.send(request, headers).await
    }

    /// Asks for the messages of a session.
    pub(super) async fn get(&self, headers: HeaderMap) -> anyhow::Result<Answer> {
        let request = self.http.get(self.url.clone());
        self.send(request.header(ACCEPT, "text/event-stream"), headers)
            .await
    }

    /// Ends a session.
    pub(super) async fn delete(&self, headers: HeaderMap) -> anyhow::Result<Answer> {
        self.send(self.http.delete(self.url.clone()), headers).await
    }

    async fn send(&self, request: RequestBuilder, headers: HeaderMap) -> anyhow::Result<Answer> {
        let mut request = request.headers(headers);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        match request.send().await {
            Ok(response) => Ok(Answer::new(response, self.address())),
            Err(error) if error.is_connect() => Err(anyhow::Error::new(Unsent(
                gateway::no_answer(&self.address(), &error).to_string(),
            ))),
            Err(error) => Err(gateway::no_answer(&self.address(), &error)),
        }
    }

    /// `host:port`.
    pub(super) fn address(&self) -> String {
        gateway::address(&self.url)
    }
}

/// Nobody has got the message: it can be sent again.
#[derive(Debug)]
pub(super) struct Unsent(String);

impl std::error::Error for Unsent {}

impl std::fmt::Display for Unsent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What comes back: one message as JSON, or several as events.
#[derive(Debug)]
pub(super) struct Answer {
    response: Response,
    address: String,
    events: Option<EventParser>,
    is_read: bool,
    /// The last event that had an id, from which the stream can go on.
    pub(super) last_event_id: Option<String>,
    /// How long to wait before it is asked for again.
    pub(super) retry: Duration,
}

impl Answer {
    fn new(response: Response, address: String) -> Self {
        let kind = response.headers().get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let is_stream = kind.trim_start().starts_with("text/event-stream");
        Self {
            events: is_stream.then(EventParser::default),
            response,
            address,
            is_read: false,
            last_event_id: None,
            retry: RETRY,
        }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn is_stream(&self) -> bool {
        self.events.is_some()
    }

    /// A header of it, where it is text.
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    }

    /// The next message; `None` when there are no more. Can be dropped at any time.
    pub(super) async fn next(&mut self) -> anyhow::Result<Option<String>> {
        if self.events.is_none() {
            return self.body().await;
        }
        loop {
            let Some(parser) = &mut self.events else {
                return Ok(None);
            };
            while let Some(event) = parser.event() {
                self.retry = event.retry.unwrap_or(self.retry).min(LONGEST_RETRY);
                self.last_event_id = event.id.or(self.last_event_id.take());
                if !event.data.is_empty() {
                    return Ok(Some(event.data));
                }
            }
            ensure!(
                parser.kept() <= LARGEST,
                "{} sends an event of more than {LARGEST} bytes",
                self.address
            );
            let chunk = self.response.chunk().await;
            match chunk.map_err(|error| gateway::no_answer(&self.address, &error))? {
                Some(bytes) => parser.add(&bytes),
                None => return Ok(None),
            }
        }
    }

    async fn body(&mut self) -> anyhow::Result<Option<String>> {
        if std::mem::replace(&mut self.is_read, true) {
            return Ok(None);
        }
        let mut body = Vec::new();
        let failed = |error: reqwest::Error| gateway::no_answer(&self.address, &error);
        while let Some(bytes) = self.response.chunk().await.map_err(failed)? {
            body.extend_from_slice(&bytes);
            if body.len() > LARGEST {
                bail!("{} answers with more than {LARGEST} bytes", self.address);
            }
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok(Some(text).filter(|text| !text.trim().is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: EndpointArgs,
    }

    fn address(args: &[&str]) -> anyhow::Result<String> {
        let cli = Cli::try_parse_from([&["x"], args].concat())?;
        cli.args.address().map(Into::into)
    }

    #[test]
    fn the_endpoint_is_that_of_the_gateway_unless_another_is_named() {
        for (args, expected) in [
            (vec!["--gateway", "gw"], "http://gw:8080/mcp"),
            (vec!["--gateway", "https://gw/mesh/"], "https://gw/mesh/mcp"),
            (
                vec!["--gateway", "gw", "--service", "tool-weather"],
                "http://gw:8080/mcp/tool-weather",
            ),
            (vec!["--url", "http://gw:3000/mcp"], "http://gw:3000/mcp"),
            (
                vec!["--url", "http://gw:3000/mcp/", "--service", "a b"],
                "http://gw:3000/mcp/a%20b",
            ),
            (vec!["--url", "http://localhost:1"], "http://localhost:1/"),
        ] {
            assert_eq!(address(&args).unwrap(), expected, "{args:?}");
        }
        for wrong in ["gw:3000", "ftp://gw/mcp", "http://a:hunter2@gw/mcp"] {
            let error = format!("{:#}", address(&["--url", wrong]).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
