//! The workflow runner's metrics.

use telemetry::{Counter, Gauge, Histogram};
use workflow::{EventKind, RunStatus};

/// Upper bounds in seconds: runs take from a millisecond to weeks.
const RUN_BUCKETS: [f64; 12] = [
    0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3_600.0, 86_400.0, 604_800.0,
];
/// Upper bounds in seconds of one transaction.
const COMMIT_BUCKETS: [f64; 10] = [
    0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0,
];
/// Upper bounds in runs.
const SIZE_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

telemetry::metrics! {
    /// What a workflow runner counts; labels are closed sets of words.
    pub(crate) struct Metrics {
        submitted: Counter = "mesh_workflow_submitted": "Runs that were begun here";
        completed: Counter = "mesh_workflow_completed": "Runs that ended well here";
        failed: Counter = "mesh_workflow_failed": "Runs that failed here";
        cancelled: Counter = "mesh_workflow_cancelled": "Runs that were called off here";
        patches: Counter ["result"] = "mesh_workflow_patches":
            "Patches of runs by what became of them: proposed, applied or refused";
        approvals: Counter ["event"] = "mesh_workflow_approvals":
            "Approvals by what happened: asked, decided, reminded, escalated or expired";
        nodes: Counter ["event"] = "mesh_workflow_nodes":
            "Nodes by what happened: started, completed, failed, retrying, skipped or cancelled";
        duration: Histogram = "mesh_workflow_run_duration_seconds":
            "Time from the begin of a run to its end, waiting included", || Histogram::new(RUN_BUCKETS);
        commit: Histogram = "mesh_workflow_commit_duration_seconds":
            "Duration of one transaction of many runs", || Histogram::new(COMMIT_BUCKETS);
        commit_runs: Histogram = "mesh_workflow_commit_runs":
            "Runs in one transaction", || Histogram::new(SIZE_BUCKETS);
        in_memory: Gauge = "mesh_workflow_runs_in_memory": "Runs in the memory of this runner";
        in_flight: Gauge = "mesh_workflow_nodes_in_flight": "Nodes of its runs that are jobs now";
        held: Gauge = "mesh_workflow_nodes_held":
            "Nodes that wait because their owner has max_nodes_in_flight in flight";
        shards: Gauge = "mesh_workflow_shards": "Shards of runs that this runner owns, of 64";
        lost: Counter ["why"] = "mesh_workflow_shards_lost":
            "Shards that this runner lost: expired or fenced";
        refused: Counter = "mesh_workflow_commits_refused":
            "Late commits of shards that have another owner by now: nothing of them was stored";
        resubmitted: Counter = "mesh_workflow_resubmitted":
            "Jobs of nodes that the queue did not know any more";
    }
}

impl Metrics {
    /// Counts an event of a run.
    pub(crate) fn event(&self, kind: EventKind) {
        let node = |event: &str| self.nodes.of([event]).inc();
        match kind {
            EventKind::WorkflowStarted => self.submitted.inc(),
            EventKind::NodeStarted => node("started"),
            EventKind::NodeCompleted => node("completed"),
            EventKind::NodeFailed => node("failed"),
            EventKind::NodeRetrying => node("retrying"),
            EventKind::NodeSkipped => node("skipped"),
            EventKind::NodeCancelled => node("cancelled"),
            EventKind::ApprovalRequired => self.approvals.of(["asked"]).inc(),
            EventKind::ApprovalDecided => self.approvals.of(["decided"]).inc(),
            EventKind::PatchProposed => self.patches.of(["proposed"]).inc(),
            EventKind::PatchApplied => self.patches.of(["applied"]).inc(),
            EventKind::PatchRefused => self.patches.of(["refused"]).inc(),
            EventKind::WorkflowCompleted
            | EventKind::WorkflowFailed
            | EventKind::WorkflowCancelled
            | EventKind::WorkflowPaused
            | EventKind::WorkflowResumed
            | EventKind::WorkflowRetried
            | EventKind::TimerSet
            | EventKind::TimerFired
            | EventKind::SignalReceived
            | EventKind::ChildStarted
            | EventKind::ChildEnded
            | EventKind::Compensating => {}
        }
    }

    /// Counts what the clock does to an approval.
    pub(crate) fn approval(&self, event: &str) {
        self.approvals.of([event]).inc();
    }

    /// Notes how many nodes more (or less) are jobs now.
    pub(crate) fn in_flight(&self, more: i64) {
        self.in_flight.inc_by(more);
    }

    /// Notes how many nodes more (or less) wait for others of their owner.
    pub(crate) fn held(&self, more: i64) {
        self.held.inc_by(more);
    }

    /// Counts a transaction.
    pub(crate) fn committed(&self, runs: usize, seconds: f64) {
        self.commit.observe(seconds);
        self.commit_runs.observe(runs as f64);
    }

    /// Counts a shard that was lost.
    pub(crate) fn lost(&self, why: &str) {
        self.lost.of([why]).inc();
    }

    /// Counts a late commit of a shard.
    pub(crate) fn refused(&self) {
        self.refused.inc();
    }

    /// Counts a job that the queue has lost.
    pub(crate) fn resubmitted(&self) {
        self.resubmitted.inc();
    }

    /// Notes what there is.
    pub(crate) fn owned(&self, shards: usize, runs: usize) {
        self.shards.set(i64::try_from(shards).unwrap_or(i64::MAX));
        self.in_memory.set(i64::try_from(runs).unwrap_or(i64::MAX));
    }

    /// Counts the end of a run.
    pub(crate) fn ended(&self, status: RunStatus, seconds: f64) {
        match status {
            RunStatus::Completed => self.completed.inc(),
            RunStatus::Failed => self.failed.inc(),
            RunStatus::Cancelled => self.cancelled.inc(),
            RunStatus::Queued | RunStatus::Running | RunStatus::WaitingForApproval => return,
        }
        self.duration.observe(seconds);
    }
}
