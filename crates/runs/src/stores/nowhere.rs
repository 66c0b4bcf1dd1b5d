//! No store: every answer says so.

use std::time::Duration;

use crate::{
    Approval, ApprovalFilter, Artifact, Changes, Command, CommandAnswer, Commit, CommitOutcome,
    CreateOutcome, Decision, DecisionOutcome, Error, EventCursor, EventFilter, EventPage,
    InboxItem, Interest, NewRun, NewVersion, OutboxEntry, OwnerLimits, RunFilter, RunPage,
    RunRecord, RunStore, Scope, ShardLease, StoredRun, Tag, TagMove, TagTarget, TimerRow, Version,
};

/// Stands for the store where none is configured.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

fn none<T>() -> Result<T, Error> {
    Err(Error::Unavailable(
        "none is configured, set DATABASE_URL or WORKFLOWS_PATH".to_owned(),
    ))
}

#[async_trait::async_trait]
impl RunStore for Nowhere {
    fn name(&self) -> String {
        "none".to_owned()
    }

    fn is_shared(&self) -> bool {
        false
    }

    async fn check(&self) -> Result<(), Error> {
        none()
    }

    async fn put_blob(&self, _: &[u8]) -> Result<String, Error> {
        none()
    }

    async fn blobs(&self, _: &[String]) -> Result<Vec<Vec<u8>>, Error> {
        none()
    }

    async fn put_version(&self, _: &str, _: &str, _: &NewVersion) -> Result<Version, Error> {
        none()
    }

    async fn versions(
        &self,
        _: &str,
        _: &str,
        _: Option<u64>,
    ) -> Result<(Tag, Vec<Version>), Error> {
        none()
    }

    async fn tags(&self, _: &Scope, _: Option<&str>, _: usize) -> Result<Vec<Tag>, Error> {
        none()
    }

    async fn delete_tag(&self, _: &str, _: &str) -> Result<(), Error> {
        none()
    }

    async fn move_tag(&self, _: &str, _: &str, _: TagTarget, _: &str) -> Result<Tag, Error> {
        none()
    }

    async fn tag_moves(&self, _: &str, _: &str, _: usize) -> Result<Vec<TagMove>, Error> {
        none()
    }

    async fn artifact(&self, _: &str) -> Result<Artifact, Error> {
        none()
    }

    async fn create_run(&self, _: &NewRun, _: u64) -> Result<CreateOutcome, Error> {
        none()
    }

    async fn run(&self, _: &str) -> Result<RunRecord, Error> {
        none()
    }

    async fn runs(&self, _: &RunFilter) -> Result<RunPage, Error> {
        none()
    }

    async fn count(&self, _: &RunFilter) -> Result<u64, Error> {
        none()
    }

    async fn send(&self, _: &Command) -> Result<(), Error> {
        none()
    }

    async fn answers(&self, _: &[String]) -> Result<Vec<(String, CommandAnswer)>, Error> {
        none()
    }

    async fn events(&self, _: &EventFilter, _: &EventCursor, _: usize) -> Result<EventPage, Error> {
        none()
    }

    async fn last_event(&self) -> Result<EventCursor, Error> {
        none()
    }

    async fn approvals(&self, _: &ApprovalFilter) -> Result<Vec<Approval>, Error> {
        none()
    }

    async fn approval(&self, _: &str) -> Result<Approval, Error> {
        none()
    }

    async fn decide(&self, _: &str, _: &Decision) -> Result<DecisionOutcome, Error> {
        none()
    }

    async fn changes(&self, _: &str, _: &[Interest], wait: Duration) -> Result<Changes, Error> {
        tokio::time::sleep(wait).await;
        none()
    }

    async fn lease_shards(&self, _: &str, _: Duration) -> Result<Vec<ShardLease>, Error> {
        none()
    }

    async fn release_shards(&self, _: &str) -> Result<(), Error> {
        none()
    }

    async fn running(&self, _: &ShardLease) -> Result<Vec<StoredRun>, Error> {
        none()
    }

    async fn take_queued(
        &self,
        _: &[ShardLease],
        _: &OwnerLimits,
        _: usize,
    ) -> Result<Vec<StoredRun>, Error> {
        none()
    }

    async fn load(&self, _: &[String]) -> Result<Vec<StoredRun>, Error> {
        none()
    }

    async fn inbox(&self, _: &[ShardLease], _: usize) -> Result<Vec<InboxItem>, Error> {
        none()
    }

    async fn due_timers(
        &self,
        _: &[ShardLease],
        _: u64,
        _: usize,
    ) -> Result<(Vec<TimerRow>, Option<u64>), Error> {
        none()
    }

    async fn outbox(&self, _: &ShardLease) -> Result<Vec<OutboxEntry>, Error> {
        none()
    }

    async fn commit(&self, _: &[Commit]) -> Result<Vec<CommitOutcome>, Error> {
        none()
    }

    async fn due_approvals(
        &self,
        _: &[ShardLease],
        _: u64,
        _: usize,
    ) -> Result<Vec<Approval>, Error> {
        none()
    }

    async fn escalate(&self, _: &str, _: u32, _: &serde_json::Value) -> Result<(), Error> {
        none()
    }

    async fn sweep(&self, _: u64) -> Result<usize, Error> {
        none()
    }
}
