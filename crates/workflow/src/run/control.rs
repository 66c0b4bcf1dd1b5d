//! What people and the clock want: timers, decisions, signals, pause, cancel, retry.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Refusal,
    key::{Key, RecordKey},
    machine::Machine,
    state::{Ending, Signal, Wait},
};
use crate::{Effect, EventKind, Failure, NodeStatus, Output, PatchRequest, RunStatus};

/// Most signals that nobody waits for yet.
const MAX_SIGNALS: usize = 1000;

impl Machine<'_> {
    /// A node's job or child ended well.
    pub(super) fn succeed(&mut self, at: usize, output: Output, patch: Option<PatchRequest>) {
        let output = match output.blob {
            Some(_) => Ok(output),
            None => self.kept(output.value),
        };
        let is_child = self.state(at).wait == Wait::Child;
        match output {
            Ok(output) => {
                if is_child {
                    self.note(
                        EventKind::ChildEnded,
                        Some(at),
                        json!({"status": "completed"}),
                    );
                }
                self.change(at).wait = Wait::Nothing;
                self.complete_with_patches(at, output, patch);
            }
            Err(message) => {
                let failure = Failure {
                    message,
                    retryable: false,
                };
                self.fail_attempt(at, &failure, true);
            }
        }
    }

    fn current(&self, id: &str, iteration: u32) -> Option<usize> {
        let at = self.run.workflow.find(id)?;
        let state = self.state(at);
        (state.iteration == iteration && state.is_active() && !self.is_final()).then_some(at)
    }

    pub(super) fn timer_due(&mut self, key: &str) {
        let run_id = self.run.start.run_id.clone();
        match Key::read(&run_id, key) {
            Some(Key::Timer(id, iteration)) => {
                let Some(at) = self.current(id, iteration) else {
                    return;
                };
                match self.state(at).wait {
                    Wait::Timer => self.fired(at),
                    Wait::Signal => {
                        self.change(at).wait = Wait::Nothing;
                        self.fail(at, "no signal came in time");
                    }
                    _ => {}
                }
            }
            Some(Key::Deadline(id, iteration)) => {
                if let Some(at) = self.current(id, iteration)
                    && self.state(at).deadline.is_some()
                {
                    self.change(at).deadline = None;
                    let ms = self.node(at).deadline_ms.unwrap_or(0);
                    self.fail(
                        at,
                        &format!("its deadline of {ms} ms is over; waiting and all attempts count"),
                    );
                }
            }
            Some(Key::RunDeadline) => self.run_deadline(),
            _ => {}
        }
    }

    fn run_deadline(&mut self) {
        let head = &mut self.run.head;
        if head.deadline.take().is_none() || head.status.is_final() || head.ending.is_some() {
            return;
        }
        let ms = self.run.workflow.options.deadline_ms.unwrap_or(0);
        let reason = format!(
            "the run's deadline of {ms} ms is over; waiting for queues, timers and people counts"
        );
        self.run.head.error = Some(reason.clone());
        self.end(Ending {
            status: RunStatus::Failed,
            compensate: true,
            by: String::new(),
            reason,
        });
    }

    pub(super) fn decided(&mut self, key: &str, approved: bool, by: &str, data: Value) {
        let run_id = self.run.start.run_id.clone();
        let (id, iteration) = match Key::read(&run_id, key) {
            Some(Key::Approval(id, iteration)) => (id, iteration),
            Some(Key::Patch(seq)) => {
                // One that is not open any more is not waited for.
                let _ignored = self.patch_decided(seq, approved, by);
                return;
            }
            _ => return,
        };
        let Some(at) = self.current(id, iteration) else {
            return;
        };
        if self.state(at).wait != Wait::Approval {
            return;
        }
        let timed_out = by.is_empty();
        let on_timeout = self.on_timeout(at);
        let approved = match (timed_out, on_timeout.as_str()) {
            (true, "approve") => true,
            (true, _) => false,
            (false, _) => approved,
        };
        let note = json!({"approved": approved, "by": by, "timed_out": timed_out});
        self.note(EventKind::ApprovalDecided, Some(at), note);
        self.change(at).wait = Wait::Nothing;
        if timed_out && on_timeout == "fail" {
            return self.fail(at, "nobody decided in time");
        }
        let mut details = match data {
            Value::Object(fields) => fields,
            Value::Null => serde_json::Map::new(),
            other => [("data".to_owned(), other)].into_iter().collect(),
        };
        details.insert("by".to_owned(), json!(by));
        details.insert("timed_out".to_owned(), json!(timed_out));
        let value = json!({
            "status": "completed",
            "approved": approved,
            "approval_data": details,
            "node_id": id,
            "timestamp": self.now / 1000,
        });
        self.succeed(
            at,
            Output {
                value: Arc::new(value),
                blob: None,
            },
            None,
        );
    }

    fn on_timeout(&self, at: usize) -> String {
        let state = self.state(at);
        let config = state
            .input
            .as_ref()
            .map_or(&self.node(at).config.value, |input| &input.value);
        let word = config.get("on_timeout").and_then(Value::as_str);
        word.unwrap_or("reject").to_owned()
    }

    // Signals

    pub(super) fn signal(&mut self, name: String, payload: Value) -> Result<(), Refusal> {
        self.needs_running()?;
        let waits = (0..self.run.nodes.len()).filter(|at| self.waits_for(*at, &name));
        // The one that has waited longest.
        let first = waits.min_by_key(|at| (self.state(*at).started_at, *at));
        match first {
            Some(at) => {
                let key = self.key(at, ".timer");
                self.effect(Effect::ClearTimer { key });
                self.change(at).wait = Wait::Nothing;
                self.received(at, &name, &payload);
            }
            None => {
                let waiting = self
                    .run
                    .signals
                    .iter()
                    .filter(|signal| !signal.used)
                    .count();
                if waiting >= MAX_SIGNALS {
                    let message = format!("{MAX_SIGNALS} signals wait already");
                    return Err(Refusal::Conflict(message));
                }
                let data = json!({"name": name, "early": true});
                self.note(EventKind::SignalReceived, None, data);
                let number = u32::try_from(self.run.signals.len()).unwrap_or(u32::MAX);
                self.run.signals.push(Signal {
                    name,
                    payload,
                    used: false,
                });
                self.touch(RecordKey::Signal(number));
            }
        }
        Ok(())
    }

    fn waits_for(&self, at: usize, name: &str) -> bool {
        let state = self.state(at);
        if state.wait != Wait::Signal {
            return false;
        }
        let config = state
            .input
            .as_ref()
            .map_or(&self.node(at).config.value, |input| &input.value);
        config.get("name").and_then(Value::as_str) == Some(name)
    }

    /// Takes a signal that came before anybody waited for it.
    pub(super) fn early_signal(&mut self, name: &str) -> Option<Value> {
        let mut signals = self.run.signals.iter_mut().enumerate();
        let (number, signal) = signals.find(|(_, signal)| !signal.used && signal.name == name)?;
        signal.used = true;
        let payload = signal.payload.take();
        self.touch(RecordKey::Signal(u32::try_from(number).unwrap_or(u32::MAX)));
        Some(payload)
    }

    pub(super) fn received(&mut self, at: usize, name: &str, payload: &Value) {
        self.note(EventKind::SignalReceived, Some(at), json!({"name": name}));
        let value = json!({"status": "received", "name": name, "payload": payload});
        self.succeed(
            at,
            Output {
                value: Arc::new(value),
                blob: None,
            },
            None,
        );
    }

    // Pause and resume

    pub(super) fn pause(&mut self, by: &str) -> Result<(), Refusal> {
        self.needs_running()?;
        if self.run.head.paused {
            return Err(Refusal::Conflict("the run is paused already".to_owned()));
        }
        if self.run.head.ending.is_some() {
            return Err(Refusal::Conflict("the run is ending".to_owned()));
        }
        self.run.head.paused = true;
        self.note(EventKind::WorkflowPaused, None, json!({"by": by}));
        Ok(())
    }

    pub(super) fn resume(&mut self, by: &str) -> Result<(), Refusal> {
        self.needs_running()?;
        if !self.run.head.paused {
            return Err(Refusal::Conflict("the run is not paused".to_owned()));
        }
        self.run.head.paused = false;
        self.note(EventKind::WorkflowResumed, None, json!({"by": by}));
        for at in 0..self.run.nodes.len() {
            match self.state(at).wait {
                Wait::Pause => self.next_attempt(at, 0),
                Wait::Items => self.go_on_with_items(at),
                _ => {}
            }
        }
        self.look_at_all();
        Ok(())
    }

    pub(super) fn look_at_all(&mut self) {
        self.queue.extend(0..self.run.nodes.len());
    }

    // The end

    pub(super) fn cancel(
        &mut self,
        by: String,
        reason: String,
        compensate: bool,
    ) -> Result<(), Refusal> {
        self.needs_running()?;
        if let Some(ending) = &self.run.head.ending {
            if compensate || !ending.compensate {
                return Err(Refusal::Conflict("the run is ending already".to_owned()));
            }
            // No more is undone; what is being undone is called off.
            self.stop_undoing();
        }
        self.end(Ending {
            status: RunStatus::Cancelled,
            compensate,
            by,
            reason,
        });
        Ok(())
    }

    /// Calls off all that goes on.
    fn end(&mut self, ending: Ending) {
        let reason = if ending.reason.is_empty() {
            "the run was cancelled".to_owned()
        } else {
            ending.reason.clone()
        };
        if self.run.head.started_at.is_none() {
            self.run.head.started_at = Some(self.now);
        }
        self.run.head.paused = false;
        self.run.head.ending = Some(ending);
        for at in 0..self.run.nodes.len() {
            if self.state(at).is_active() {
                self.call_off(at, &reason);
            }
        }
        self.close_proposals(&reason);
    }

    /// Ends the run, if nothing of it goes on.
    pub(super) fn end_if_done(&mut self) {
        let ending = self.run.head.ending.clone();
        if ending.is_none() {
            let open = self.run.nodes.iter().any(|state| !state.is_decided());
            if open || self.run.has_proposal() {
                return;
            }
        }
        let failed = self.first_failure();
        let status = match (&ending, &failed) {
            (Some(ending), _) => ending.status,
            (None, Some(_)) => RunStatus::Failed,
            (None, None) => RunStatus::Completed,
        };
        let compensates = ending.as_ref().is_none_or(|ending| ending.compensate);
        if status != RunStatus::Completed && compensates && self.undo_next() {
            return;
        }
        let head = &mut self.run.head;
        head.status = status;
        head.ended_at = Some(self.now);
        if let Some(at) = failed.filter(|_| head.error.is_none() && status == RunStatus::Failed) {
            head.error = self.run.nodes[at].error.clone();
            head.error_node = Some(self.run.workflow.nodes[at].id.to_string());
        }
        if self.run.head.deadline.is_some() {
            let key = format!("{}.@deadline", self.run.start.run_id);
            self.effect(Effect::ClearTimer { key });
        }
        self.close_proposals("the run has ended");
        let head = &self.run.head;
        let (kind, data) = match status {
            RunStatus::Completed => (EventKind::WorkflowCompleted, json!({"counter": 0})),
            RunStatus::Failed => (
                EventKind::WorkflowFailed,
                json!({"error": head.error, "counter": 0}),
            ),
            _ => {
                let ending = ending.as_ref();
                let by = ending.map_or("", |ending| ending.by.as_str());
                let reason = ending.map_or("", |ending| ending.reason.as_str());
                let data = json!({"by": by, "reason": reason, "counter": 0});
                (EventKind::WorkflowCancelled, data)
            }
        };
        let node_id = head
            .error_node
            .clone()
            .filter(|_| status == RunStatus::Failed);
        self.note_of(kind, node_id, data);
    }

    /// The node that failed first, and whose failure nothing took care of.
    fn first_failure(&self) -> Option<usize> {
        let states = self.run.nodes.iter().enumerate();
        let failed =
            states.filter(|(_, state)| state.status == NodeStatus::Failed && !state.handled);
        failed
            .min_by_key(|(_, state)| state.ended)
            .map(|(at, _)| at)
    }

    pub(super) fn set_run_deadline(&mut self) {
        if let Some(ms) = self.run.workflow.options.deadline_ms {
            let due_at = self.now.saturating_add(ms);
            self.run.head.deadline = Some(due_at);
            let key = format!("{}.@deadline", self.run.start.run_id);
            self.effect(Effect::SetTimer { key, due_at });
        }
    }
}
