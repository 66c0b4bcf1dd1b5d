//! One question to Consul and its answer, through consulrs. What consulrs lacks, it takes as an
//! endpoint of ours: [`Get`].

use std::{
    collections::HashMap, error::Error as _, fmt, future::Future, marker::PhantomData,
    time::Duration,
};

use consulrs::{
    api::{
        self, ApiResponse, Features,
        catalog::requests::ListServicesRequest,
        check::common::AgentServiceCheckBuilder,
        features::{Blocking, ConsistencyMode, FeaturedEndpoint},
        service::{common::AgentWeightsBuilder, requests::RegisterServiceRequest},
    },
    client::{ConsulClient, ConsulClientSettings},
    error::ClientError,
};
use rustify::{
    Endpoint,
    enums::{RequestMethod, RequestType, ResponseType},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    ConsulOptions, NAME,
    answers::{HealthRow, StateRow},
};
use crate::{Check, Error, Registration};

/// How long an answer may take that waits for nothing, and how much longer than it waits a
/// blocking one may.
const SLACK: Duration = Duration::from_secs(5);

/// How to ask a question that can wait for news.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// For what any server knows, once that has moved beyond this index; 0 answers at once.
    Since(u64),
    /// For what the leader knows, at once.
    Now,
}

/// An answer with the index that it is as of.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) index: u64,
    pub(super) value: T,
}

/// Asks one Consul agent.
pub(super) struct Client {
    consul: ConsulClient,
    wait: Duration,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

impl Client {
    #[expect(clippy::needless_pass_by_value, reason = "options are for one client")]
    pub(super) fn new(options: ConsulOptions) -> Result<Self, Error> {
        let address = options.url()?.to_string().trim_end_matches('/').to_owned();
        let http = rustify::Client::new(&address, options.http()?);
        // All fields are given, because the builder fills those that are not from the environment.
        let settings = ConsulClientSettings {
            address,
            ca_certs: Vec::new(),
            client_cert: None,
            client_key: None,
            token: options.token()?,
            verify: true,
            version: 1,
        };
        Ok(Self {
            consul: ConsulClient { http, settings },
            wait: options.wait()?,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.consul.settings.address
    }

    /// The names of all services with their tags.
    pub(super) async fn services(
        &self,
        ask: Ask,
    ) -> Result<Answer<HashMap<String, Vec<String>>>, Error> {
        let (features, limit) = self.features(ask);
        let mut request = ListServicesRequest::builder();
        request.features(features);
        self.answer(
            limit,
            consulrs::catalog::services(&self.consul, Some(&mut request)),
        )
        .await
    }

    /// The instances of one service with all their checks.
    pub(super) async fn health(
        &self,
        service: &str,
        ask: Ask,
    ) -> Result<Answer<Vec<HealthRow>>, Error> {
        let path = format!("health/service/{}", segment(service)?);
        let (features, limit) = self.features(ask);
        let get = Get {
            path,
            features: Some(features),
            answer: PhantomData,
        };
        self.answer(limit, api::exec_with_result(&self.consul, get))
            .await
    }

    /// Every check of every service and node.
    pub(super) async fn state(&self, ask: Ask) -> Result<Answer<Vec<StateRow>>, Error> {
        let (features, limit) = self.features(ask);
        let path = "health/state/any".to_owned();
        let get = Get {
            path,
            features: Some(features),
            answer: PhantomData,
        };
        self.answer(limit, api::exec_with_result(&self.consul, get))
            .await
    }

    pub(super) async fn register(&self, registration: &Registration) -> Result<(), Error> {
        segment(&registration.id)?;
        segment(&registration.service)?;
        let mut request = register_request(registration);
        let sent =
            consulrs::service::register(&self.consul, &registration.service, Some(&mut request));
        self.ask(SLACK, sent).await.map(drop)
    }

    pub(super) async fn is_registered(&self, id: &str) -> Result<bool, Error> {
        let path = format!("agent/service/{}", segment(id)?);
        // The body is not read, only whether there is one.
        let get: Get<()> = Get {
            path,
            features: None,
            answer: PhantomData,
        };
        let asked = timeout(SLACK, api::exec_with_empty(&self.consul, get)).await;
        match asked {
            Ok(Err(ClientError::APIError { code: 404, .. })) => Ok(false),
            Ok(Err(error)) => Err(self.error(error)),
            Ok(Ok(_)) => Ok(true),
            Err(_) => Err(self.unreachable(format!("no answer in {SLACK:?}"))),
        }
    }

    pub(super) async fn deregister(&self, id: &str) -> Result<(), Error> {
        let id = segment(id)?;
        let asked = timeout(SLACK, consulrs::service::deregister(&self.consul, id, None)).await;
        match asked {
            // Newer agents say so of an ID that they do not know.
            Ok(Ok(_) | Err(ClientError::APIError { code: 404, .. })) => Ok(()),
            Ok(Err(error)) => Err(self.error(error)),
            Err(_) => Err(self.unreachable(format!("no answer in {SLACK:?}"))),
        }
    }

    /// The features of a query, and how long its answer may take: Consul itself adds a sixteenth
    /// to the wait that it is asked for.
    fn features(&self, ask: Ask) -> (Features, Duration) {
        let mut features = Features::default();
        let Ask::Since(index) = ask else {
            return (features, SLACK);
        };
        let wait = self.wait.mul_f64(rand::random_range(1.0..1.1));
        features.mode = Some(ConsistencyMode::STALE);
        features.blocking = Some(Blocking {
            index,
            wait: Some(millis(wait)),
        });
        (
            features,
            if index == 0 {
                SLACK
            } else {
                wait + wait / 16 + SLACK
            },
        )
    }

    async fn answer<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<ApiResponse<T>, ClientError>>,
    ) -> Result<Answer<T>, Error> {
        let ApiResponse {
            index, response, ..
        } = self.ask(limit, asked).await?;
        let index = index.and_then(|index| index.parse().ok()).unwrap_or(0);
        Ok(Answer {
            index,
            value: response,
        })
    }

    async fn ask<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<ApiResponse<T>, ClientError>>,
    ) -> Result<ApiResponse<T>, Error> {
        match timeout(limit, asked).await {
            Ok(answered) => answered.map_err(|error| self.error(error)),
            Err(_) => Err(self.unreachable(format!("no answer in {limit:?}"))),
        }
    }

    fn error(&self, error: ClientError) -> Error {
        match error {
            // A server that is busy or has no leader says so with 429 or 5xx: that passes.
            ClientError::APIError { code, message } if code < 500 && code != 429 => {
                let words = message.unwrap_or_default();
                let advice = if code == 403 {
                    "; check the token and its policy"
                } else {
                    ""
                };
                Error::Refused {
                    registry: NAME,
                    reason: format!("{} (HTTP {code}){advice}", words.trim()),
                }
            }
            ClientError::APIError { code, message } => {
                let words = message.unwrap_or_default();
                self.unreachable(format!("{} (HTTP {code})", words.trim()))
            }
            other => self.unreachable(chain(&other)),
        }
    }

    fn unreachable(&self, reason: String) -> Error {
        Error::Unreachable {
            registry: NAME,
            address: self.address().to_owned(),
            reason,
        }
    }
}

/// A GET of one path under `/v1`.
struct Get<T> {
    path: String,
    features: Option<Features>,
    answer: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + Send + Sync> Endpoint for Get<T> {
    type Response = T;
    const REQUEST_BODY_TYPE: RequestType = RequestType::JSON;
    const RESPONSE_BODY_TYPE: ResponseType = ResponseType::JSON;

    fn path(&self) -> String {
        self.path.clone()
    }

    fn method(&self) -> RequestMethod {
        RequestMethod::GET
    }
}

impl<T> FeaturedEndpoint for Get<T> {
    fn features(&self) -> Option<Features> {
        self.features.clone()
    }
}

fn register_request(
    registration: &Registration,
) -> api::service::requests::RegisterServiceRequestBuilder {
    let host = &registration.host;
    let port = registration.port;
    let target = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut check = AgentServiceCheckBuilder::default();
    check
        .interval(millis(registration.check_interval))
        .timeout(millis(registration.check_interval.min(SLACK)))
        .status("passing")
        .deregister_critical_service_after(millis(registration.deregister_after));
    match registration.check {
        Check::Grpc => check.grpc(target),
        Check::Tcp => check.tcp(target),
    };
    let mut weights = AgentWeightsBuilder::default();
    weights
        .passing(registration.weight_passing)
        .warning(registration.weight_warning);
    let mut request = RegisterServiceRequest::builder();
    request
        .id(registration.id.as_str())
        .address(host.as_str())
        .port(port)
        .tags(registration.tags.clone())
        .meta(
            registration
                .meta
                .clone()
                .into_iter()
                .collect::<HashMap<_, _>>(),
        );
    // All fields have defaults, so neither build can fail; were one to, Consul's own defaults do.
    if let Ok(check) = check.build() {
        request.check(check);
    }
    if let Ok(weights) = weights.build() {
        request.weights(weights);
    }
    request
}

/// A name as part of a path. consulrs encodes what needs it twice, and so would ask for another
/// service than the one that is meant.
fn segment(name: &str) -> Result<&str, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte);
    if !name.is_empty() && name != "." && name != ".." && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(Error::Refused {
        registry: NAME,
        reason: format!("{name:?} is no usable name: take letters, digits and -._~:@+=,"),
    })
}

fn millis(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// The causes of an error, without the outer two, which say only that there was one.
fn chain(error: &ClientError) -> String {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes[causes.len().min(3) - 1..].join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registration::tests::registration;

    fn client() -> Client {
        Client::new(ConsulOptions::default()).expect("the defaults are usable")
    }

    fn json(registration: &Registration) -> serde_json::Value {
        let request = register_request(registration)
            .build()
            .expect("all fields have defaults");
        serde_json::to_value(request).expect("plain data")
    }

    #[test]
    fn a_registration_says_all_that_consul_takes() {
        let json = json(&registration("echo-1"));
        assert_eq!(json["ID"], "echo-1");
        assert_eq!(json["Address"], "127.0.0.1");
        assert_eq!(json["Port"], 50052);
        assert_eq!(json["Meta"]["version"], "1.0.0");
        assert_eq!(json["Weights"]["Passing"], 10);
        assert_eq!(json["Check"]["GRPC"], "127.0.0.1:50052");
        assert_eq!(json["Check"]["Status"], "passing");
        assert_eq!(json["Check"]["Interval"], "10000ms");
        assert_eq!(json["Check"]["DeregisterCriticalServiceAfter"], "60000ms");
    }

    #[test]
    fn a_tcp_check_of_an_ipv6_address_has_brackets() {
        let it = Registration {
            host: "::1".into(),
            check: Check::Tcp,
            ..registration("echo-1")
        };
        let json = json(&it);
        assert_eq!(json["Check"]["TCP"], "[::1]:50052");
        assert_eq!(json["Check"].get("GRPC"), None);
        assert_eq!(json["Address"], "::1");
    }

    #[test]
    fn a_blocking_query_is_given_longer_than_it_waits() {
        let client = client();
        for _ in 0..100 {
            let (features, limit) = client.features(Ask::Since(7));
            let blocking = features.blocking.expect("it blocks");
            let wait = blocking
                .wait
                .and_then(|wait| wait.strip_suffix("ms")?.parse().ok());
            let wait = Duration::from_millis(wait.expect("milliseconds"));
            assert!(
                wait >= client.wait && wait <= client.wait * 11 / 10,
                "{wait:?}"
            );
            assert!(limit > wait + wait / 16, "{limit:?}");
        }
        assert_eq!(client.features(Ask::Since(0)).1, SLACK);
    }

    #[test]
    fn names_that_need_encoding_are_refused() {
        for name in ["agent-echo", "a.b_c~d:1"] {
            assert!(segment(name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "a%20b", "a?b", "é"] {
            assert!(segment(name).is_err(), "{name}");
        }
    }

    #[test]
    fn refusals_are_told_from_outages() {
        let api = |code| ClientError::APIError {
            code,
            message: Some("its words\n".to_owned()),
        };
        for (code, refused) in [
            (400, true),
            (403, true),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let error = client().error(api(code));
            assert_eq!(matches!(error, Error::Refused { .. }), refused, "{code}");
            assert!(error.to_string().contains("its words"), "{error}");
        }
    }
}
