//! Runs in PostgreSQL, shared by many machines.
//!
//! What happens to many runs goes in few statements: their columns are arrays. The statements of a
//! transaction are sent in one go. One connection listens for what others change, and knows whether the
//! server is there: while it is away every answer is that, at once.

mod approvals;
mod blobs;
mod call;
mod commit;
mod create;
mod events;
mod inbox;
mod lease;
mod listener;
mod load;
mod migrate;
mod partitions;
mod pool;
mod search;
mod sweep;
mod tags;
mod take;
mod tls;

use std::{
    collections::HashMap,
    sync::{Arc, Once},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_postgres::{Config, config::SslMode};

use self::{
    call::Call,
    create::Request,
    pool::{Lent, Pool},
    take::Served,
};
use super::{StoreOptions, admission};
use crate::{
    Approval, ApprovalFilter, Artifact, Changes, Command, CommandAnswer, Commit, CommitOutcome,
    CreateOutcome, Decision, DecisionOutcome, Error, EventCursor, EventFilter, EventPage,
    InboxItem, Interest, NewRun, NewVersion, OutboxEntry, OwnerLimits, RunFilter, RunPage,
    RunRecord, RunStore, RunSummary, Scope, ShardLease, StoredRun, Tag, TagMove, TagTarget,
    TimerRow, Version, hub::Hub,
};

/// How many new runs may wait for a transaction.
const WAITING: usize = 4096;

/// A database.
#[derive(Debug)]
pub(crate) struct Postgres {
    name: String,
    pool: Arc<Pool>,
    hub: Arc<Hub>,
    /// What this process signs its news with.
    own: u64,
    last_served: Mutex<Served>,
    requests: mpsc::Sender<Request>,
    waiting: Mutex<Option<mpsc::Receiver<Request>>>,
    started: Once,
    tasks: Mutex<JoinSet<()>>,
}

impl Postgres {
    /// Prepares for a database, which need not be there yet.
    pub(crate) fn open(address: &str, options: &StoreOptions) -> Result<Self, Error> {
        let config = config(address, options)?;
        let (requests, waiting) = mpsc::channel(WAITING);
        Ok(Self {
            name: listener::name(&config),
            pool: Arc::new(Pool::new(config, options)?),
            hub: Arc::default(),
            own: rand::random(),
            last_served: Mutex::default(),
            requests,
            waiting: Mutex::new(Some(waiting)),
            started: Once::new(),
            tasks: Mutex::default(),
        })
    }

    /// Starts what goes on in the background, by the first who asks for something.
    fn pool(&self) -> &Arc<Pool> {
        self.started.call_once(|| {
            let (pool, hub) = (self.pool.clone(), self.hub.clone());
            let mut tasks = self.tasks.lock();
            if let Some(waiting) = self.waiting.lock().take() {
                tasks.spawn(create::serve(pool.clone(), hub.clone(), self.own, waiting));
            }
            tasks.spawn(listener::listen(pool, hub, self.own));
        });
        &self.pool
    }

    async fn session(&self) -> Result<Lent, Error> {
        self.pool().session().await
    }

    /// Tells this process what it changed itself: it is not told by the database.
    fn changed<T>(&self, (done, changes): (T, Changes)) -> T {
        self.hub.publish(changes);
        done
    }
}

fn config(address: &str, options: &StoreOptions) -> Result<Config, Error> {
    let mut config: Config = address.parse().map_err(|error| {
        use std::error::Error as _;
        // The address has a password; what is wrong about it has none.
        let error: tokio_postgres::Error = error;
        let cause = error.source().map(ToString::to_string).unwrap_or_default();
        Error::Invalid(format!("the address of the database: {error}: {cause}"))
    })?;
    // TLS that nobody asked for would cost each connection two more waits, and check nothing.
    if config.get_ssl_mode() == SslMode::Prefer {
        config.ssl_mode(SslMode::Disable);
    }
    // PostgreSQL counts it in 31 bits of milliseconds.
    let timeout = options.timeout.min(Duration::from_secs(3600));
    let milliseconds = timeout.as_millis();
    let own = config.get_options().unwrap_or_default();
    // Statements are few and each has its index, in the order of its page: plans are made once, and never
    // by a look at how large tables are at the time. A client that stops in the middle of a transaction keeps no locks.
    let settings = format!(
        "-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds} \
         -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off \
         -c enable_mergejoin=off -c enable_bitmapscan=off -c jit=off -c synchronous_commit=on {own}"
    );
    config
        .options(settings)
        .application_name("mesh-runs")
        .connect_timeout(timeout)
        .keepalives_idle(Duration::from_secs(10))
        .tcp_user_timeout(timeout.max(Duration::from_secs(1)));
    Ok(config)
}

/// The statement that tells others of changes, with the transaction.
fn notify(changes: Changes, own: u64) -> Option<Call<'static>> {
    let sql = "SELECT pg_notify($1, $2)";
    let call = Call::new(sql).with(listener::CHANNEL);
    (!changes.is_empty()).then(|| call.with(listener::text(changes, own)))
}

#[async_trait::async_trait]
impl RunStore for Postgres {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<(), Error> {
        let sql = "INSERT INTO checked (id, at) VALUES (1, now()) ON CONFLICT (id) DO UPDATE SET at = now()";
        self.session().await?.rows(Call::new(sql)).await?;
        Ok(())
    }

    async fn put_blob(&self, content: &[u8]) -> Result<String, Error> {
        let id = crate::content_id(content);
        let mut calls = Vec::new();
        blobs::put(&mut calls, HashMap::from([(&*id, content)]));
        self.session().await?.run(&calls).await?;
        drop(calls);
        Ok(id)
    }

    async fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        blobs::get(&mut self.session().await?, ids).await
    }

    async fn put_version(
        &self,
        owner: &str,
        tag: &str,
        version: &NewVersion,
    ) -> Result<Version, Error> {
        tags::put_version(self.pool(), owner, tag, version).await
    }

    async fn versions(
        &self,
        owner: &str,
        tag: &str,
        seq: Option<u64>,
    ) -> Result<(Tag, Vec<Version>), Error> {
        tags::versions(&mut self.session().await?, owner, tag, seq).await
    }

    async fn tag(&self, owner: &str, tag: &str) -> Result<Tag, Error> {
        tags::get(&mut self.session().await?, owner, tag).await
    }

    async fn tags(
        &self,
        scope: &Scope,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>, Error> {
        tags::list(&mut self.session().await?, scope, cursor, limit).await
    }

    async fn delete_tag(&self, owner: &str, tag: &str) -> Result<(), Error> {
        tags::delete(&mut self.session().await?, owner, tag).await
    }

    async fn move_tag(
        &self,
        owner: &str,
        tag: &str,
        to: TagTarget,
        by: &str,
    ) -> Result<Tag, Error> {
        tags::move_to(&mut self.session().await?, owner, tag, to, by).await
    }

    async fn tag_moves(&self, owner: &str, tag: &str, limit: usize) -> Result<Vec<TagMove>, Error> {
        tags::moves(&mut self.session().await?, owner, tag, limit).await
    }

    async fn artifact(&self, id: &str) -> Result<Artifact, Error> {
        tags::artifact(&mut self.session().await?, id).await
    }

    async fn create_run(&self, run: &NewRun, max_queued: u64) -> Result<CreateOutcome, Error> {
        // Those who come while the server is away do not wait.
        self.pool().is_up().await?;
        let (asker, outcome) = oneshot::channel();
        let request = Request {
            run: run.clone(),
            max_queued,
            asker,
        };
        let closed = || Error::Unavailable("it is being closed".to_owned());
        self.requests.send(request).await.map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    async fn run(&self, run_id: &str) -> Result<RunRecord, Error> {
        let run_ids = [call::text(run_id).into_owned()];
        let found = load::records(&mut self.session().await?, &run_ids).await?;
        found
            .into_iter()
            .next()
            .ok_or_else(|| admission::unknown_run(run_id))
    }

    async fn summary(&self, run_id: &str) -> Result<RunSummary, Error> {
        let found = load::one_summary(&mut self.session().await?, run_id).await?;
        found.ok_or_else(|| admission::unknown_run(run_id))
    }

    async fn runs(&self, filter: &RunFilter) -> Result<RunPage, Error> {
        search::runs(&mut self.session().await?, filter).await
    }

    async fn count(&self, filter: &RunFilter) -> Result<u64, Error> {
        search::count(&mut self.session().await?, filter).await
    }

    async fn send(&self, command: &Command) -> Result<(), Error> {
        let changes = inbox::send(self.pool(), self.own, command).await?;
        self.changed(((), changes));
        Ok(())
    }

    async fn answers(&self, ids: &[String]) -> Result<Vec<(String, CommandAnswer)>, Error> {
        inbox::answers(&mut self.session().await?, ids).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        after: &EventCursor,
        limit: usize,
    ) -> Result<EventPage, Error> {
        events::events(&mut self.session().await?, filter, after, limit).await
    }

    async fn last_event(&self) -> Result<EventCursor, Error> {
        events::last(&mut self.session().await?).await
    }

    async fn approvals(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, Error> {
        approvals::list(&mut self.session().await?, filter).await
    }

    async fn approval(&self, key: &str) -> Result<Approval, Error> {
        approvals::get(&mut self.session().await?, key).await
    }

    async fn decide(&self, key: &str, decision: &Decision) -> Result<DecisionOutcome, Error> {
        let decided = approvals::decide(self.pool(), self.own, key, decision).await?;
        Ok(self.changed(decided))
    }

    async fn changes(
        &self,
        subscriber: &str,
        interests: &[Interest],
        wait: Duration,
    ) -> Result<Changes, Error> {
        self.pool();
        Ok(self.hub.changes(subscriber, interests, wait).await)
    }

    async fn lease_shards(&self, runner: &str, ttl: Duration) -> Result<Vec<ShardLease>, Error> {
        let leased = lease::lease(self.pool(), self.own, runner, ttl).await?;
        Ok(self.changed(leased))
    }

    async fn release_shards(&self, runner: &str) -> Result<(), Error> {
        let changes = lease::release(self.pool(), self.own, runner).await?;
        self.changed(((), changes));
        Ok(())
    }

    async fn running(&self, lease: &ShardLease) -> Result<Vec<StoredRun>, Error> {
        Ok(load::running(&mut self.session().await?, lease.shard).await?)
    }

    async fn take_queued(
        &self,
        leases: &[ShardLease],
        limits: &OwnerLimits,
        max: usize,
    ) -> Result<Vec<StoredRun>, Error> {
        take::take(self.pool(), leases, limits, max, &self.last_served).await
    }

    async fn load(&self, run_ids: &[String]) -> Result<Vec<StoredRun>, Error> {
        Ok(load::records(&mut self.session().await?, run_ids).await?)
    }

    async fn inbox(&self, leases: &[ShardLease], max: usize) -> Result<Vec<InboxItem>, Error> {
        inbox::waiting(&mut self.session().await?, lease::shards(leases), max).await
    }

    async fn due_timers(
        &self,
        leases: &[ShardLease],
        now: u64,
        max: usize,
    ) -> Result<(Vec<TimerRow>, Option<u64>), Error> {
        inbox::due_timers(&mut self.session().await?, lease::shards(leases), now, max).await
    }

    async fn outbox(&self, lease: &ShardLease) -> Result<Vec<OutboxEntry>, Error> {
        Ok(inbox::outbox(&mut self.session().await?, lease.shard).await?)
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitOutcome>, Error> {
        let stored = commit::commit(self.pool(), self.own, commits).await?;
        Ok(self.changed(stored))
    }

    async fn due_approvals(
        &self,
        leases: &[ShardLease],
        now: u64,
        max: usize,
    ) -> Result<Vec<Approval>, Error> {
        approvals::due(&mut self.session().await?, lease::shards(leases), now, max).await
    }

    async fn escalate(
        &self,
        key: &str,
        escalated: u32,
        options: &serde_json::Value,
    ) -> Result<(), Error> {
        approvals::escalate(&mut self.session().await?, key, escalated, options).await
    }

    async fn sweep(&self, now: u64) -> Result<usize, Error> {
        sweep::sweep(self.pool(), now).await
    }
}
