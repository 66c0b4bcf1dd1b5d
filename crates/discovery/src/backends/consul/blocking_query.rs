//! Follows one answer of Consul over time and publishes what it comes to.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    api_types,
    client::{Answer, ConsulApi, QueryMode},
    index::QueryIndex,
    outage::{Outages, WatchOutage},
    stale_grace::{Item, StaleGrace},
    visibility::{EmptyAnswer, Visibility},
};
use crate::{
    Backoff, Catalog, Error, Instance, InstanceKey, LeftOut, Snapshot, publish::publish,
    status::LeftOuts, validate,
};

/// The least time from one query to the next of the same watch. Consul answers a query for a
/// service that does not exist whenever anything moves, so its own waiting is no limit.
pub(super) const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// How long the first answer may take before what the disk remembers is shown in its place.
const USE_CACHE_AFTER: Duration = Duration::from_secs(1);

/// How many times longer than an answer takes to read the pause before the next is, and the longest.
const DUTY: u32 = 8;
const MAX_INTERVAL: Duration = Duration::from_millis(500);

/// The pause to the next answer: what comes often and is long must not keep Consul and us busy.
pub(super) fn interval(cost: Duration) -> Duration {
    (cost * DUTY).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// Pauses after errors.
pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

/// A question, and what its answers are made into.
pub(super) trait Source: Send + Sync + 'static {
    type Key: Ord + Clone + Send + Sync;
    type Item: Item + Send + Sync;
    type Value: PartialEq + Send + Sync;
    /// Whether its index moves with every registration.
    const IS_CATALOG: bool = false;

    /// What logs call it.
    fn what(&self) -> &str;

    fn ask(
        &self,
        client: &ConsulApi,
        ask: QueryMode,
    ) -> impl Future<Output = Result<Answers<Self>, Error>> + Send;

    fn value(&self, items: BTreeMap<Self::Key, Self::Item>) -> Self::Value;
}

/// One answer to the question of a source.
type Answers<S> = Answer<BTreeMap<<S as Source>::Key, <S as Source>::Item>>;

/// The names of the services in the mesh.
#[derive(Debug, Default)]
pub(super) struct CatalogSource {
    pub(super) left_outs: LeftOuts,
}

/// The instances of one service.
#[derive(Debug)]
pub(super) struct InstancesSource {
    name: Arc<str>,
    left_outs: LeftOuts,
    visibility: Arc<Visibility>,
    /// How many rows of the latest answer are no instances.
    excluded: AtomicUsize,
}

impl InstancesSource {
    pub(super) fn new(name: Arc<str>, left_outs: LeftOuts, visibility: Arc<Visibility>) -> Self {
        Self {
            name,
            left_outs,
            visibility,
            excluded: AtomicUsize::new(0),
        }
    }
}

impl Drop for InstancesSource {
    fn drop(&mut self) {
        self.left_outs.set(&self.name, Vec::new());
    }
}

impl Item for Vec<String> {
    /// A name is in the answer or it is not.
    fn is_serving(&self) -> bool {
        true
    }
}

impl Item for Arc<Instance> {
    fn is_serving(&self) -> bool {
        Instance::is_serving(self)
    }
}

impl Source for CatalogSource {
    type Key = Arc<str>;
    type Item = Vec<String>;
    type Value = Catalog;
    const IS_CATALOG: bool = true;

    fn what(&self) -> &str {
        "the catalog"
    }

    async fn ask(&self, client: &ConsulApi, ask: QueryMode) -> Result<Answers<Self>, Error> {
        let answer = client.services(ask).await?;
        Ok(answer.map(|value| {
            let named = value.into_iter().map(|(name, tags)| (name.into(), tags));
            let mut services = Catalog::from_tags(named.collect()).services;
            let mut left_out = Vec::new();
            services.retain(|name, _| match validate::name(name) {
                Ok(()) => true,
                Err(reason) => {
                    left_out.push(LeftOut::new(name, "", reason));
                    false
                }
            });
            // No service has this name.
            self.left_outs.set(&"".into(), left_out);
            services
        }))
    }

    fn value(&self, services: BTreeMap<Arc<str>, Vec<String>>) -> Catalog {
        Catalog { services }
    }
}

impl Source for InstancesSource {
    type Key = InstanceKey;
    type Item = Arc<Instance>;
    type Value = Snapshot;

    fn what(&self) -> &str {
        &self.name
    }

    async fn ask(&self, client: &ConsulApi, ask: QueryMode) -> Result<Answers<Self>, Error> {
        let mut answer = client.health(&self.name, ask).await?;
        let mut hidden = false;
        if answer.value.is_empty() {
            let explained = client.explain_empty(&self.visibility, &self.name, answer.filtered);
            match explained.await? {
                EmptyAnswer::Confirmed => {}
                EmptyAnswer::Outdated(rows) => answer.value = rows,
                EmptyAnswer::Hidden => hidden = true,
            }
        }
        Ok(answer.map(|rows| {
            let mut found = api_types::instances(rows);
            if hidden {
                let reason =
                    "Consul names it and shows no instance of it: check the token's node:read";
                found
                    .left_out
                    .push(LeftOut::new(&self.name, "", reason.to_owned()));
            }
            self.left_outs.set(&self.name, found.left_out);
            self.excluded.store(found.excluded, Ordering::Relaxed);
            found.instances
        }))
    }

    fn value(&self, instances: BTreeMap<InstanceKey, Arc<Instance>>) -> Snapshot {
        Snapshot {
            service: self.name.clone(),
            instances: instances.into_values().collect(),
            excluded: self.excluded.load(Ordering::Relaxed),
        }
    }
}

/// One watch: its question, what it knows, and to whom it tells that.
pub(super) struct BlockingQuery<S: Source> {
    source: S,
    sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
    grace: StaleGrace<S::Key, S::Item>,
    query_index: QueryIndex,
    backoff: Backoff,
    failing: WatchOutage,
    next: Instant,
    /// What the disk remembers, until Consul has answered.
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
            backoff: backoff(),
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

    /// Asks at once; answers whether there was an answer.
    pub(super) async fn fetch(&mut self, client: &ConsulApi) -> bool {
        self.ask(client, QueryMode::Immediate).await
    }

    /// Dropping this before it is done loses the answer and nothing else: all that it changes, it
    /// changes after the one await.
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
                        // The question is asked again: nobody waits for this answer any more.
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
                self.next = now + self.backoff.next();
                false
            }
        }
    }

    /// Shows what the disk remembers, as the last known set.
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
        self.backoff.reset();
        self.failing.end(self.source.what());
        self.publish();
    }

    /// Somebody else noticed an outage.
    pub(super) fn mark_outage(&mut self) {
        self.grace.mark_outage();
    }

    /// Waits until what an outage may have lost has been kept for long enough, and publishes the
    /// truth then; for ever when nothing is kept.
    pub(super) fn expiry(&self) -> impl Future<Output = ()> + use<S> {
        let deadline = self.grace.deadline();
        async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Publishes the truth after [`BlockingQuery::expiry`].
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
    use crate::backends::consul::stale_grace::GRACE;

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
