//! A connection that is kept for one request after another, and answers that are read while they come.

use std::{future::Future, pin::Pin};

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use url::Url;

use crate::{Error, HttpClient, client::MAX_HEAD, connect::connect};

/// A connection to one host. It is used for one request at a time.
#[derive(Debug)]
pub struct KeptConnection {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
    authority: HeaderValue,
}

/// What carries out a connection: it has an owner that runs it to its end.
pub type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The connection had ended before the request was sent: it may be sent again.
    #[error("the connection had ended")]
    Unsent,
    /// The server may have got the request.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl HttpClient {
    /// Opens a connection to the host of a URL, if the policy lets it. Redirects are not followed on
    /// it.
    ///
    /// # Errors
    /// When the policy refuses, or nobody answers.
    pub async fn open(&self, url: &Url) -> Result<(KeptConnection, Driver), Error> {
        let connector = self.connector();
        let addresses = self.policy().addresses(url, connector).await?;
        let transport = connect(url, &addresses, self.patience(), connector, self.tls()).await?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(transport))
            .await
            .map_err(|error| protocol(&host, &error))?;
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let authority = HeaderValue::try_from(authority).map_err(|error| Error::BadUrl {
            url: telemetry::redact(url.as_str()).into_owned(),
            reason: error.to_string(),
        })?;
        let kept = KeptConnection {
            sender,
            host,
            authority,
        };
        // How it ends is seen by who uses it.
        let driver = Box::pin(async move { drop(connection.await) });
        Ok((kept, driver))
    }
}

impl KeptConnection {
    /// Whether a request can be sent on it: the last answer was read, and the server has not left.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request, and gives the head of its answer; the body follows as it comes. The request's
    /// URI is in origin form; `host` is set here.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn send(
        &mut self,
        mut request: http::Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendError> {
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.authority.clone());
        if self.sender.ready().await.is_err() {
            return Err(SendError::Unsent);
        }
        match self.sender.try_send_request(request).await {
            Ok(answer) => Ok(answer),
            Err(error) if error.message().is_some() => Err(SendError::Unsent),
            Err(error) => Err(protocol(&self.host, error.error()).into()),
        }
    }
}

fn protocol(host: &str, error: &hyper::Error) -> Error {
    Error::Protocol {
        host: host.to_owned(),
        reason: telemetry::error_chain(error),
    }
}
