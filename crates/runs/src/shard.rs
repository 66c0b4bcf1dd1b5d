//! Shards: how runners share the runs.

use crate::{Command, CommandAnswer, NewApproval, NewRun};

/// How many shards there are. A run's is made from its id, and never changes.
pub const SHARDS: u16 = 64;

/// The shard of a run.
#[must_use]
pub fn shard_of(run_id: &str) -> u16 {
    // FNV-1a: the same in every version of every program.
    let hash = run_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    u16::try_from((hash ^ (hash >> 32)) % u64::from(SHARDS)).unwrap_or(0)
}

/// A runner's time-limited right to change the runs of a shard. Each new owner gets a higher epoch; a commit
/// with an older one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardLease {
    /// The shard.
    pub shard: u16,
    /// Which ownership.
    pub epoch: u64,
    /// The number of the last event of the shard.
    pub last_seq: u64,
}

/// A timer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimerRow {
    /// The run.
    pub run_id: String,
    /// The key of the `workflow::Effect::SetTimer`.
    pub key: String,
    /// Unix milliseconds.
    pub due_at: u64,
}

/// An effect that was stored and may not have been carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The run.
    pub run_id: String,
    /// Its number, unique in its shard.
    pub number: u64,
    /// The `workflow::Effect`, JSON.
    pub effect: Vec<u8>,
}

/// Something that waits for the owner of a shard.
#[derive(Debug, Clone, PartialEq)]
pub struct InboxItem {
    /// Its number, growing within the shard.
    pub number: u64,
    /// What is wanted.
    pub command: Command,
}

/// What happened to one run in a commit. What it sets and opens is done before what it clears and closes.
#[derive(Debug, Clone, Default)]
pub struct RunChange {
    /// The run.
    pub run_id: String,
    /// `workflow::RunStatus`, its word.
    pub status: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Unix milliseconds, once it has started.
    pub started_at: Option<u64>,
    /// Unix milliseconds, once it has ended; `None` puts it back among the running, after a retry.
    pub ended_at: Option<u64>,
    /// Nodes that run or wait now.
    pub active_nodes: Vec<String>,
    /// Nothing of it is in the queue: it waits for timers, people, signals or children alone.
    pub idle: bool,
    /// The header.
    pub header: Vec<u8>,
    /// Node records that are new or changed.
    pub nodes: Vec<(String, Vec<u8>)>,
    /// The events with their numbers in the shard: `workflow::Event`, JSON.
    pub events: Vec<(u64, Vec<u8>)>,
    /// Outputs that are kept as blobs: `sha256:…` and the content.
    pub blobs: Vec<(String, Vec<u8>)>,
    /// Timers that are set.
    pub timers_set: Vec<(String, u64)>,
    /// Timers that fired, or are not needed any more.
    pub timers_cleared: Vec<String>,
    /// Approvals that are opened.
    pub approvals_opened: Vec<NewApproval>,
    /// Approvals that are not needed any more.
    pub approvals_closed: Vec<String>,
    /// Child runs that are created.
    pub children: Vec<NewRun>,
    /// Commands to other runs: of a child to its parent, or the other way.
    pub commands: Vec<Command>,
    /// Items of the inbox that were worked on, with the answers.
    pub answered: Vec<(u64, String, CommandAnswer)>,
    /// Effects that are still to be carried out: jobs to submit or call off.
    pub outbox: Vec<OutboxEntry>,
}

/// What happened to runs of one shard, to be stored as a whole. It may be sent again when it is unknown
/// whether it was stored: the numbers of its events tell. Others than the next ones are a conflict.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The shard.
    pub shard: u16,
    /// The epoch of the lease.
    pub epoch: u64,
    /// The runs, each at most once.
    pub runs: Vec<RunChange>,
    /// Numbers of effects that have been carried out.
    pub outbox_done: Vec<u64>,
}

/// What became of a [`Commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitOutcome {
    /// It is stored.
    Stored,
    /// The shard has another owner now: nothing of it was stored.
    Fenced,
}

/// How much of each owner may be under way.
#[derive(Debug, Clone, Default)]
pub struct OwnerLimits {
    /// Runs that have started and not ended, those that wait for people or timers too; 0: any number.
    pub max_running_runs: u32,
    /// Owners who have enough under way here: all of their queued runs are left, child runs too.
    pub left_out: Vec<String>,
}

/// What a subscriber wants to hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// New runs and commands of these shards, as a set of bits.
    Inbox(u64),
    /// New events of any shard.
    Events,
    /// Answers to commands.
    Answers,
}

/// What has changed since a subscriber heard last. It may be too much, never too little.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Shards with new runs or commands.
    pub inbox: u64,
    /// Those of them with new runs.
    pub queued: u64,
    /// Those of them with new commands.
    pub commands: u64,
    /// Shards with new events.
    pub events: u64,
    /// Whether there are new answers.
    pub answers: bool,
}
