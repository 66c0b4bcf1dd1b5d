//! Runs on one machine's disk, for one process: SQLite.
//!
//! One thread writes. It puts all that waits into one transaction, so that those who write at a time share a
//! sync. Readers have connections of their own, and see the state before or after a transaction.

mod approvals;
mod blobs;
mod commit;
mod create;
mod database;
mod events;
mod inbox;
mod lease;
mod load;
mod search;
mod sweep;
mod tags;
mod take;
mod writer;

use std::{path::Path, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rusqlite::Connection;

use self::{
    database::Database,
    take::LastServed,
    writer::{Urgency, Writer},
};
use super::{StoreOptions, admission};
use crate::{
    Approval, ApprovalFilter, Artifact, Changes, Command, CommandAnswer, Commit, CommitOutcome,
    CreateOutcome, Decision, DecisionOutcome, Error, EventCursor, EventFilter, EventPage,
    InboxItem, Interest, NewRun, NewVersion, OutboxEntry, OwnerLimits, RunFilter, RunPage,
    RunRecord, RunStore, RunSummary, Scope, ShardLease, StoredRun, Tag, TagMove, TagTarget,
    TimerRow, Version, hub::Hub, share,
};

/// A folder with a database, open in this process alone.
#[derive(Debug)]
pub(crate) struct Sqlite {
    name: String,
    writer: Writer,
    readers: Database,
    hub: Arc<Hub>,
    last_served: Arc<Mutex<LastServed>>,
}

impl Sqlite {
    /// Opens a folder, and makes what is missing.
    pub(crate) fn open(folder: &Path, options: &StoreOptions) -> Result<Self, Error> {
        let hub = Arc::new(Hub::default());
        let (readers, connection, lock) = Database::open(folder, options)?;
        lease::forget_runners(&connection)?;
        Ok(Self {
            name: format!("file://{}", folder.display()),
            writer: Writer::start(connection, lock, hub.clone())?,
            readers,
            hub,
            last_served: Arc::default(),
        })
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Changes) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.write(Urgency::Synced, work).await
    }

    /// Writes what may be lost by a power cut, as a mark that is only made again.
    async fn write_lazily<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, &mut Changes) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.writer.write(Urgency::Lazy, work).await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.readers.read(work).await
    }
}

#[async_trait::async_trait]
impl RunStore for Sqlite {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), Error> {
        self.write(|db, _| database::check(db)).await?;
        self.read(tags::count_all).await
    }

    async fn put_blob(&self, content: &[u8]) -> Result<String, Error> {
        let id = crate::content_id(content);
        let (name, content) = (id.clone(), content.to_vec());
        self.write(move |db, _| blobs::put(db, &name, &content))
            .await?;
        Ok(id)
    }

    async fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        let ids = ids.to_vec();
        self.read(move |db| ids.iter().map(|id| blobs::get(db, id)).collect())
            .await
    }

    async fn put_version(
        &self,
        owner: &str,
        tag: &str,
        version: &NewVersion,
    ) -> Result<Version, Error> {
        let (owner, tag, version) = (owner.to_owned(), tag.to_owned(), version.clone());
        self.write(move |db, _| tags::put_version(db, &owner, &tag, &version))
            .await
    }

    async fn versions(
        &self,
        owner: &str,
        tag: &str,
        seq: Option<u64>,
    ) -> Result<(Tag, Vec<Version>), Error> {
        let (owner, tag) = (owner.to_owned(), tag.to_owned());
        self.read(move |db| tags::versions(db, &owner, &tag, seq))
            .await
    }

    async fn tag(&self, owner: &str, tag: &str) -> Result<Tag, Error> {
        let (owner, tag) = (owner.to_owned(), tag.to_owned());
        self.read(move |db| Ok(tags::get(db, &owner, &tag)?.0))
            .await
    }

    async fn tags(
        &self,
        scope: &Scope,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>, Error> {
        let (scope, cursor) = (scope.clone(), cursor.map(ToOwned::to_owned));
        self.read(move |db| tags::list(db, &scope, cursor.as_deref(), limit))
            .await
    }

    async fn delete_tag(&self, owner: &str, tag: &str) -> Result<(), Error> {
        let (owner, tag) = (owner.to_owned(), tag.to_owned());
        self.write(move |db, _| tags::delete(db, &owner, &tag))
            .await
    }

    async fn move_tag(
        &self,
        owner: &str,
        tag: &str,
        to: TagTarget,
        by: &str,
    ) -> Result<Tag, Error> {
        let (owner, tag, by) = (owner.to_owned(), tag.to_owned(), by.to_owned());
        self.write(move |db, _| tags::move_to(db, &owner, &tag, to, &by))
            .await
    }

    async fn tag_moves(&self, owner: &str, tag: &str, limit: usize) -> Result<Vec<TagMove>, Error> {
        let (owner, tag) = (owner.to_owned(), tag.to_owned());
        self.read(move |db| tags::moves(db, &owner, &tag, limit))
            .await
    }

    async fn artifact(&self, id: &str) -> Result<Artifact, Error> {
        let id = id.to_owned();
        self.read(move |db| tags::artifact(db, &id)).await
    }

    async fn create_run(&self, run: &NewRun, max_queued: u64) -> Result<CreateOutcome, Error> {
        let run = run.clone();
        self.write(move |db, changes| create::create(db, &run, max_queued, changes))
            .await
    }

    async fn run(&self, run_id: &str) -> Result<RunRecord, Error> {
        let run_id = run_id.to_owned();
        self.read(move |db| {
            load::record(db, &run_id)?.ok_or_else(|| admission::unknown_run(&run_id))
        })
        .await
    }

    async fn summary(&self, run_id: &str) -> Result<RunSummary, Error> {
        let run_id = run_id.to_owned();
        self.read(move |db| {
            load::one_summary(db, &run_id)?.ok_or_else(|| admission::unknown_run(&run_id))
        })
        .await
    }

    async fn runs(&self, filter: &RunFilter) -> Result<RunPage, Error> {
        let filter = filter.clone();
        self.read(move |db| search::runs(db, &filter)).await
    }

    async fn count(&self, filter: &RunFilter) -> Result<u64, Error> {
        let filter = filter.clone();
        self.read(move |db| search::count(db, &filter)).await
    }

    async fn send(&self, command: &Command) -> Result<(), Error> {
        let command = command.clone();
        self.write(move |db, changes| inbox::send(db, &command, changes))
            .await
    }

    async fn answers(&self, ids: &[String]) -> Result<Vec<(String, CommandAnswer)>, Error> {
        let ids = ids.to_vec();
        self.read(move |db| inbox::answers(db, &ids)).await
    }

    async fn events(
        &self,
        filter: &EventFilter,
        after: &EventCursor,
        limit: usize,
    ) -> Result<EventPage, Error> {
        let (filter, after) = (filter.clone(), after.clone());
        self.read(move |db| events::events(db, &filter, &after, limit))
            .await
    }

    async fn last_event(&self) -> Result<EventCursor, Error> {
        self.read(events::last).await
    }

    async fn approvals(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, Error> {
        let filter = filter.clone();
        self.read(move |db| approvals::list(db, &filter)).await
    }

    async fn approval(&self, key: &str) -> Result<Approval, Error> {
        let key = key.to_owned();
        self.read(move |db| approvals::get(db, &key)).await
    }

    async fn decide(&self, key: &str, decision: &Decision) -> Result<DecisionOutcome, Error> {
        let (key, decision) = (key.to_owned(), decision.clone());
        self.write(move |db, changes| approvals::decide(db, &key, &decision, changes))
            .await
    }

    async fn changes(
        &self,
        subscriber: &str,
        interests: &[Interest],
        wait: Duration,
    ) -> Result<Changes, Error> {
        Ok(self.hub.changes(subscriber, interests, wait).await)
    }

    async fn lease_shards(&self, runner: &str, ttl: Duration) -> Result<Vec<ShardLease>, Error> {
        let runner = runner.to_owned();
        self.write_lazily(move |db, changes| lease::lease(db, &runner, ttl, share::share, changes))
            .await
    }

    async fn release_shards(&self, runner: &str) -> Result<(), Error> {
        let runner = runner.to_owned();
        self.write(move |db, changes| lease::release(db, &runner, changes))
            .await
    }

    async fn running(&self, lease: &ShardLease) -> Result<Vec<StoredRun>, Error> {
        let shard = lease.shard;
        self.read(move |db| load::running(db, shard)).await
    }

    async fn take_queued(
        &self,
        leases: &[ShardLease],
        limits: &OwnerLimits,
        max: usize,
    ) -> Result<Vec<StoredRun>, Error> {
        let (leases, limits, served) = (leases.to_vec(), limits.clone(), self.last_served.clone());
        self.write_lazily(move |db, _| take::take(db, &leases, &limits, max, &mut served.lock()))
            .await
    }

    async fn load(&self, run_ids: &[String]) -> Result<Vec<StoredRun>, Error> {
        let run_ids = run_ids.to_vec();
        self.read(move |db| load::records(db, &run_ids)).await
    }

    async fn inbox(&self, leases: &[ShardLease], max: usize) -> Result<Vec<InboxItem>, Error> {
        let shards = lease::bits(leases);
        self.read(move |db| inbox::waiting(db, shards, max)).await
    }

    async fn due_timers(
        &self,
        leases: &[ShardLease],
        now: u64,
        max: usize,
    ) -> Result<(Vec<TimerRow>, Option<u64>), Error> {
        let shards = lease::bits(leases);
        self.read(move |db| inbox::due_timers(db, shards, now, max))
            .await
    }

    async fn outbox(&self, lease: &ShardLease) -> Result<Vec<OutboxEntry>, Error> {
        let shard = lease.shard;
        self.read(move |db| inbox::outbox(db, shard)).await
    }

    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitOutcome>, Error> {
        let commits = commits.to_vec();
        self.write(move |db, changes| commit::commit(db, &commits, changes))
            .await
    }

    async fn due_approvals(
        &self,
        leases: &[ShardLease],
        now: u64,
        max: usize,
    ) -> Result<Vec<Approval>, Error> {
        let shards = lease::bits(leases);
        self.read(move |db| approvals::due(db, shards, now, max))
            .await
    }

    async fn escalate(
        &self,
        key: &str,
        escalated: u32,
        options: &serde_json::Value,
    ) -> Result<(), Error> {
        let (key, options) = (key.to_owned(), options.clone());
        self.write(move |db, _| approvals::escalate(db, &key, escalated, options))
            .await
    }

    async fn sweep(&self, now: u64) -> Result<usize, Error> {
        sweep::sweep(self, now).await
    }
}
