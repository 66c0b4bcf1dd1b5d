//! A client of the gateway's HTTP API.

mod connection;
mod events;
mod problem;

use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{Response, body::Incoming};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

use connection::Connection;
pub(crate) use events::Events;
pub(crate) use problem::Problem;

/// The gateway's port when its address has none.
const PORT: u16 = 8080;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest pause that a gateway can ask for.
const PAUSE: u64 = 60;

/// Which gateway to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArgs {
    /// The gateway's address
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "MESH_GATEWAY",
        default_value = "127.0.0.1:8080"
    )]
    gateway: String,
}

impl GatewayArgs {
    /// A client of it, which connects when it is asked for something.
    ///
    /// # Errors
    /// When its address is none.
    pub(crate) fn client(&self) -> anyhow::Result<Gateway> {
        let address = dynamic::address(&self.gateway, PORT)?;
        let base = Url::parse(&format!("http://{address}/"))
            .with_context(|| format!("{address:?} is no address: write host:port"))?;
        Ok(Gateway {
            address,
            base,
            kept: None,
        })
    }
}

/// A gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    address: String,
    base: Url,
    /// The connection of the request before.
    kept: Option<Connection>,
}

impl Gateway {
    /// The URL of what is at these segments below `/api/v1`, which may hold anything.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn get(&mut self, url: &Url) -> anyhow::Result<Value> {
        self.ask(&Method::GET, url, None).await
    }

    /// The answer to a POST.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn post(&mut self, url: &Url, body: Option<&Value>) -> anyhow::Result<Value> {
        self.ask(&Method::POST, url, body).await
    }

    /// The answer to a DELETE.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn delete(&mut self, url: &Url) -> anyhow::Result<Value> {
        self.ask(&Method::DELETE, url, None).await
    }

    /// Asks, and asks again when the gateway says that it was too much at once.
    ///
    /// # Errors
    /// [`Problem`] when it refuses; another error when no gateway answers.
    async fn ask(
        &mut self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        loop {
            let asked = self.exchange(method, url, body);
            let asked = timeout(PATIENCE, asked).await;
            let (status, pause, text) = asked.map_err(|_| {
                let secs = PATIENCE.as_secs();
                anyhow::anyhow!("the gateway at {} says nothing for {secs} s", self.address)
            })??;
            match pause {
                Some(pause) if status == StatusCode::TOO_MANY_REQUESTS => sleep(pause).await,
                _ => return problem::read(&self.address, status, &text),
            }
        }
    }

    async fn exchange(
        &mut self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Option<Duration>, Bytes)> {
        let kept = match self.kept.take() {
            Some(mut kept) => kept.is_ready().await.then_some(kept),
            None => None,
        };
        let mut connection = match kept {
            Some(kept) => kept,
            None => Connection::open(&self.address).await?,
        };
        let body = body.map(Value::to_string);
        let mut request = Request::builder().method(method).uri(target(url));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.header(header::HOST, &self.address);
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let answer = connection.send(request).await?;
        let (status, pause) = (answer.status(), pause(&answer));
        let text = answer.into_body().collect().await;
        let text = text.with_context(|| format!("read the answer of {}", self.address))?;
        self.kept = Some(connection);
        Ok((status, pause, text.to_bytes()))
    }

    /// Events, those after a cursor; all for an empty one. `None` when there are no more.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn events(&self, url: &Url, cursor: &str) -> anyhow::Result<Option<Events>> {
        let opened = async {
            let mut connection = Connection::open(&self.address).await?;
            let mut request = Request::get(target(url))
                .header(header::HOST, &self.address)
                .header(header::ACCEPT, "text/event-stream");
            if !cursor.is_empty() {
                request = request.header("last-event-id", cursor);
            }
            let answer = connection.send(request.body(Full::default())?).await?;
            match answer.status() {
                StatusCode::OK => Ok(Some(Events::new(answer.into_body(), connection))),
                StatusCode::NO_CONTENT => Ok(None),
                status => {
                    let text = answer.into_body().collect().await?.to_bytes();
                    problem::read(&self.address, status, &text).map(|_| None)
                }
            }
        };
        let opened = timeout(PATIENCE, opened).await;
        opened.with_context(|| format!("the gateway at {} is silent", self.address))?
    }
}

/// What of a URL goes into a request's first line.
fn target(url: &Url) -> &str {
    &url[url::Position::BeforePath..]
}

fn pause(answer: &Response<Incoming>) -> Option<Duration> {
    let header = answer.headers().get(header::RETRY_AFTER)?;
    let seconds: u64 = header.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, PAUSE)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_id_stays_one_segment_of_the_path() {
        let gateway = "somewhere".to_owned();
        let gateway = GatewayArgs { gateway }.client().unwrap();
        let mut url = gateway.url(&["jobs", "a/b?c"]);
        url.query_pairs_mut().append_pair("cursor", "0=1&x");
        assert_eq!(
            url.as_str(),
            "http://somewhere:8080/api/v1/jobs/a%2Fb%3Fc?cursor=0%3D1%26x"
        );
        assert_eq!(target(&url), "/api/v1/jobs/a%2Fb%3Fc?cursor=0%3D1%26x");
    }
}
