//! Sends requests.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use config::Config;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_native_tls::TlsConnector;
use url::Url;

use crate::{
    Connector, EgressPolicy, Error, ExternalHostKeys, ExternalKeys, FetchLimits, Request,
    SystemConnector, connect::connect, redirect::follow, retry_after::retry_after,
};

/// The largest head of an answer.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// An answer, of whatever status.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// Who answered in the end.
    pub url: Url,
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// How many redirects led there.
    pub redirects: usize,
}

/// Sends requests, as far as its policy lets it. Each one has a connection of its own. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct HttpClient {
    policy: EgressPolicy,
    limits: FetchLimits,
    connector: Arc<dyn Connector>,
    tls: TlsConnector,
}

/// The client that [`KEYS`](crate::KEYS) configure.
///
/// # Errors
/// As [`HttpClient::new`].
pub fn client(config: &Config) -> Result<HttpClient, Error> {
    let policy = EgressPolicy::new(
        ExternalKeys::from_config(config).allow_external_requests,
        &ExternalHostKeys::from_config(config).external_allow_hosts,
    );
    HttpClient::new(policy, FetchLimits::from_config(config))
}

impl HttpClient {
    /// A client that trusts the authorities of the system.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when the system's TLS cannot be set up.
    pub fn new(policy: EgressPolicy, limits: FetchLimits) -> Result<Self, Error> {
        let tls = native_tls::TlsConnector::new().map_err(|error| Error::Unreachable {
            host: "any host".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self::with(policy, limits, Arc::new(SystemConnector), tls))
    }

    /// A client on another network, or with other authorities.
    #[must_use]
    pub fn with(
        policy: EgressPolicy,
        limits: FetchLimits,
        connector: Arc<dyn Connector>,
        tls: native_tls::TlsConnector,
    ) -> Self {
        let tls = tls.into();
        Self {
            policy,
            limits,
            connector,
            tls,
        }
    }

    pub(crate) const fn policy(&self) -> &EgressPolicy {
        &self.policy
    }

    pub(crate) fn connector(&self) -> &dyn Connector {
        self.connector.as_ref()
    }

    pub(crate) const fn tls(&self) -> &TlsConnector {
        &self.tls
    }

    /// How long one address may take to answer.
    pub(crate) const fn patience(&self) -> Duration {
        self.limits.connect
    }

    /// Whether anything may be asked at all.
    ///
    /// # Errors
    /// [`Error::Disabled`].
    pub const fn check_enabled(&self) -> Result<(), Error> {
        self.policy.check_enabled()
    }

    /// How long the server of an answer wants to be left alone, within the limit; `None` when it
    /// does not say.
    #[must_use]
    pub fn retry_after(&self, headers: &HeaderMap) -> Option<Duration> {
        retry_after(headers, SystemTime::now(), self.limits.retry_after)
    }

    /// Sends a request, and follows where it is redirected to.
    ///
    /// # Errors
    /// When there is no whole answer; an answer of any status is none.
    pub async fn send(&self, request: Request) -> Result<HttpResponse, Error> {
        let after = request
            .time
            .map_or(self.limits.time, |time| time.min(self.limits.time));
        timeout(after, self.follow(request))
            .await
            .unwrap_or(Err(Error::Timeout { after }))
    }

    async fn follow(&self, mut request: Request) -> Result<HttpResponse, Error> {
        for redirects in 0..=self.limits.redirects {
            let (status, headers, body) = match self.exchange(&request).await? {
                Step::Done(status, headers, body) => (status, headers, body),
                Step::Next(next) => {
                    request = *next;
                    continue;
                }
            };
            let url = request.url;
            return Ok(HttpResponse {
                url,
                status,
                headers,
                body,
                redirects,
            });
        }
        let limit = self.limits.redirects;
        Err(Error::Redirects { limit })
    }

    /// One hop: resolve, check, connect to what was checked, ask.
    async fn exchange(&self, request: &Request) -> Result<Step, Error> {
        let connector = self.connector.as_ref();
        let addresses = self.policy.addresses(&request.url, connector).await?;
        let patience = self.limits.connect;
        let transport = connect(&request.url, &addresses, patience, connector, &self.tls).await?;
        let broken = |error: hyper::Error| Error::Protocol {
            host: request.url.host_str().unwrap_or_default().to_owned(),
            reason: telemetry::error_chain(&error),
        };
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(transport))
            .await
            .map_err(broken)?;
        let exchange = async {
            let answer = sender
                .send_request(request.message()?)
                .await
                .map_err(broken)?;
            let (head, body) = answer.into_parts();
            if let Some(next) = follow(request, head.status, &head.headers)? {
                return Ok(Step::Next(Box::new(next)));
            }
            let limit = self.limits.body;
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    return Error::TooLarge { limit };
                }
                let host = request.url.host_str().unwrap_or_default().to_owned();
                let reason = error.to_string();
                Error::Protocol { host, reason }
            })?;
            Ok(Step::Done(head.status, head.headers, body.to_bytes()))
        };
        let (mut exchange, connection) = (pin!(exchange), pin!(connection));
        tokio::select! {
            biased;
            step = &mut exchange => return step,
            // What came before the end of the connection is still to be read.
            ended = connection => drop(ended),
        }
        exchange.await
    }
}

/// What an exchange led to.
enum Step {
    Done(StatusCode, HeaderMap, Bytes),
    Next(Box<Request>),
}
