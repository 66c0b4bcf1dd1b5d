//! Whether an empty answer is true, or only all that the token may see.
//!
//! Consul leaves out what a token may not read. Newer versions say so in a header. Older ones
//! answer with an empty list, as if there were no instances.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::time::{Duration, Instant, sleep};

use super::{
    api_types::{HealthRow, NodeRow},
    client::{Answer, ConsulApi, QueryMode, path_segment},
    options::NAME,
};
use crate::Error;

/// How long the looked-up names are used again.
const FRESH: Duration = Duration::from_secs(5);
/// The pause before a second look at what may be changing.
const AGAIN: Duration = Duration::from_millis(200);

/// What the token sees.
#[derive(Debug, Default)]
pub(super) struct Visibility {
    /// The names of services.
    visible: Mutex<Option<VisibleNames>>,
    /// The services of which it sees only the name.
    hidden: Mutex<BTreeSet<Arc<str>>>,
}

impl Visibility {
    /// Notes whether Consul hides the instances of a service.
    pub(super) fn set_hidden(&self, service: &Arc<str>, hidden: bool) {
        let mut all = self.hidden.lock();
        if hidden {
            all.insert(Arc::clone(service));
        } else {
            all.remove(service);
        }
    }

    /// Whether Consul hides the instances of a service.
    pub(super) fn is_hidden(&self, service: &str) -> bool {
        self.hidden.lock().contains(service)
    }

    /// The services of which only the name is seen.
    pub(super) fn hidden(&self) -> Vec<String> {
        self.hidden.lock().iter().map(ToString::to_string).collect()
    }
}

#[derive(Debug)]
struct VisibleNames {
    at: Instant,
    names: HashSet<String>,
}

/// What an empty answer about a service means.
#[derive(Debug)]
pub(super) enum EmptyAnswer {
    /// There are no instances.
    Confirmed,
    /// It was true only for a moment: these are the instances now.
    Outdated(Vec<HealthRow>),
    /// Consul lists the service but hides its instances.
    Hidden,
}

impl ConsulApi {
    /// All services with their tags.
    pub(super) async fn services(
        &self,
        ask: QueryMode,
    ) -> Result<Answer<HashMap<String, Vec<String>>>, Error> {
        let answer: Answer<HashMap<String, Vec<String>>> =
            self.get("catalog/services", Some(ask)).await?;
        // Consul itself is a service, so there is always one.
        if answer.value.is_empty() {
            self.check(answer.filtered).await?;
        }
        Ok(answer)
    }

    /// The instances of one service with all their checks.
    pub(super) async fn health(
        &self,
        service: &str,
        ask: QueryMode,
    ) -> Result<Answer<Vec<HealthRow>>, Error> {
        let path = format!("health/service/{}", path_segment(service)?);
        self.get(&path, Some(ask)).await
    }

    /// Why an answer had no instances of a service.
    ///
    /// # Errors
    /// When Consul cannot be asked, or shows this token no node at all.
    pub(super) async fn explain_empty(
        &self,
        visibility: &Visibility,
        service: &str,
        filtered: bool,
    ) -> Result<EmptyAnswer, Error> {
        {
            let seen = visibility.visible.lock();
            let fresh = seen.as_ref().filter(|seen| seen.at.elapsed() < FRESH);
            if !filtered && fresh.is_some_and(|seen| !seen.names.contains(service)) {
                return Ok(EmptyAnswer::Confirmed);
            }
        }
        self.check(filtered).await?;
        if !self.names(visibility).await?.contains(service) {
            return Ok(EmptyAnswer::Confirmed);
        }
        // The service may be just coming or leaving.
        sleep(AGAIN).await;
        let rows = self.health(service, QueryMode::Immediate).await?.value;
        if !rows.is_empty() {
            return Ok(EmptyAnswer::Outdated(rows));
        }
        Ok(if self.names(visibility).await?.contains(service) {
            EmptyAnswer::Hidden
        } else {
            EmptyAnswer::Confirmed
        })
    }

    /// Every check of every service and node.
    pub(super) async fn state<T: serde::de::DeserializeOwned>(
        &self,
        ask: QueryMode,
    ) -> Result<Answer<Vec<T>>, Error> {
        let answer: Answer<Vec<T>> = self.get("health/state/any", Some(ask)).await?;
        if answer.value.is_empty() {
            self.check(answer.filtered).await?;
        }
        Ok(answer)
    }

    async fn names(&self, visibility: &Visibility) -> Result<HashSet<String>, Error> {
        let names = self
            .get::<HashMap<String, Vec<String>>>("catalog/services", Some(QueryMode::Immediate))
            .await?;
        let names: HashSet<String> = names.value.into_keys().collect();
        *visibility.visible.lock() = Some(VisibleNames {
            at: Instant::now(),
            names: names.clone(),
        });
        Ok(names)
    }

    /// Whether the token may see any node. Without one it is shown no instances.
    async fn check(&self, filtered: bool) -> Result<(), Error> {
        let nodes: Answer<Vec<NodeRow>> = self
            .get("catalog/nodes", Some(QueryMode::Immediate))
            .await?;
        // A Consul that has just started has no node either: its index is still at the beginning.
        if !nodes.value.is_empty() || (nodes.index <= 1 && !filtered) {
            if !filtered {
                return Ok(());
            }
            return Err(sees_nothing("it may not read services or nodes"));
        }
        Err(sees_nothing("it has no node:read"))
    }
}

fn sees_nothing(why: &str) -> Error {
    Error::Refused {
        registry: NAME,
        reason: format!(
            "it shows nothing to this token, as {why}; give its policy node_prefix \"\" and \
             service_prefix \"\" with policy = \"read\""
        ),
    }
}
