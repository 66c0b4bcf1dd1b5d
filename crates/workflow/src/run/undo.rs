//! What completed is undone, latest first.

use std::sync::Arc;

use serde_json::json;

use super::{
    key::RecordKey,
    machine::{Machine, backoff},
    state::Undo,
};
use crate::{Effect, EventKind, Failure};

impl Machine<'_> {
    /// Starts to undo what completed last and was not undone yet; whether something is being undone.
    pub(super) fn undo_next(&mut self) -> bool {
        while let Some((id, iteration, running)) = self.run.next_to_undo() {
            if running {
                return true;
            }
            let at = self.run.workflow.find(&id);
            let data = json!({"iteration": iteration, "status": "running"});
            self.note(EventKind::Compensating, at, data);
            self.undo_attempt(&id, iteration, 0);
        }
        false
    }

    fn undo_attempt(&mut self, id: &str, iteration: u32, delay_ms: u64) {
        let Some(at) = self.run.workflow.find(id) else {
            return;
        };
        let Some(subject) = self.node(at).compensate.clone() else {
            return;
        };
        self.touch(RecordKey::Node(Arc::clone(&self.node(at).id), iteration));
        let Some(state) = self.run.state_of_mut(id, iteration) else {
            return;
        };
        state.undo = Undo::Running;
        state.undo_attempt += 1;
        let attempt = state.undo_attempt;
        let key = format!("{}.{id}.{iteration}.c{attempt}", self.run.start.run_id);
        match self.run.request_of(at, &subject, key, None) {
            Ok(mut request) => {
                request.delay_ms = delay_ms;
                self.effect(Effect::SubmitJob(request));
            }
            Err(message) => {
                let failure = Failure {
                    message,
                    retryable: false,
                };
                self.undone(id, iteration, Err(&failure));
            }
        }
    }

    /// A node was undone, or it failed.
    pub(super) fn undone(&mut self, id: &str, iteration: u32, result: Result<(), &Failure>) {
        let Some(at) = self.run.workflow.find(id) else {
            return;
        };
        let retry = self
            .node(at)
            .compensate
            .as_ref()
            .map(|subject| subject.retry);
        self.touch(RecordKey::Node(Arc::clone(&self.node(at).id), iteration));
        let Some(state) = self.run.state_of_mut(id, iteration) else {
            return;
        };
        let attempt = state.undo_attempt;
        match (result, retry) {
            (Ok(()), _) => {
                state.undo = Undo::Done;
                let data = json!({"iteration": iteration, "status": "completed"});
                self.note(EventKind::Compensating, Some(at), data);
            }
            (Err(failure), Some(retry)) if failure.retryable && attempt < retry.max_attempts => {
                self.undo_attempt(id, iteration, backoff(retry, attempt));
            }
            (Err(failure), _) => {
                state.undo = Undo::Failed;
                let data = json!({
                    "iteration": iteration, "status": "failed", "error": failure.message,
                });
                self.note(EventKind::Compensating, Some(at), data);
            }
        }
    }

    pub(super) fn stop_undoing(&mut self) {
        let Some((id, iteration, true)) = self.run.next_to_undo() else {
            return;
        };
        let Some(at) = self.run.workflow.find(&id) else {
            return;
        };
        self.touch(RecordKey::Node(Arc::clone(&self.node(at).id), iteration));
        let queue = self.run.queue_of(at);
        if let Some(state) = self.run.state_of_mut(&id, iteration) {
            state.undo = Undo::Failed;
            let attempt = state.undo_attempt;
            let key = format!("{}.{id}.{iteration}.c{attempt}", self.run.start.run_id);
            self.effect(Effect::CancelJob { key, queue });
        }
    }
}
