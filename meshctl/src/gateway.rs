//! A client of the gateway's HTTP API.

mod events;
mod problem;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use http::Uri;
use reqwest::{
    Certificate, Client, Method, RequestBuilder, Response, StatusCode, header, redirect::Policy,
};
use serde_json::Value;
use telemetry::{error_chain, root_cause};
use tokio::time::{sleep, timeout};
use url::Url;

pub(crate) use events::Events;
pub(crate) use problem::Problem;

/// The gateway's port when its address has none.
const PORT: u16 = 8080;
/// The port of one behind TLS.
const TLS_PORT: u16 = 443;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long an answer may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest pause that a gateway can ask for.
const MAX_RETRY_AFTER: u64 = 60;
/// What separates the certificates of a PEM file.
const END: &str = "-----END CERTIFICATE-----";

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
    pub(crate) fn client(&self) -> anyhow::Result<GatewayClient> {
        let base = self.base()?;
        Ok(GatewayClient {
            http: self.http(&base)?,
            base,
            user: None,
        })
    }

    /// Its URL, with a slash at the end.
    pub(crate) fn base(&self) -> anyhow::Result<Url> {
        base(&self.gateway)
    }

    /// An HTTP client for a URL of it, which trusts those who may sign its certificate.
    pub(crate) fn http(&self, url: &Url) -> anyhow::Result<Client> {
        http_client(url, self.cacert.as_deref())
    }
}

/// An HTTP client for a URL, which trusts those that the system trusts.
pub(crate) fn plain_http(url: &Url) -> anyhow::Result<Client> {
    http_client(url, None)
}

fn http_client(url: &Url, cacert: Option<&Path>) -> anyhow::Result<Client> {
    let mut http = Client::builder()
        .use_native_tls()
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    if let (Some(path), "https") = (cacert, url.scheme()) {
        for authority in authorities(path)? {
            http = http.add_root_certificate(authority);
        }
    }
    http.build().context("set up TLS")
}

/// The authorities of a PEM file.
fn authorities(path: &Path) -> anyhow::Result<Vec<Certificate>> {
    let unusable = || format!("--cacert {}", path.display());
    let pem = std::fs::read_to_string(path).with_context(unusable)?;
    let each = pem.split_inclusive(END).filter(|it| it.contains(END));
    let authorities: Vec<_> = each
        .map(|it| Certificate::from_pem(it.as_bytes()).with_context(unusable))
        .collect::<Result<_, _>>()?;
    ensure!(
        !authorities.is_empty(),
        "{}: holds no certificate in PEM",
        unusable()
    );
    Ok(authorities)
}

/// The URL that a gateway's address means. Its path is where an ingress has put the gateway.
fn base(text: &str) -> anyhow::Result<Url> {
    let text = text.trim();
    // A user part may hold a password, which is not repeated.
    ensure!(
        !text.contains('@'),
        "a gateway's address takes no credentials: write host:port or https://host"
    );
    let is_no_address = || format!("{text:?} is not an address: write host:port or https://host");
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
    http: Client,
    base: Url,
    /// Who asks, where a door wants to know.
    user: Option<String>,
}

impl GatewayClient {
    /// The URL of what is at these segments below `/api/v1`, which may hold anything.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    /// A client that says who asks.
    pub(crate) fn with_user(self, user: Option<String>) -> Self {
        Self { user, ..self }
    }

    /// The answer to a GET.
    pub(crate) async fn get(&self, url: &Url) -> anyhow::Result<Value> {
        self.request(Method::GET, url, None).await
    }

    /// The answer to a POST.
    pub(crate) async fn post(&self, url: &Url, body: Option<&Value>) -> anyhow::Result<Value> {
        self.request(Method::POST, url, body).await
    }

    /// The answer to a POST that is done once under its key, however often it is sent.
    pub(crate) async fn post_once(
        &self,
        url: &Url,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> anyhow::Result<Value> {
        self.keyed(Method::POST, url, body, key).await
    }

    /// The answer to a PATCH.
    pub(crate) async fn patch(&self, url: &Url, body: &Value) -> anyhow::Result<Value> {
        self.request(Method::PATCH, url, Some(body)).await
    }

    /// The answer to a DELETE.
    pub(crate) async fn delete(&self, url: &Url) -> anyhow::Result<Value> {
        self.request(Method::DELETE, url, None).await
    }

    /// Asks, and asks again when the gateway says that it was too much at once.
    ///
    /// # Errors
    /// [`Problem`] when it refuses; another error when no gateway answers.
    async fn request(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        self.keyed(method, url, body, None).await
    }

    async fn keyed(
        &self,
        method: Method,
        url: &Url,
        body: Option<&Value>,
        key: Option<&str>,
    ) -> anyhow::Result<Value> {
        loop {
            let request = self.http.request(method.clone(), url.clone());
            let mut request = self.named(request.timeout(RESPONSE_TIMEOUT));
            if let Some(key) = key {
                request = request.header("idempotency-key", key);
            }
            if let Some(body) = body {
                request = request
                    .header(header::CONTENT_TYPE, "application/json")
                    .body(body.to_string());
            }
            let answer = request.send().await.map_err(|error| self.failure(&error))?;
            match retry_after(&answer) {
                Some(pause) => sleep(pause).await,
                None => return self.read(answer).await,
            }
        }
    }

    fn named(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.user {
            Some(user) => request.header("x-user-id", user),
            None => request,
        }
    }

    async fn read(&self, answer: Response) -> anyhow::Result<Value> {
        let status = answer.status();
        let text = answer.bytes().await.map_err(|error| self.failure(&error))?;
        problem::read(&self.address(), status, &text)
    }

    /// Events, those after a cursor; all for an empty one. `None` when there are no more.
    pub(crate) async fn events(&self, url: &Url, cursor: &str) -> anyhow::Result<Option<Events>> {
        let mut request = self.named(self.http.get(url.clone()));
        request = request.header(header::ACCEPT, "text/event-stream");
        if !cursor.is_empty() {
            request = request.header("last-event-id", cursor);
        }
        let answer = timeout(RESPONSE_TIMEOUT, request.send()).await;
        let answer = answer.map_err(|_| self.silent())?;
        let answer = answer.map_err(|error| self.failure(&error))?;
        match answer.status() {
            StatusCode::OK => Ok(Some(Events::new(answer))),
            StatusCode::NO_CONTENT => Ok(None),
            _ => self.read(answer).await.map(|_| None),
        }
    }

    /// `host:port`, IPv6 in brackets.
    fn address(&self) -> String {
        address(&self.base)
    }

    fn silent(&self) -> anyhow::Error {
        silent(&self.address())
    }

    fn failure(&self, error: &reqwest::Error) -> anyhow::Error {
        no_answer(&self.address(), error)
    }
}

/// `host:port` of a URL, IPv6 in brackets.
pub(crate) fn address(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{host}:{port}")
}

fn silent(address: &str) -> anyhow::Error {
    let secs = RESPONSE_TIMEOUT.as_secs();
    anyhow::anyhow!("the gateway at {address} has not answered within {secs} s")
}

/// Why there is no answer, and what to do about it.
pub(crate) fn no_answer(address: &str, error: &reqwest::Error) -> anyhow::Error {
    let cause = root_cause(error);
    if !error.is_connect() {
        if error.is_timeout() {
            return silent(address);
        }
        return anyhow::anyhow!(
            "{address} ended the connection, and may or may not have done what it was asked \
             (does it speak HTTP? A gateway is named with --gateway or MESH_GATEWAY): {cause}"
        );
    }
    let hint = match error_chain(error) {
        said if said.contains("certificate") => {
            "name the authority that signed its certificate with --cacert"
        }
        said if said.contains("wrong version") => {
            "it does not speak TLS, write http:// instead of https://"
        }
        _ => {
            return anyhow::anyhow!(
                "no gateway answers at {address} ({cause}): start one with `mesh-gateway`, or \
                 name another with --gateway or MESH_GATEWAY"
            );
        }
    };
    anyhow::anyhow!("no TLS with the gateway at {address} ({cause}): {hint}")
}

/// How long to wait before asking again, where it was too much at once.
fn retry_after(answer: &Response) -> Option<Duration> {
    let header = answer.headers().get(header::RETRY_AFTER)?;
    let seconds: u64 = header.to_str().ok()?.parse().ok()?;
    let limited = answer.status() == StatusCode::TOO_MANY_REQUESTS;
    limited.then(|| Duration::from_secs(seconds.clamp(1, MAX_RETRY_AFTER)))
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
    }

    #[test]
    fn an_address_may_come_as_a_url_with_tls_and_a_path() {
        for (text, expected, address) in [
            ("", "http://127.0.0.1:8080/", "127.0.0.1:8080"),
            ("gw", "http://gw:8080/", "gw:8080"),
            ("gw:81", "http://gw:81/", "gw:81"),
            ("http://gw:80", "http://gw/", "gw:80"),
            ("http://gw/", "http://gw:8080/", "gw:8080"),
            ("[::1]:81", "http://[::1]:81/", "[::1]:81"),
            ("https://gw", "https://gw/", "gw:443"),
            ("https://gw:8443/mesh", "https://gw:8443/mesh/", "gw:8443"),
            ("HTTPS://Gw/mesh/", "https://gw/mesh/", "gw:443"),
        ] {
            let (gateway, cacert) = (text.to_owned(), None);
            let gateway = GatewayArgs { gateway, cacert }.client().unwrap();
            assert_eq!(gateway.base.as_str(), expected, "{text}");
            assert_eq!(gateway.address(), address, "{text}");
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
