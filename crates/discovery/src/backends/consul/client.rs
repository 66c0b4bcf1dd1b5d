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
        features::{Blocking, ConsistencyMode, FeaturedEndpoint},
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
    answers::{AgentService, HealthRow, StateRow},
    request::{millis, register_request},
};
use crate::{Error, Registration};

/// How long an answer may take that waits for nothing, and how much longer than it waits a
/// blocking one may.
pub(super) const SLACK: Duration = Duration::from_secs(5);

/// The wait of a brief blocking query.
const BRIEF: Duration = Duration::from_secs(2);

/// How to ask a question that can wait for news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// For what any server knows, once that has moved on or the wait is over.
    Since {
        /// The index to move on from; 0 answers at once.
        index: u64,
        /// Whether to wait for [`BRIEF`] only.
        brief: bool,
    },
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
    pub(super) consul: ConsulClient,
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

    /// The IDs of the other registrations of the same service at the same address and port that this
    /// agent has.
    pub(super) async fn others_at(&self, it: &Registration) -> Result<Vec<String>, Error> {
        let get: Get<HashMap<String, AgentService>> = Get {
            path: "agent/services".to_owned(),
            features: None,
            answer: PhantomData,
        };
        let asked = api::exec_with_result(&self.consul, get);
        let mut services = self.ask(SLACK, asked).await?.response;
        services.retain(|id, other| *id != it.id && other.is_at(it));
        Ok(services.into_keys().collect())
    }

    /// The features of a query, and how long its answer may take: Consul itself adds a sixteenth
    /// to the wait that it is asked for.
    pub(super) fn features(&self, ask: Ask) -> (Features, Duration) {
        let mut features = Features::default();
        let Ask::Since { index, brief } = ask else {
            return (features, SLACK);
        };
        let wait = if brief {
            self.wait.min(BRIEF)
        } else {
            self.wait
        };
        let wait = wait.mul_f64(rand::random_range(1.0..1.1));
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

    pub(super) fn error(&self, error: ClientError) -> Error {
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

    pub(super) fn unreachable(&self, reason: String) -> Error {
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

/// A name as part of a path. consulrs encodes what needs it twice, and so would ask for another
/// service than the one that is meant.
pub(super) fn segment(name: &str) -> Result<&str, Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:@+=,".contains(&byte);
    if !name.is_empty() && name != "." && name != ".." && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(Error::Refused {
        registry: NAME,
        reason: format!("{name:?} is no usable name: take letters, digits and -._~:@+=,"),
    })
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

    fn client() -> Client {
        Client::new(ConsulOptions::default()).expect("the defaults are usable")
    }

    #[test]
    fn a_blocking_query_is_given_longer_than_it_waits() {
        let client = client();
        for _ in 0..100 {
            for (brief, asked) in [(false, client.wait), (true, BRIEF)] {
                let (features, limit) = client.features(Ask::Since { index: 7, brief });
                let blocking = features.blocking.expect("it blocks");
                let wait = blocking
                    .wait
                    .and_then(|wait| wait.strip_suffix("ms")?.parse().ok());
                let wait = Duration::from_millis(wait.expect("milliseconds"));
                assert!(wait >= asked && wait <= asked * 11 / 10, "{wait:?}");
                assert!(limit > wait + wait / 16, "{limit:?}");
            }
        }
        assert_eq!(
            client
                .features(Ask::Since {
                    index: 0,
                    brief: false
                })
                .1,
            SLACK
        );
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
