//! A step: what an input changes, and what follows until nothing more can be decided.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    Refusal, Run, Step,
    key::{Key, RecordKey},
    state::{State, Undo, Wait},
};
use crate::{
    Effect, Event, EventKind, Failure, Input, JobRequest, Limits, NodeStatus, Output, RunStatus,
    workflow::{Kind, Node, Workflow},
};

pub(super) struct Machine<'r> {
    pub(super) run: &'r mut Run,
    pub(super) limits: &'r Limits,
    pub(super) now: u64,
    pub(super) step: Step,
    changed: BTreeSet<RecordKey>,
    /// Nodes to look at: one of their edges was decided.
    pub(super) queue: VecDeque<usize>,
}

impl<'r> Machine<'r> {
    pub(super) fn new(run: &'r mut Run, limits: &'r Limits, now: u64) -> Self {
        Self {
            run,
            limits,
            now,
            step: Step::default(),
            changed: BTreeSet::new(),
            queue: VecDeque::new(),
        }
    }

    /// Goes on as far as possible, and answers what followed.
    pub(super) fn finish(mut self) -> Step {
        self.advance();
        let mut step = self.step;
        step.changed = self.changed.iter().map(RecordKey::text).collect();
        step
    }

    pub(super) fn take(&mut self, input: Input) -> Result<(), Refusal> {
        match input {
            Input::Succeeded {
                key,
                output,
                metrics,
                patch,
            } => self.succeeded(&key, output, metrics, patch),
            Input::Failed {
                key,
                failure,
                metrics,
                otherwise,
            } => self.failed(&key, &failure, metrics, otherwise),
            Input::Lost { key } => self.lost(&key),
            Input::TimerDue { key } => self.timer_due(&key),
            Input::Decided {
                key,
                approved,
                by,
                data,
            } => self.decided(&key, approved, &by, data),
            Input::Signal { name, payload } => return self.signal(name, payload),
            Input::ChildEnded { key, result } => match result {
                Ok(output) => self.succeeded(&key, output, None, None),
                Err(failure) => self.failed(&key, &failure, None, None),
            },
            Input::Patch(request) => return self.patch(&request),
            Input::PatchDecided { seq, approved, by } => {
                return self.patch_decided(seq, approved, &by);
            }
            Input::Cancel { by, reason } => return self.cancel(by, reason, true),
            Input::Terminate { by, reason } => return self.cancel(by, reason, false),
            Input::Pause { by } => return self.pause(&by),
            Input::Resume { by } => return self.resume(&by),
            Input::Retry { by } => return self.retry(&by),
        }
        Ok(())
    }

    // What others need

    pub(super) fn workflow(&self) -> Arc<Workflow> {
        Arc::clone(&self.run.workflow)
    }

    pub(super) fn node(&self, at: usize) -> &Node {
        &self.run.workflow.nodes[at]
    }

    pub(super) fn state(&self, at: usize) -> &State {
        &self.run.nodes[at]
    }

    /// The state of a node, to be changed: its record is written.
    pub(super) fn change(&mut self, at: usize) -> &mut State {
        let key = RecordKey::Node(
            Arc::clone(&self.run.workflow.nodes[at].id),
            self.run.nodes[at].iteration,
        );
        self.changed.insert(key);
        &mut self.run.nodes[at]
    }

    pub(super) fn touch(&mut self, key: RecordKey) {
        self.changed.insert(key);
    }

    pub(super) fn key(&self, at: usize, rest: impl std::fmt::Display) -> String {
        let iteration = self.run.nodes[at].iteration;
        format!(
            "{}.{}.{iteration}{rest}",
            self.run.start.run_id,
            self.node(at).id
        )
    }

    pub(super) fn note(&mut self, kind: EventKind, at: Option<usize>, data: Value) {
        let node_id = at.map(|at| self.node(at).id.to_string());
        self.note_of(kind, node_id, data);
    }

    pub(super) fn note_of(&mut self, kind: EventKind, node_id: Option<String>, data: Value) {
        self.step.events.push(Event {
            at: self.now,
            kind,
            node_id,
            data,
        });
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.step.effects.push(effect);
    }

    /// The end of a run that has not ended yet is refused by what only running runs can do.
    pub(super) fn needs_running(&self) -> Result<(), Refusal> {
        let status = self.run.head.status;
        if status.is_final() {
            let message = format!("the run has ended: it is {}", status.as_str());
            return Err(Refusal::Conflict(message));
        }
        Ok(())
    }

    pub(super) fn is_final(&self) -> bool {
        self.run.head.status.is_final()
    }

    /// Whether something new may be started.
    pub(super) fn may_start(&self) -> bool {
        let head = &self.run.head;
        head.started_at.is_some() && !head.paused && head.ending.is_none() && !self.is_final()
    }

    // Jobs

    /// Which node a key of a job means, if it is waited for.
    fn waiting(&self, key: &str) -> Option<Waiting> {
        if self.is_final() {
            return None;
        }
        match Key::read(&self.run.start.run_id, key)? {
            Key::Job(id, number, attempt) => {
                let at = self.run.workflow.find(id)?;
                let state = self.state(at);
                if let Some(items) = &state.items {
                    let item = number.checked_sub(state.item_base)?;
                    let item = usize::try_from(item).ok()?;
                    let known = items.states.get(item)?;
                    let fits = state.wait == Wait::Items
                        && known.status == super::state::ItemStatus::Running
                        && known.attempt == attempt;
                    return fits.then_some(Waiting::Item(at, item));
                }
                let fits = matches!(state.wait, Wait::Job | Wait::Child)
                    && state.iteration == number
                    && state.attempt == attempt;
                fits.then_some(Waiting::Node(at))
            }
            Key::Undo(id, iteration, attempt) => {
                let state = self.run.state_of(id, iteration)?;
                let fits = state.undo == Undo::Running && state.undo_attempt == attempt;
                fits.then(|| Waiting::Undo(id.to_owned(), iteration))
            }
            _ => None,
        }
    }

    fn succeeded(
        &mut self,
        key: &str,
        output: Output,
        metrics: Option<Value>,
        patch: Option<crate::PatchRequest>,
    ) {
        match self.waiting(key) {
            Some(Waiting::Node(at)) => {
                self.change(at).metrics = metrics;
                self.succeed(at, output, patch);
            }
            Some(Waiting::Item(at, item)) => self.item_succeeded(at, item, output),
            Some(Waiting::Undo(id, iteration)) => self.undone(&id, iteration, Ok(())),
            None => {}
        }
    }

    fn failed(
        &mut self,
        key: &str,
        failure: &Failure,
        metrics: Option<Value>,
        otherwise: Option<Output>,
    ) {
        match self.waiting(key) {
            Some(Waiting::Node(at)) => {
                if metrics.is_some() {
                    self.change(at).metrics = metrics;
                }
                match otherwise {
                    Some(output) if !self.tries_again(at, failure) => {
                        self.succeed(at, output, None);
                    }
                    _ => self.fail_attempt(at, failure, true),
                }
            }
            Some(Waiting::Item(at, item)) => match otherwise {
                Some(output) if !self.item_tries_again(at, item, failure) => {
                    self.item_succeeded(at, item, output);
                }
                _ => {
                    self.item_failed(at, item, failure, true);
                    self.go_on_with_items(at);
                }
            },
            // What undoes a node has failed, whatever it answers.
            Some(Waiting::Undo(id, iteration)) => self.undone(&id, iteration, Err(failure)),
            None => {}
        }
    }

    fn lost(&mut self, key: &str) {
        let failure = Failure {
            message: "the queue does not know its job any more".to_owned(),
            retryable: true,
        };
        match self.waiting(key) {
            Some(Waiting::Node(at)) => self.fail_attempt(at, &failure, false),
            Some(Waiting::Item(at, item)) => {
                self.item_failed(at, item, &failure, false);
                self.go_on_with_items(at);
            }
            Some(Waiting::Undo(id, iteration)) => self.undone(&id, iteration, Err(&failure)),
            None => {}
        }
    }

    /// Whether another attempt follows one that failed like this.
    fn tries_again(&self, at: usize, failure: &Failure) -> bool {
        let (state, retry) = (self.state(at), self.node(at).retry);
        let counted = state.attempt.saturating_sub(state.uncounted);
        let begins = self.now.saturating_add(backoff(retry, counted));
        let late = state.deadline.is_some_and(|deadline| begins >= deadline);
        failure.retryable && counted < retry.max_attempts && !late
    }

    /// An attempt failed: another one follows, or the node has failed.
    pub(super) fn fail_attempt(&mut self, at: usize, failure: &Failure, counts: bool) {
        self.drop_patches(at, &failure.message);
        let retry = self.node(at).retry;
        let state = self.change(at);
        state.wait = Wait::Nothing;
        if !counts {
            state.uncounted += 1;
        }
        let counted = state.attempt.saturating_sub(state.uncounted);
        let (attempt, deadline) = (state.attempt, state.deadline);
        let delay_ms = if counts { backoff(retry, counted) } else { 0 };
        let again = (failure.retryable && counted < retry.max_attempts) || !counts;
        let late = deadline.is_some_and(|deadline| self.now.saturating_add(delay_ms) >= deadline);
        if !again || late {
            let message = if again {
                let ms = self.node(at).deadline_ms.unwrap_or(0);
                format!(
                    "{} (its deadline of {ms} ms leaves no time for another attempt)",
                    failure.message
                )
            } else {
                failure.message.clone()
            };
            return self.fail(at, &message);
        }
        let data = json!({
            "error": failure.message, "attempt": attempt, "delay_ms": delay_ms,
            "iteration": self.state(at).iteration,
        });
        self.note(EventKind::NodeRetrying, Some(at), data);
        self.next_attempt(at, delay_ms);
    }

    /// Starts the next attempt of a node that is a job or a child.
    pub(super) fn next_attempt(&mut self, at: usize, delay_ms: u64) {
        if self.run.head.paused {
            self.change(at).wait = Wait::Pause;
            return;
        }
        let is_child = matches!(self.node(at).kind, Kind::SubWorkflow);
        let state = self.change(at);
        state.attempt += 1;
        state.wait = if is_child { Wait::Child } else { Wait::Job };
        let effect = if is_child {
            self.child_request(at)
        } else {
            self.run.request(at).map(|request| {
                Effect::SubmitJob(JobRequest {
                    delay_ms,
                    ..request
                })
            })
        };
        if let Some(effect) = effect {
            self.effect(effect);
        }
    }

    // Going on

    /// Decides what can be decided.
    fn advance(&mut self) {
        loop {
            while let Some(at) = self.queue.pop_front() {
                self.look_at(at);
            }
            if self.is_final() || self.run.head.started_at.is_none() {
                break;
            }
            self.end_if_done();
            if self.queue.is_empty() {
                break;
            }
        }
        self.run.head.status = self.status();
    }

    fn status(&self) -> RunStatus {
        let head = &self.run.head;
        if head.status.is_final() {
            return head.status;
        }
        if head.started_at.is_none() {
            return RunStatus::Queued;
        }
        let mut asked = self.run.has_proposal();
        for state in &self.run.nodes {
            match state.status {
                NodeStatus::WaitingForApproval => asked = true,
                NodeStatus::Running
                    if matches!(state.wait, Wait::Job | Wait::Child | Wait::Items) =>
                {
                    return RunStatus::Running;
                }
                _ => {}
            }
        }
        if asked && head.ending.is_none() {
            RunStatus::WaitingForApproval
        } else {
            RunStatus::Running
        }
    }
}

enum Waiting {
    Node(usize),
    Item(usize, usize),
    Undo(String, u32),
}

/// How long to wait after so many attempts.
pub(super) fn backoff(retry: crate::workflow::Retry, attempts: u32) -> u64 {
    const DAY: f64 = 86_400_000.0;
    let exponent = i32::try_from(attempts.saturating_sub(1)).unwrap_or(i32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "it is at most a day")]
    let wait = retry.backoff_ms as f64 * retry.multiplier.powi(exponent);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 0 and a day"
    )]
    let wait = wait.clamp(0.0, DAY) as u64;
    wait
}
