//! Follows one answer of Consul over time and publishes what it comes to.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{
    answers,
    client::{Answer, Ask, Client},
    cursor::Cursor,
    hold::{Hold, Item},
    outage::{Failing, Outages},
};
use crate::{Backoff, Catalog, Error, Instance, Key, Snapshot, publish::publish};

/// The least time from one query to the next of the same watch. Consul answers a query for a
/// service that does not exist whenever anything moves, so its own waiting is no limit.
pub(super) const PACE: Duration = Duration::from_millis(100);

/// Pauses after errors.
pub(super) fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

/// A question, and what its answers are made into.
pub(super) trait Source: Send + Sync + 'static {
    type Key: Ord + Clone + Send + Sync;
    type Item: Item + Send + Sync;
    type Value: PartialEq + Send + Sync;

    /// What logs call it.
    fn what(&self) -> &str;

    fn ask(
        &self,
        client: &Client,
        ask: Ask,
    ) -> impl Future<Output = Result<Answers<Self>, Error>> + Send;

    fn value(&self, items: BTreeMap<Self::Key, Self::Item>) -> Self::Value;
}

/// One answer to the question of a source.
type Answers<S> = Answer<BTreeMap<<S as Source>::Key, <S as Source>::Item>>;

/// The names of the services in the mesh.
#[derive(Debug)]
pub(super) struct Names;

/// The instances of the service of this name.
#[derive(Debug)]
pub(super) struct Instances(pub(super) Arc<str>);

impl Item for Vec<String> {
    /// A name is in the answer or it is not.
    fn serves(&self) -> bool {
        true
    }
}

impl Item for Arc<Instance> {
    fn serves(&self) -> bool {
        self.is_serving()
    }
}

impl Source for Names {
    type Key = Arc<str>;
    type Item = Vec<String>;
    type Value = Catalog;

    fn what(&self) -> &str {
        "the catalog"
    }

    async fn ask(&self, client: &Client, ask: Ask) -> Result<Answers<Self>, Error> {
        let Answer { index, value } = client.services(ask).await?;
        let named = value
            .into_iter()
            .map(|(name, tags)| (name.into(), tags))
            .collect();
        Ok(Answer {
            index,
            value: Catalog::from_tags(named).services,
        })
    }

    fn value(&self, services: BTreeMap<Arc<str>, Vec<String>>) -> Catalog {
        Catalog { services }
    }
}

impl Source for Instances {
    type Key = Key;
    type Item = Arc<Instance>;
    type Value = Snapshot;

    fn what(&self) -> &str {
        &self.0
    }

    async fn ask(&self, client: &Client, ask: Ask) -> Result<Answers<Self>, Error> {
        let Answer { index, value } = client.health(&self.0, ask).await?;
        Ok(Answer {
            index,
            value: answers::instances(value),
        })
    }

    fn value(&self, instances: BTreeMap<Key, Arc<Instance>>) -> Snapshot {
        Snapshot {
            service: self.0.clone(),
            instances: instances.into_values().collect(),
        }
    }
}

/// One watch: its question, what it knows, and to whom it tells that.
pub(super) struct Feed<S: Source> {
    source: S,
    sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
    hold: Hold<S::Key, S::Item>,
    cursor: Cursor,
    backoff: Backoff,
    failing: Failing,
    next: Instant,
}

impl<S: Source> Feed<S> {
    pub(super) fn new(
        source: S,
        sender: Arc<watch::Sender<Option<Arc<S::Value>>>>,
        outages: Outages,
    ) -> Self {
        Self {
            source,
            sender,
            hold: Hold::new(),
            cursor: Cursor::default(),
            backoff: backoff(),
            failing: Failing::new(outages),
            next: Instant::now(),
        }
    }

    /// Waits until the next question may be asked.
    pub(super) async fn ready(&self) {
        sleep_until(self.next).await;
    }

    /// Waits for news by a blocking query.
    pub(super) async fn wait(&mut self, client: &Client) {
        self.ask(client, self.cursor.ask()).await;
    }

    /// Asks at once; answers whether there was an answer.
    pub(super) async fn fetch(&mut self, client: &Client) -> bool {
        self.ask(client, Ask::Now).await
    }

    /// Dropping this before it is done loses the answer and nothing else: all that it changes, it
    /// changes after the one await.
    async fn ask(&mut self, client: &Client, ask: Ask) -> bool {
        let started = Instant::now();
        let answered = self.source.ask(client, ask).await;
        let now = Instant::now();
        match answered {
            Ok(answer) => {
                self.take(answer, started, now);
                self.next = started + PACE;
                true
            }
            Err(error) => {
                self.hold.disturb();
                self.cursor.reset();
                self.failing.begin(self.source.what(), &error);
                self.next = now + self.backoff.next();
                false
            }
        }
    }

    fn take(&mut self, answer: Answers<S>, started: Instant, now: Instant) {
        if self.cursor.advance(answer.index, now - started) {
            self.hold.disturb();
        }
        self.hold.answer(answer.value, now);
        self.backoff.reset();
        self.failing.end(self.source.what());
        self.publish();
    }

    /// Somebody else noticed an outage.
    pub(super) fn disturb(&mut self) {
        self.hold.disturb();
    }

    /// Waits until what an outage may have lost has been kept for long enough, and publishes the
    /// truth then; for ever when nothing is kept.
    pub(super) fn expiry(&self) -> impl Future<Output = ()> + use<S> {
        let deadline = self.hold.deadline();
        async move {
            match deadline {
                Some(deadline) => sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Publishes the truth after [`Feed::expiry`].
    pub(super) fn expire(&mut self) {
        self.hold.expire(Instant::now());
        self.publish();
    }

    fn publish(&self) {
        publish(&self.sender, self.source.value(self.hold.items()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::consul::hold::GRACE;

    type Receiver = watch::Receiver<Option<Arc<Catalog>>>;

    fn feed() -> (Feed<Names>, Receiver) {
        let (sender, receiver) = watch::channel(None);
        (
            Feed::new(Names, Arc::new(sender), Outages::default()),
            receiver,
        )
    }

    fn answer(index: u64, names: &[&str]) -> Answers<Names> {
        let value = names
            .iter()
            .map(|name| (Arc::from(*name), vec!["grpc".to_owned()]))
            .collect();
        Answer { index, value }
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
        let (mut feed, receiver) = feed();
        let then = Instant::now() - GRACE;
        feed.take(answer(40, &["agent-a"]), then, then);
        feed.take(answer(7, &[]), then, then);
        assert_eq!(names(&receiver), ["agent-a".into()]);
        feed.expire();
        assert_eq!(names(&receiver), []);
    }

    #[tokio::test]
    async fn expiry_never_comes_when_nothing_is_kept() {
        let (mut feed, _receiver) = feed();
        let now = Instant::now();
        feed.take(answer(40, &["agent-a"]), now, now);
        let expiry = tokio::time::timeout(Duration::from_millis(20), feed.expiry());
        assert!(expiry.await.is_err());
    }
}
