//! What happens to a run.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// With what a run starts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Start {
    /// Its id.
    pub run_id: String,
    /// Whose it is.
    pub owner: String,
    /// The tag that it was started by, if any.
    pub tag: Option<String>,
    /// What the caller gave.
    pub inputs: Value,
    /// 1 to 5; 5 is the highest.
    pub priority: u8,
    /// Trace context: `traceparent`, and `tracestate` if there is one.
    pub trace: std::collections::BTreeMap<String, String>,
    /// The run that it is a child of, and the key that this knows it by.
    pub parent: Option<(String, String)>,
}

/// What a node answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// The answer itself.
    pub value: Arc<Value>,
    /// `sha256:…` of its text, where it is kept as a blob.
    pub blob: Option<String>,
}

impl Output {
    /// An output that is no blob.
    #[must_use]
    pub fn inline(value: Value) -> Self {
        Self {
            value: Arc::new(value),
            blob: None,
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For people.
    pub message: String,
    /// Whether another attempt may help.
    pub retryable: bool,
}

/// A change that somebody wants of the graph of a run: RFC 6902, and `/nodes/@id`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PatchRequest {
    /// The operations, a JSON array.
    pub operations: Value,
    /// For people.
    pub description: String,
    /// Who asks.
    pub author: String,
    /// The node that asks: the patch counts once that node has succeeded.
    pub node_id: Option<String>,
    /// The version that the graph must have.
    pub if_version: Option<u64>,
}

/// What happened. `key` is the one that an [`Effect`](crate::Effect) named; what is not waited for any more is
/// ignored: such an input answers with an empty step.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The job of a node succeeded.
    Succeeded {
        /// The key of the job.
        key: String,
        /// What it answered.
        output: Output,
        /// What it cost.
        metrics: Option<Value>,
        /// A patch that the node's agent asks for.
        patch: Option<PatchRequest>,
    },
    /// The job of a node failed.
    Failed {
        /// The key of the job.
        key: String,
        /// Why.
        failure: Failure,
        /// What it cost.
        metrics: Option<Value>,
        /// What the node answers if no other attempt follows: then it has succeeded after all.
        otherwise: Option<Output>,
    },
    /// The job is not known to the queue any more: it is submitted again as another attempt, which the
    /// node's limit does not count.
    Lost {
        /// The key of the job.
        key: String,
    },
    /// A timer is due.
    TimerDue {
        /// The key of the timer.
        key: String,
    },
    /// The decisions of an approval are complete. The store of approvals counts quorum and escalation.
    Decided {
        /// The key of the approval.
        key: String,
        /// Yes or no.
        approved: bool,
        /// Who decided last; empty when its time was over.
        by: String,
        /// What was given with it: `{comment, data, decisions}`.
        data: Value,
    },
    /// A signal came.
    Signal {
        /// Its name.
        name: String,
        /// What came with it.
        payload: Value,
    },
    /// A child run ended.
    ChildEnded {
        /// The key of the child.
        key: String,
        /// How.
        result: Result<Output, Failure>,
    },
    /// Somebody wants to change the graph.
    Patch(PatchRequest),
    /// A person decided on a proposed patch, by its number.
    PatchDecided {
        /// Its number.
        seq: u64,
        /// Yes or no.
        approved: bool,
        /// Who.
        by: String,
    },
    /// Running jobs are called off, and what completed is compensated.
    Cancel {
        /// Who wants it.
        by: String,
        /// Why.
        reason: String,
    },
    /// The same without compensation.
    Terminate {
        /// Who wants it.
        by: String,
        /// Why.
        reason: String,
    },
    /// Nothing more is started.
    Pause {
        /// Who wants it.
        by: String,
    },
    /// What was held back is started.
    Resume {
        /// Who wants it.
        by: String,
    },
    /// A failed or cancelled run goes on from what failed.
    Retry {
        /// Who wants it.
        by: String,
    },
}
