//! What a store of runs has to do.

use std::{fmt, time::Duration};

use crate::{
    Approval, ApprovalFilter, Artifact, Changes, Command, CommandAnswer, Commit, CommitOutcome,
    CreateOutcome, Decision, DecisionOutcome, Error, EventCursor, EventFilter, EventPage,
    InboxItem, Interest, NewRun, NewVersion, OutboxEntry, OwnerLimits, RunFilter, RunPage,
    RunRecord, RunSummary, Scope, ShardLease, StoredRun, Tag, TagMove, TimerRow, Version,
};

/// Runs are counted up to here.
pub const MAX_COUNT: u64 = 10_000;

/// A place where workflows and runs are kept. Every method is one transaction.
///
/// # Errors
/// Every method: [`Error::Unavailable`] at once when the store does not answer; [`Error::Damaged`] when it
/// holds something of another form.
#[async_trait::async_trait]
pub trait RunStore: fmt::Debug + Send + Sync + 'static {
    /// What to call it in messages, without credentials.
    fn name(&self) -> String;

    /// Whether other processes can open it too.
    fn is_shared(&self) -> bool;

    /// Checks that reading and writing work, by doing both.
    async fn check(&self) -> Result<(), Error>;

    // Content

    /// Stores content once; answers `sha256:…`.
    async fn put_blob(&self, content: &[u8]) -> Result<String, Error>;

    /// Content by its name, checked against it. [`Error::NotFound`].
    async fn blobs(&self, ids: &[String]) -> Result<Vec<Vec<u8>>, Error>;

    // Workflows

    /// Stores a version as the next one of a tag, and moves the tag to it.
    async fn put_version(
        &self,
        owner: &str,
        tag: &str,
        version: &NewVersion,
    ) -> Result<Version, Error>;

    /// A version of a tag, the one that it names where `seq` is `None`, with those that it is built on, base
    /// first. [`Error::NotFound`].
    async fn versions(
        &self,
        owner: &str,
        tag: &str,
        seq: Option<u64>,
    ) -> Result<(Tag, Vec<Version>), Error>;

    /// What a tag names. [`Error::NotFound`].
    async fn tag(&self, owner: &str, tag: &str) -> Result<Tag, Error> {
        Ok(self.versions(owner, tag, None).await?.0)
    }

    /// Tags by name, a page after `cursor`: the [`Tag::cursor`] of the last one before.
    async fn tags(
        &self,
        scope: &Scope,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Tag>, Error>;

    /// Removes a tag; its versions stay for the runs that used them. [`Error::NotFound`].
    async fn delete_tag(&self, owner: &str, tag: &str) -> Result<(), Error>;

    /// Lets a tag name another of its versions, or what it named before (`undo`) and after (`redo`).
    async fn move_tag(&self, owner: &str, tag: &str, to: TagTarget, by: &str)
    -> Result<Tag, Error>;

    /// The moves of a tag, latest first.
    async fn tag_moves(&self, owner: &str, tag: &str, limit: usize) -> Result<Vec<TagMove>, Error>;

    /// An artifact by its id. [`Error::NotFound`].
    async fn artifact(&self, id: &str) -> Result<Artifact, Error>;

    // Runs, as doors use them

    /// Creates a run. [`Error::Conflict`] when its idempotency key stands for another request; [`Error::Full`]
    /// when `max_queued` runs wait already (0: any number).
    async fn create_run(&self, run: &NewRun, max_queued: u64) -> Result<CreateOutcome, Error>;

    /// A run with all that is kept of it. [`Error::NotFound`].
    async fn run(&self, run_id: &str) -> Result<RunRecord, Error>;

    /// A run as lists show it. [`Error::NotFound`].
    async fn summary(&self, run_id: &str) -> Result<RunSummary, Error> {
        Ok(self.run(run_id).await?.summary)
    }

    /// Runs, latest first.
    async fn runs(&self, filter: &RunFilter) -> Result<RunPage, Error>;

    /// How many runs fit, whatever the page and its part of a text are; at most [`MAX_COUNT`].
    async fn count(&self, filter: &RunFilter) -> Result<u64, Error>;

    /// Sends a command to the owner of a run. [`Error::NotFound`] for an unknown run.
    async fn send(&self, command: &Command) -> Result<(), Error>;

    /// The answers to commands that have one.
    async fn answers(&self, ids: &[String]) -> Result<Vec<(String, CommandAnswer)>, Error>;

    /// Events after a cursor, those of a shard in order.
    async fn events(
        &self,
        filter: &EventFilter,
        after: &EventCursor,
        limit: usize,
    ) -> Result<EventPage, Error>;

    /// A cursor after everything that has happened.
    async fn last_event(&self) -> Result<EventCursor, Error>;

    /// Approvals, oldest first.
    async fn approvals(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, Error>;

    /// One approval. [`Error::NotFound`].
    async fn approval(&self, key: &str) -> Result<Approval, Error>;

    /// Takes a decision. The one that completes the quorum also stores a command `decided` to the run's owner.
    /// A rejection completes at once, and so does a decision by nobody (empty `by`): the time was over. Who may
    /// decide, the caller has checked.
    async fn decide(&self, key: &str, decision: &Decision) -> Result<DecisionOutcome, Error>;

    /// Returns when something of interest may have changed since the last call with this `subscriber`, or after
    /// `wait`. A new subscriber hears of what changes from its first call on. Can be dropped at any time.
    async fn changes(
        &self,
        subscriber: &str,
        interests: &[Interest],
        wait: Duration,
    ) -> Result<Changes, Error>;

    // Runs, as their runner uses them

    /// Renews the leases of a runner, and takes free or expired shards until it has its share: all shards by the
    /// runners that are alive. Answers what it owns now. A runner that has too many gives the rest up.
    async fn lease_shards(&self, runner: &str, ttl: Duration) -> Result<Vec<ShardLease>, Error>;

    /// Gives all shards of a runner up, so that others have them at once.
    async fn release_shards(&self, runner: &str) -> Result<(), Error>;

    /// Runs of an owned shard that have begun and need a runner's memory: those that are `RUNNING` and not idle.
    async fn running(&self, lease: &ShardLease) -> Result<Vec<StoredRun>, Error>;

    /// Marks queued runs of owned shards as started, and gives them: priority first, owners in turn. Of child
    /// runs any number may be under way, since their parents wait for them.
    async fn take_queued(
        &self,
        leases: &[ShardLease],
        limits: &OwnerLimits,
        max: usize,
    ) -> Result<Vec<StoredRun>, Error>;

    /// Runs by their ids, for a command, a timer or a job that ended.
    async fn load(&self, run_ids: &[String]) -> Result<Vec<StoredRun>, Error>;

    /// Commands of owned shards that are not answered yet, in order.
    async fn inbox(&self, leases: &[ShardLease], max: usize) -> Result<Vec<InboxItem>, Error>;

    /// Timers of owned shards that are due, and when the next one is.
    async fn due_timers(
        &self,
        leases: &[ShardLease],
        now: u64,
        max: usize,
    ) -> Result<(Vec<TimerRow>, Option<u64>), Error>;

    /// Effects of an owned shard that were stored and not noted as carried out.
    async fn outbox(&self, lease: &ShardLease) -> Result<Vec<OutboxEntry>, Error>;

    /// Stores what happened, each commit as a whole, all in one transaction.
    async fn commit(&self, commits: &[Commit]) -> Result<Vec<CommitOutcome>, Error>;

    /// Approvals of owned shards that wait and need attention by now: `next_at` of their options says when.
    async fn due_approvals(
        &self,
        leases: &[ShardLease],
        now: u64,
        max: usize,
    ) -> Result<Vec<Approval>, Error>;

    /// Notes that a step of escalation was taken, and which options hold now, `next_at` among them.
    async fn escalate(
        &self,
        key: &str,
        escalated: u32,
        options: &serde_json::Value,
    ) -> Result<(), Error>;

    /// Deletes runs that ended and are not to be kept, their events, and blobs that nobody names. Makes
    /// partitions ahead. Returns how many runs it deleted.
    async fn sweep(&self, now: u64) -> Result<usize, Error>;
}

/// Where a tag goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagTarget {
    /// To a version.
    Version(u64),
    /// To what it named before.
    Undo,
    /// To what it named before the last undo.
    Redo,
}
