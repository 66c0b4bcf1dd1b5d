//! A new run that begins where another one was.

use std::sync::Arc;

use serde_json::Value;

use super::{
    Refusal, Run, Step,
    key::RecordKey,
    state::{State, Undo, Wait},
};
use crate::{Limits, NodeStatus, Start};

impl Run {
    pub(super) fn forked(
        &self,
        start: &Start,
        from: &str,
        operations: Option<&Value>,
        limits: &Limits,
        _now: u64,
    ) -> Result<(Self, Step), Refusal> {
        let from = self.workflow.find(from).ok_or_else(|| Refusal::Invalid {
            path: "/from".to_owned(),
            message: format!("there is no node `{from}`"),
        })?;
        let mut begins = vec![from];
        begins.extend((0..self.nodes.len()).filter(|at| !stays(&self.nodes[*at])));
        let fresh = self.after(&begins);
        let mut run = Self::new(Arc::clone(&self.workflow), start.clone());
        for (at, state) in self.nodes.iter().enumerate() {
            if !fresh[at] {
                run.nodes[at] = State {
                    wait: Wait::Nothing,
                    deadline: None,
                    undo: Undo::No,
                    undo_attempt: 0,
                    last: None,
                    ..state.clone()
                };
                run.head.ended = run.head.ended.max(state.ended);
            }
        }
        for (at, edge) in self.workflow.edges.iter().enumerate() {
            let open = fresh[edge.from] || edge.holds.iter().any(|held| fresh[*held]);
            if !open {
                run.edges[at] = self.edges[at];
            }
        }
        if let Some(operations) = operations.filter(|operations| !operations.is_null()) {
            let workflow = run.patched_for_fork(operations, limits)?;
            run.take_graph(workflow);
            // What new edges from nodes that have ended are is decided when the run begins.
        }
        run.head.executions = 0;
        let mut keys = run.all_records();
        keys.retain(|key| *key != RecordKey::Start);
        keys.insert(0, RecordKey::Start);
        let changed = keys.iter().map(RecordKey::text).collect();
        let step = Step {
            changed,
            ..Step::default()
        };
        Ok((run, step))
    }
}

/// Whether what became of a node is taken over.
fn stays(state: &State) -> bool {
    match state.status {
        NodeStatus::Completed => true,
        NodeStatus::Skipped => !state.failure,
        NodeStatus::Failed => state.handled,
        NodeStatus::NotExecuted
        | NodeStatus::Running
        | NodeStatus::WaitingForApproval
        | NodeStatus::Cancelled => false,
    }
}
