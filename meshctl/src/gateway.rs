//! A client of the gateway's HTTP API.

mod connection;
mod events;
mod problem;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{Response, body::Incoming};
use serde_json::Value;
use tokio::time::{sleep, timeout};
use url::Url;

use connection::{Connection, GatewayAddress};
pub(crate) use events::Events;
pub(crate) use problem::Problem;

/// The gateway's port when its address has none.
const PORT: u16 = 8080;
/// The port of one behind TLS.
const TLS_PORT: u16 = 443;
/// How long an answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest pause that a gateway can ask for.
const MAX_RETRY_AFTER: u64 = 60;

/// Which gateway to ask.
#[derive(Args, Clone, Debug)]
pub(crate) struct GatewayArgs {
    /// The gateway's address, as host:port or a URL; https:// for one behind TLS
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "MESH_GATEWAY",
        hide_env_values = true,
        default_value = "127.0.0.1:8080"
    )]
    gateway: String,

    /// PEM file of authorities that may sign the gateway's certificate, beside the system's
    #[arg(long, global = true, value_name = "FILE", env = "MESH_GATEWAY_CACERT")]
    cacert: Option<PathBuf>,
}

impl GatewayArgs {
    /// A client of it, which connects when it is asked for something.
    ///
    /// # Errors
    /// When its address is none.
    pub(crate) fn client(&self) -> anyhow::Result<GatewayClient> {
        let base = base(&self.gateway)?;
        Ok(GatewayClient {
            address: GatewayAddress::new(&base, self.cacert.as_deref())?,
            base,
            idle: None,
        })
    }
}

/// The URL that a gateway's address means. Its path is where an ingress has put the gateway.
fn base(text: &str) -> anyhow::Result<Url> {
    let text = text.trim();
    // A user part may hold a password, which is not repeated.
    ensure!(
        !text.contains('@'),
        "a gateway's address takes no credentials: write host:port or https://host"
    );
    let is_no_address = || format!("{text:?} is no address: write host:port or https://host");
    let full = match text.contains("://") {
        true => text.to_owned(),
        false if text.is_empty() => "http://127.0.0.1".to_owned(),
        false => format!("http://{text}"),
    };
    let uri = full.parse::<Uri>().with_context(is_no_address)?;
    let authority = uri.authority().with_context(is_no_address)?;
    let (scheme, default) = match uri.scheme_str() {
        Some("http") => ("http", PORT),
        Some("https") => ("https", TLS_PORT),
        _ => bail!("{}", is_no_address()),
    };
    ensure!(uri.query().is_none(), is_no_address());
    let host = authority.host();
    let port = match authority.as_str().rsplit_once(':') {
        Some((before, port)) if before == host => port.parse().with_context(is_no_address)?,
        _ => default,
    };
    let path = uri.path().trim_end_matches('/');
    Url::parse(&format!("{scheme}://{host}:{port}{path}/")).with_context(is_no_address)
}

/// A gateway.
#[derive(Debug)]
pub(crate) struct GatewayClient {
    address: GatewayAddress,
    base: Url,
    /// The connection of the request before.
    idle: Option<Connection>,
}

impl GatewayClient {
    /// What it is called: its name, and its port unless that is the scheme's own.
    fn host(&self) -> &str {
        &self.base[url::Position::BeforeHost..url::Position::AfterPort]
    }

    /// The URL of what is at these segments below `/api/v1`, which may hold anything.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    /// The answer to a GET.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(crate) async fn get(&mut self, url: &Url) -> anyhow::Result<Value> {
        self.request(&Method::GET, url, None).await
    }

    /// The answer to a POST.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(crate) async fn post(&mut self, url: &Url, body: Option<&Value>) -> anyhow::Result<Value> {
        self.request(&Method::POST, url, body).await
    }

    /// The answer to a DELETE.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(crate) async fn delete(&mut self, url: &Url) -> anyhow::Result<Value> {
        self.request(&Method::DELETE, url, None).await
    }

    /// Asks, and asks again when the gateway says that it was too much at once.
    ///
    /// # Errors
    /// [`Problem`] when it refuses; another error when no gateway answers.
    async fn request(
        &mut self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        loop {
            let asked = self.exchange(method, url, body);
            let asked = timeout(RESPONSE_TIMEOUT, asked).await;
            let (status, pause, text) = asked.map_err(|_| {
                let secs = RESPONSE_TIMEOUT.as_secs();
                anyhow::anyhow!(
                    "the gateway at {} says nothing for {secs} s",
                    self.address.authority
                )
            })??;
            match pause {
                Some(pause) if status == StatusCode::TOO_MANY_REQUESTS => sleep(pause).await,
                _ => return problem::read(&self.address.authority, status, &text),
            }
        }
    }

    async fn exchange(
        &mut self,
        method: &Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Option<Duration>, Bytes)> {
        let kept = match self.idle.take() {
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
        let request = request.header(header::HOST, self.host());
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let answer = connection.send(request).await?;
        let (status, pause) = (answer.status(), pause(&answer));
        let text = answer.into_body().collect().await;
        let text =
            text.with_context(|| format!("read the answer of {}", self.address.authority))?;
        self.idle = Some(connection);
        Ok((status, pause, text.to_bytes()))
    }

    /// Events, those after a cursor; all for an empty one. `None` when there are no more.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(crate) async fn events(&self, url: &Url, cursor: &str) -> anyhow::Result<Option<Events>> {
        let opened = async {
            let mut connection = Connection::open(&self.address).await?;
            let mut request = Request::get(target(url))
                .header(header::HOST, self.host())
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
                    problem::read(&self.address.authority, status, &text).map(|_| None)
                }
            }
        };
        let opened = timeout(RESPONSE_TIMEOUT, opened).await;
        opened.with_context(|| format!("the gateway at {} is silent", self.address.authority))?
    }
}

/// What of a URL goes into a request's first line.
fn target(url: &Url) -> &str {
    &url[url::Position::BeforePath..]
}

fn pause(answer: &Response<Incoming>) -> Option<Duration> {
    let header = answer.headers().get(header::RETRY_AFTER)?;
    let seconds: u64 = header.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.clamp(1, MAX_RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_id_stays_one_segment_of_the_path() {
        let (gateway, cacert) = ("somewhere".to_owned(), None);
        let gateway = GatewayArgs { gateway, cacert }.client().unwrap();
        let mut url = gateway.url(&["jobs", "a/b?c"]);
        url.query_pairs_mut().append_pair("cursor", "0=1&x");
        assert_eq!(
            url.as_str(),
            "http://somewhere:8080/api/v1/jobs/a%2Fb%3Fc?cursor=0%3D1%26x"
        );
        assert_eq!(target(&url), "/api/v1/jobs/a%2Fb%3Fc?cursor=0%3D1%26x");
    }

    #[test]
    fn an_address_may_come_as_a_url_with_tls_and_a_path() {
        for (text, expected, host) in [
            ("", "http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("gw", "http://gw:8080/", "gw:8080"),
            ("gw:81", "http://gw:81/", "gw:81"),
            ("http://gw:80", "http://gw/", "gw"),
            ("http://gw/", "http://gw:8080/", "gw:8080"),
            ("[::1]:81", "http://[::1]:81/", "[::1]:81"),
            ("https://gw", "https://gw/", "gw"),
            ("https://gw:8443/mesh", "https://gw:8443/mesh/", "gw:8443"),
            ("HTTPS://Gw/mesh/", "https://gw/mesh/", "gw"),
        ] {
            let url = base(text).unwrap();
            assert_eq!(url.as_str(), expected, "{text}");
            let address = GatewayAddress::new(&url, None).unwrap();
            let (base, idle) = (url, None);
            let gateway = GatewayClient {
                address,
                base,
                idle,
            };
            assert_eq!(gateway.host(), host, "{text}");
            let jobs = gateway.url(&["jobs"]);
            assert_eq!(jobs.as_str(), format!("{expected}api/v1/jobs"));
        }
        for text in [
            "two words",
            "ftp://gw",
            "https://",
            "gw?x=1",
            "://",
            "gw:99999",
        ] {
            assert!(base(text).is_err(), "{text}");
        }
        let told = base("https://me:hunter2@gw").unwrap_err().to_string();
        assert!(!told.contains("hunter2"), "{told}");
    }
}
