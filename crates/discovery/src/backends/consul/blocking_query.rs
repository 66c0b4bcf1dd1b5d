//! Follows one question to Consul by blocking queries, and publishes its answers.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use backoff::Pauses;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    client::{Answer, ConsulApi, QueryMode},
    index::QueryIndex,
    pacing::{MIN_INTERVAL, interval, pauses},
};
use crate::{
    Error,
    backends::{
        outage::{Outages, WatchOutage},
        stale_grace::{Item, StaleGrace},
    },
    publish::publish,
};

/// How long the first answer may take before the cache is shown instead.
const USE_CACHE_AFTER: Duration = Duration::from_secs(1);

/// A question to Consul, and the value that its answers become.
pub(super) trait Source: Send + Sync + 'static {
    type Key: Ord + Clone + Send + Sync;
    type Item: Item + Send + Sync;
    type Value: PartialEq + Send + Sync;
    /// Whether its index changes with every registration.
    const IS_CATALOG: bool = false;

    /// Its name in logs.
    fn what(&self) -> &str;

    fn ask(
        &self,
        client: &ConsulApi,
        ask: QueryMode,
    ) -> impl Future<Output = Result<Answers<Self>, Error>> + Send;

    fn value(&self, items: BTreeMap<Self::Key, Self::Item>) -> Self::Value;
}

/// An answer to the question of a source.
pub(super) type Answers<S> = Answer<BTreeMap<<S as Source>::Key, <S as Source>::Item>>;

/// The state of one watch: its question, the latest answer, and the receivers.
pub(super) struct BlockingQuery<S: Source> {
    source: S,
    sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
    grace: StaleGrace<S::Key, S::Item>,
    query_index: QueryIndex,
    pauses: Pauses,
    failing: WatchOutage,
    next: Instant,
    /// The items of the cache, until Consul has answered.
    cached: Option<BTreeMap<S::Key, S::Item>>,
    /// The index of the latest answer.
    index: u64,
}

impl<S: Source> BlockingQuery<S> {
    pub(super) fn new(
        source: S,
        sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
        outages: Outages,
        cached: Option<BTreeMap<S::Key, S::Item>>,
    ) -> Self {
        Self {
            source,
            sender,
            grace: StaleGrace::new(),
            query_index: QueryIndex::default(),
            pauses: pauses(),
            failing: WatchOutage::new(outages),
            next: Instant::now(),
            cached,
            index: 0,
        }
    }

    /// The index of the latest answer; 0 before the first.
    pub(super) fn index(&self) -> u64 {
        self.index
    }

    /// Waits until the next question may be asked.
    pub(super) async fn ready(&self) {
        sleep_until(self.next).await;
    }

    /// Waits for news by a blocking query.
    pub(super) async fn wait(&mut self, client: &ConsulApi) {
        self.ask(client, self.query_index.ask()).await;
    }

    /// Asks without blocking; returns whether there was an answer.
    pub(super) async fn fetch(&mut self, client: &ConsulApi) -> bool {
        self.ask(client, QueryMode::Immediate).await
    }

    /// Cancel-safe: all state changes after the only await, so a drop loses just the answer.
    async fn ask(&mut self, client: &ConsulApi, ask: QueryMode) -> bool {
        let started = Instant::now();
        let answered = {
            let asked = self.source.ask(client, ask);
            if self.cached.is_none() {
                asked.await
            } else {
                tokio::select! {
                    answered = asked => answered,
                    () = sleep(USE_CACHE_AFTER) => {
                        // The caller asks again: this query is dropped.
                        self.show_cached();
                        return false;
                    }
                }
            }
        };
        let now = Instant::now();
        match answered {
            Ok(answer) => {
                self.cached = None;
                let interval = interval(answer.cost);
                self.take(answer, started, now);
                self.next = (started + MIN_INTERVAL).max(now + interval - MIN_INTERVAL);
                true
            }
            Err(error) => {
                self.show_cached();
                self.grace.mark_outage();
                self.query_index.reset();
                self.failing.begin(self.source.what(), &error);
                self.next = now + self.pauses.after_failure(&mut rand::rng());
                false
            }
        }
    }

    /// Publishes the items of the cache as the last known set.
    fn show_cached(&mut self) {
        if let Some(items) = self.cached.take() {
            self.grace.apply(items, Instant::now());
            self.grace.mark_outage();
            self.publish();
        }
    }

    fn take(&mut self, answer: Answers<S>, started: Instant, now: Instant) {
        if self.query_index.advance(answer.index, now - started) {
            self.grace.mark_outage();
        }
        self.index = answer.index;
        self.grace.apply(answer.value, now);
        self.pauses.reset();
        self.failing.end(self.source.what());
        self.publish();
    }

    /// Takes note of an outage that another watch noticed.
    pub(super) fn mark_outage(&mut self) {
        self.grace.mark_outage();
    }

    /// Ends with the stale grace period; never when nothing is retained.
    pub(super) fn expiry(&self) -> impl Future<Output = ()> + use<S> {
        let deadline = self.grace.deadline();
        async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Ends the stale grace period, after [`BlockingQuery::expiry`].
    pub(super) fn expire(&mut self) {
        self.grace.expire(Instant::now());
        self.publish();
    }

    fn publish(&self) {
        publish(&self.sender, self.source.value(self.grace.items()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Catalog,
        backends::{consul::sources::CatalogSource, stale_grace::GRACE},
    };

    type Receiver = watch::Receiver<Option<Arc<Catalog>>>;

    fn catalog_query() -> (BlockingQuery<CatalogSource>, Receiver) {
        let (sender, receiver) = watch::channel(None);
        (
            BlockingQuery::new(
                CatalogSource::default(),
                Arc::new(sender),
                Outages::default(),
                None,
            ),
            receiver,
        )
    }

    fn answer(index: u64, names: &[&str]) -> Answers<CatalogSource> {
        let value = names
            .iter()
            .map(|name| (Arc::from(*name), vec!["grpc".to_owned()]))
            .collect();
        Answer::new(index, value)
    }

    fn names(receiver: &Receiver) -> Vec<Arc<str>> {
        receiver
            .borrow()
            .as_ref()
            .expect("published")
            .services
            .keys()
            .cloned()
            .collect()
    }

    #[test]
    fn a_name_is_kept_when_the_index_falls_and_given_up_after_the_grace() {
        let (mut query, receiver) = catalog_query();
        let then = Instant::now() - GRACE;
        query.take(answer(40, &["agent-a"]), then, then);
        query.take(answer(7, &[]), then, then);
        assert_eq!(names(&receiver), ["agent-a".into()]);
        query.expire();
        assert_eq!(names(&receiver), []);
    }

    #[tokio::test]
    async fn expiry_never_comes_when_nothing_is_kept() {
        let (mut query, _receiver) = catalog_query();
        let now = Instant::now();
        query.take(answer(40, &["agent-a"]), now, now);
        let expiry = tokio::time::timeout(Duration::from_millis(20), query.expiry());
        assert!(expiry.await.is_err());
    }
}
