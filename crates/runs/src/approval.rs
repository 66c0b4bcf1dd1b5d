//! Approvals: questions to people, and what they decide.

use serde_json::Value;

/// A question that is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct NewApproval {
    /// The key of the `workflow::ApprovalRequest`; the approval's id.
    pub key: String,
    /// The run.
    pub run_id: String,
    /// The node, if it is about one.
    pub node_id: Option<String>,
    /// What is asked.
    pub message: String,
    /// Who may decide, and how: the request's options. `next_at` is when it needs attention, Unix milliseconds.
    pub options: Value,
    /// What people should see.
    pub context: Value,
    /// When the time is over, Unix milliseconds.
    pub due_at: Option<u64>,
}

/// What an approval is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApprovalState {
    /// It waits.
    Pending,
    /// Decided.
    Approved,
    /// Decided.
    Rejected,
    /// Its time was over, or its run ended.
    Closed,
}

/// What one person said.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Yes or no.
    pub approved: bool,
    /// Who.
    pub by: String,
    /// Why.
    pub comment: String,
    /// What the form asks for.
    pub data: Value,
    /// Unix milliseconds.
    pub at: u64,
}

/// A question with its decisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Approval {
    /// The question.
    pub asked: NewApproval,
    /// Whose run it is.
    pub owner: String,
    /// The tag of the run.
    pub tag: Option<String>,
    /// What it is now.
    pub state: ApprovalState,
    /// What was said, in order.
    pub decisions: Vec<Decision>,
    /// How many steps of escalation have been taken.
    pub escalated: u32,
    /// Unix milliseconds.
    pub created_at: u64,
}

/// Which approvals are listed. Oldest first.
#[derive(Debug, Clone, Default)]
pub struct ApprovalFilter {
    /// Those of one run.
    pub run_id: Option<String>,
    /// Those that this user may decide.
    pub approver: Option<String>,
    /// Only those that wait.
    pub pending: bool,
    /// The key of the last approval of the page before.
    pub cursor: Option<String>,
    /// How many, at most 1,000.
    pub limit: usize,
}

/// What a decision did.
#[derive(Debug, Clone, PartialEq)]
pub enum DecisionOutcome {
    /// It completed the quorum: the command to the run's owner is stored with it.
    Complete(Approval),
    /// It counts, and more are needed.
    Counted(Approval),
    /// The same person said the same before.
    Repeated(Approval),
    /// It comes too late, or the person said the opposite before: 409.
    Refused(Approval),
}
