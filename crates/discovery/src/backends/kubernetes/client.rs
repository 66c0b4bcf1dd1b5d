//! One request to the API server and its answer.

use std::{fmt, fs, time::Duration};

use parking_lot::Mutex;
use reqwest::{Certificate, Client, Method, Response, header};
use telemetry::root_cause;
use tokio::time::timeout;

use super::{
    api_types::{List, Status},
    options::{KubernetesOptions, NAME},
    store::Kind,
};
use crate::{Error, backends::percent::percent_encoded, status::AnswerCounts};

/// How long a request may take that does not watch.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How many objects one answer of a list has.
const PAGE: usize = 500;
/// The longest answer to a list, bytes.
const MAX_BODY: usize = 64 << 20;
/// How much of the API server's own words an error repeats, bytes.
const MAX_ERROR_BYTES: usize = 400;

/// Asks one API server about one namespace.
pub(super) struct KubernetesApi {
    options: KubernetesOptions,
    url: String,
    namespace: String,
    /// The client with the authorities that it was built for. They are replaced, too.
    client: Mutex<Option<(Vec<u8>, Client)>>,
    pub(super) answers: AnswerCounts,
}

impl fmt::Debug for KubernetesApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesApi")
            .field("url", &self.url)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// Why a list or a watch did not go on.
#[derive(Debug)]
pub(super) enum Failure {
    /// The API server has no such past any more: list again.
    Gone,
    /// Anything else.
    Error(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl KubernetesApi {
    pub(super) fn new(options: KubernetesOptions) -> Result<Self, Error> {
        Ok(Self {
            url: options.url()?,
            namespace: options.namespace()?,
            options,
            client: Mutex::default(),
            answers: AnswerCounts::default(),
        })
    }

    /// Every object of a kind, and the version that a watch goes on from.
    pub(super) async fn list(
        &self,
        kind: Kind,
    ) -> Result<(Vec<serde_json::Value>, String), Failure> {
        let (mut items, mut next) = (Vec::new(), String::new());
        loop {
            let query = format!("limit={PAGE}{next}");
            let answer = self.get(kind, &query, REQUEST_TIMEOUT).await?;
            let body = self.body(answer).await?;
            let list: List = serde_json::from_slice(&body).map_err(|error| unreadable(&error))?;
            items.extend(list.items.into_iter().flatten());
            match list.metadata.r#continue.filter(|token| !token.is_empty()) {
                Some(token) => next = format!("&continue={}", percent_encoded(&token)),
                None => return Ok((items, list.metadata.resource_version)),
            }
        }
    }

    /// Begins a watch that the API server ends after `wait`.
    pub(super) async fn watch(
        &self,
        kind: Kind,
        version: &str,
        wait: Duration,
        limit: Duration,
    ) -> Result<Response, Failure> {
        let query = format!(
            "watch=true&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            wait.as_secs(),
            percent_encoded(version)
        );
        // The head of the answer comes at once, however long the watch goes on.
        let asked = self.get(kind, &query, limit);
        timeout(REQUEST_TIMEOUT, asked).await.unwrap_or_else(|_| {
            let silent = self.unreachable(format!("no answer in {REQUEST_TIMEOUT:?}"));
            Err(silent.into())
        })
    }

    /// Writes one value of a ConfigMap, or removes it. A ConfigMap that is not there is made.
    pub(super) async fn patch_config_map(
        &self,
        name: &str,
        key: &str,
        value: Option<&str>,
    ) -> Result<(), Error> {
        let path = format!("api/v1/namespaces/{}/configmaps", self.namespace);
        let patch = serde_json::json!({ "data": { key: value } }).to_string();
        let merge = "application/merge-patch+json";
        let at = format!("{path}/{name}");
        let sent = self.send(Method::PATCH, &at, Some((merge, patch)), REQUEST_TIMEOUT);
        let answer = sent.await?;
        if answer.status().is_success() {
            return Ok(());
        }
        if answer.status().as_u16() != 404 {
            return Err(self.write_error(answer).await);
        }
        let Some(value) = value else {
            // Nothing is there to remove.
            return Ok(());
        };
        let made = serde_json::json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": name },
            "data": { key: value },
        });
        let json = Some(("application/json", made.to_string()));
        let sent = self.send(Method::POST, &path, json, REQUEST_TIMEOUT);
        let answer = sent.await?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(self.write_error(answer).await)
    }

    async fn write_error(&self, answer: Response) -> Error {
        match self.error(answer, Right::Write).await {
            Failure::Gone => failed("the resource is gone (HTTP 410)".to_owned()),
            Failure::Error(error) => error,
        }
    }

    async fn get(&self, kind: Kind, query: &str, limit: Duration) -> Result<Response, Failure> {
        let path = format!("{}&{query}", kind.path(&self.namespace));
        let got = match self.send(Method::GET, &path, None, limit).await {
            Ok(answer) if answer.status().is_success() => Ok(answer),
            Ok(answer) => Err(self.error(answer, Right::Read(kind)).await),
            Err(error) => Err(error.into()),
        };
        // A version that is too old is an answer like others.
        self.answers.note_error(match &got {
            Err(Failure::Error(error)) => Some(error),
            Ok(_) | Err(Failure::Gone) => None,
        });
        got
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&'static str, String)>,
        limit: Duration,
    ) -> Result<Response, Error> {
        let mut request = self
            .client()?
            .request(method, format!("{}/{path}", self.url))
            .timeout(limit)
            .header(header::ACCEPT, "application/json");
        if let Some(token) = self.token()? {
            request = request.bearer_auth(token);
        }
        if let Some((content_type, body)) = body {
            request = request
                .header(header::CONTENT_TYPE, content_type)
                .body(body);
        }
        request.send().await.map_err(|error| {
            self.unreachable(if error.is_timeout() && !error.is_connect() {
                format!("no answer in {limit:?}")
            } else {
                root_cause(&error)
            })
        })
    }

    fn is_encrypted(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The token as it is now. Kubernetes replaces it while the program runs.
    fn token(&self) -> Result<Option<String>, Error> {
        if !self.is_encrypted() {
            return Ok(None);
        }
        let path = self.options.token_file.display();
        let bad = |reason: String| Error::Config {
            key: "kubernetes_token_file",
            reason,
        };
        let text = fs::read_to_string(&self.options.token_file).map_err(|error| {
            bad(format!(
                "cannot read {path}: {error}; a pod has it unless automountServiceAccountToken is false"
            ))
        })?;
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(bad(format!("{path} has no token")));
        }
        Ok(Some(token.to_owned()))
    }

    /// The client. It uses no proxy of the environment and follows no redirects: nobody else may get
    /// the token.
    fn client(&self) -> Result<Client, Error> {
        let path = self.options.ca_file.display();
        let bad = |reason: String| Error::Config {
            key: "kubernetes_ca_file",
            reason,
        };
        let authorities = if self.is_encrypted() {
            fs::read(&self.options.ca_file)
                .map_err(|error| bad(format!("cannot read {path}: {error}")))?
        } else {
            Vec::new()
        };
        let mut known = self.client.lock();
        if let Some((of, client)) = &*known
            && *of == authorities
        {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .tcp_keepalive(Duration::from_secs(10))
            .pool_idle_timeout(Duration::from_secs(30));
        if self.is_encrypted() {
            builder = builder.use_native_tls().tls_built_in_root_certs(false);
            for certificate in
                certificates(&authorities).map_err(|error| bad(format!("{path}: {error}")))?
            {
                builder = builder.add_root_certificate(certificate);
            }
        } else {
            // As of Consul: rustls without roots is the smallest client.
            builder = builder.use_rustls_tls().tls_built_in_root_certs(false);
        }
        let client = builder.build().map_err(|error| Error::Config {
            key: "kubernetes_api",
            reason: error.to_string(),
        })?;
        *known = Some((authorities, client.clone()));
        Ok(client)
    }

    async fn body(&self, mut answer: Response) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let chunk = answer.chunk().await;
            let Some(chunk) = chunk.map_err(|error| self.unreachable(root_cause(&error)))? else {
                return Ok(body);
            };
            if body.len() + chunk.len() > MAX_BODY {
                return Err(failed(format!("its answer has more than {MAX_BODY} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
    }

    /// The error that an answer is. A version that is too old is none.
    async fn error(&self, answer: Response, right: Right) -> Failure {
        let code = answer.status().as_u16();
        let body = self.body(answer).await.unwrap_or_default();
        let message = serde_json::from_slice::<Status>(&body)
            .map(|status| status.message)
            .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned());
        self.failure(code, &message, right)
    }

    /// The failure that a status of the API server means.
    pub(super) fn failure(&self, code: u16, message: &str, right: Right) -> Failure {
        let words = error_text(message);
        let namespace = &self.namespace;
        let refused = |advice: String| {
            Failure::Error(Error::Refused {
                registry: NAME,
                reason: format!("{words} (HTTP {code}); {advice}"),
            })
        };
        match code {
            410 => Failure::Gone,
            401 => refused(format!(
                "the token in {} is not valid here",
                self.options.token_file.display()
            )),
            403 => refused(match right {
                Right::Read(kind) => format!(
                    "give the ServiceAccount a Role in namespace {namespace} with list and watch of {}, as deploy/kubernetes/base/rbac.yaml has it",
                    kind.right()
                ),
                Right::Write => format!(
                    "give the user a Role in namespace {namespace} with create and patch of configmaps"
                ),
            }),
            404 => refused(format!("is there a namespace {namespace}?")),
            // A server that is busy, starts or stops.
            code if code >= 500 || code == 429 || code == 408 => {
                Failure::Error(failed(format!("{words} (HTTP {code})")))
            }
            _ => refused("the answer is not what this program can use".to_owned()),
        }
    }

    pub(super) fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable {
            registry: NAME,
            address: self.url.clone(),
            reason,
        }
    }
}

/// What a request needs a right for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Right {
    /// To list and watch.
    Read(Kind),
    /// To change a setting.
    Write,
}

pub(super) fn failed(reason: String) -> Error {
    Error::Failed {
        registry: NAME,
        reason,
    }
}

pub(super) fn unreadable(error: &serde_json::Error) -> Error {
    failed(format!("its answer cannot be read: {error}"))
}

/// Every certificate of a PEM file. The TLS library reads only the first.
fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, String> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    let text = String::from_utf8_lossy(bytes);
    let bodies = text.split(BEGIN).skip(1);
    let found = bodies
        .map(|body| Certificate::from_pem(format!("{BEGIN}{body}").as_bytes()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("it has no PEM certificate".to_owned());
    }
    Ok(found)
}

/// The API server's own words, on one line and cut.
fn error_text(message: &str) -> String {
    let mut words = message.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|char| !char.is_control());
    if words.is_empty() {
        "no reason given".clone_into(&mut words);
    }
    words.truncate(words.floor_char_boundary(MAX_ERROR_BYTES));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(code: u16, right: Right) -> String {
        let options = KubernetesOptions {
            namespace: Some("mesh".to_owned()),
            ..KubernetesOptions::at("h")
        };
        let api = KubernetesApi::new(options).unwrap();
        match api.failure(code, "its\n words\n", right) {
            Failure::Gone => "gone".to_owned(),
            Failure::Error(error) => error.to_string(),
        }
    }

    #[test]
    fn a_refusal_names_the_right_that_is_missing() {
        for (kind, right) in [
            (Kind::Services, "list and watch of services"),
            (
                Kind::EndpointSlices,
                "list and watch of endpointslices (group discovery.k8s.io)",
            ),
            (
                Kind::Settings,
                "list and watch of configmaps (resourceNames: mesh-settings)",
            ),
        ] {
            let error = told(403, Right::Read(kind));
            assert!(
                error.contains("its words (HTTP 403)") && error.contains(right),
                "{error}"
            );
            assert!(error.contains("namespace mesh"), "{error}");
        }
        assert!(told(403, Right::Write).contains("patch of configmaps"));
        assert!(told(401, Right::Write).contains("token"));
        assert!(told(503, Right::Write).contains("fails"));
        assert_eq!(told(410, Right::Write), "gone");
    }
}
