//! A run that failed or was cancelled goes on.

use std::sync::Arc;

use serde_json::json;

use super::{
    Refusal,
    key::RecordKey,
    machine::Machine,
    state::{Decision, ItemStatus, Undo},
};
use crate::{EventKind, NodeStatus, RunStatus, workflow::Kind};

impl Machine<'_> {
    /// Goes on from what failed, was called off or was undone.
    pub(super) fn retry(&mut self, by: &str) -> Result<(), Refusal> {
        let status = self.run.head.status;
        if !matches!(status, RunStatus::Failed | RunStatus::Cancelled) {
            let message = format!(
                "only a failed or cancelled run is tried again; it is {}",
                status.as_str()
            );
            return Err(Refusal::Conflict(message));
        }
        let workflow = self.workflow();
        let begins: Vec<usize> = (0..self.run.nodes.len())
            .filter(|at| {
                let state = self.state(*at);
                state.undo != Undo::No
                    || state.status == NodeStatus::Cancelled
                    || (state.status == NodeStatus::Failed && !state.handled)
                    || !state.is_decided()
            })
            .collect();
        let again = self.run.after(&begins);
        let head = &mut self.run.head;
        head.status = RunStatus::Running;
        head.error = None;
        head.error_node = None;
        head.ended_at = None;
        head.ending = None;
        self.note(EventKind::WorkflowRetried, None, json!({"by": by}));
        for (at, node) in workflow.nodes.iter().enumerate() {
            let leads_on = node.outgoing.iter().any(|edge| {
                let held = &workflow.edges[*edge].holds;
                again[at] || held.iter().any(|held| again[*held])
            });
            if leads_on || again[at] {
                for edge in &node.outgoing {
                    let held = &workflow.edges[*edge].holds;
                    if again[at] || held.iter().any(|held| again[*held]) {
                        self.run.edges[*edge] = Decision::Open;
                    }
                }
            }
            if again[at] {
                self.reset(at);
            }
        }
        self.set_run_deadline();
        self.look_at_all();
        Ok(())
    }

    /// Makes a node one that has not been executed; of a `for_each`, what was done stays.
    fn reset(&mut self, at: usize) {
        let keeps_items = matches!(self.node(at).kind, Kind::ForEach(_))
            && self.state(at).undo == Undo::No
            && self.state(at).items.is_some()
            && self.state(at).status != NodeStatus::Completed;
        if keeps_items {
            let number = self.state(at).iteration;
            let id = Arc::clone(&self.node(at).id);
            let state = self.change(at);
            state.status = NodeStatus::NotExecuted;
            state.output = None;
            state.error = None;
            state.failure = false;
            state.handled = false;
            state.completed_at = None;
            let mut changed = Vec::new();
            if let Some(items) = &mut state.items {
                for (item, known) in items.states.iter_mut().enumerate() {
                    if known.status == ItemStatus::Completed || known.status == ItemStatus::Waiting
                    {
                        continue;
                    }
                    known.status = ItemStatus::Waiting;
                    known.uncounted = known.attempt;
                    known.error = None;
                    changed.push(u32::try_from(item).unwrap_or(u32::MAX));
                }
                items.count();
            }
            for item in changed {
                self.touch(RecordKey::Item(Arc::clone(&id), number, item));
            }
        } else if self.state(at).has_started() {
            let (status, rounds) = (self.state(at).status, self.state(at).rounds);
            self.again(at);
            // A loop that was not left goes on with the rounds that it has.
            if status != NodeStatus::Completed {
                self.change(at).rounds = rounds;
            }
        }
    }
}
