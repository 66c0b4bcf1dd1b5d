//! An input is given to its run, and what follows is gathered, to be stored.

use std::sync::Arc;

use runs::{Command, CommandAnswer};
use serde_json::{Value, json};
use tokio::time::Instant;
use workflow::{
    Effect, Event, EventKind, Input, Output, PatchRequest, Refusal, Run, RunStatus, Step,
};

use super::{
    Core,
    active::{ActiveRun, JobState, NodeJob},
    change::{Ack, Ending, Incoming, Outgoing},
};
use crate::{
    clock,
    loaded::{BrokenRun, LoadedRun, RunMeta},
    outcome,
};

/// Whether a command of this kind ends its run.
fn ends(kind: &str) -> bool {
    matches!(kind, "cancel" | "terminate")
}

impl Core {
    /// Gives a run what came for it, as soon as it is in memory.
    pub(super) fn deliver(&mut self, run_id: &str, incoming: Incoming) {
        if self.runs.contains_key(run_id) {
            return self.apply(run_id, incoming);
        }
        let calls_off = match &incoming {
            Incoming::Command { command, .. } => ends(&command.kind),
            _ => false,
        };
        let waiting = self.waiting.entry(run_id.to_owned()).or_default();
        // What waits until its run begins must not keep it from being called off.
        if waiting.is_empty() || calls_off {
            self.to_load.push_back(run_id.to_owned());
        }
        waiting.push(incoming);
    }

    /// Takes a run into memory that was read. One that has not begun begins.
    pub(super) fn take_in(&mut self, loaded: LoadedRun) {
        let LoadedRun {
            mut meta,
            workflow,
            run,
        } = loaded;
        let run_id = meta.run_id.clone();
        if self.runs.contains_key(&run_id) {
            for incoming in self.waiting.remove(&run_id).unwrap_or_default() {
                self.apply(&run_id, incoming);
            }
            return;
        }
        if run.is_none() && self.called_off(&meta) {
            return;
        }
        if let Some(reason) = self.commits.refused.remove(&run_id) {
            self.waiting.remove(&run_id);
            return self.fail_broken(BrokenRun {
                header: run.as_ref().map(Run::header).unwrap_or_default(),
                run_id,
                reason,
                parent: meta.parent,
                ended: meta.ended.is_some(),
            });
        }
        let (now, limits) = (clock::now(), &self.env.limits);
        let (run, step) = match run {
            None => {
                let (run, step) = Run::start(workflow, &meta.start, limits, now);
                (run, Some(step))
            }
            Some(mut run) => {
                // A fork has a state and has not begun; any other has.
                let step = run.begin(limits, now);
                let begins = !step.events.is_empty();
                (run, begins.then_some(step))
            }
        };
        meta.started_at.get_or_insert(now);
        let in_flight = run.jobs_in_flight();
        let mut active = ActiveRun::new(run, meta);
        if step.is_none() {
            // What was in flight is in the queue, or will be found not to be.
            for (key, queue) in in_flight {
                if let Some(request) = active.run.job_request(&key) {
                    let (request, state) = (Arc::new(request), JobState::Unstored);
                    active.jobs.insert(key.clone(), NodeJob { request, state });
                    self.effects.doubtful.push((run_id.clone(), key));
                }
                let queue = self.env.queue.queue(queue.as_deref());
                self.read_queue(queue);
            }
        }
        self.runs.insert(run_id.clone(), active);
        if let Some(step) = step {
            self.gather(&run_id, step);
        }
        for incoming in self.waiting.remove(&run_id).unwrap_or_default() {
            self.apply(&run_id, incoming);
        }
    }

    /// Ends a run that was called off before it began, if that is what waits for it.
    pub(super) fn called_off(&mut self, meta: &RunMeta) -> bool {
        let waiting = self.waiting.get(&meta.run_id).into_iter().flatten();
        let mut commands = waiting.filter_map(|incoming| match incoming {
            Incoming::Command { command, .. } => Some(command),
            _ => None,
        });
        let Some(wish) = commands.find(|command| ends(&command.kind)) else {
            return false;
        };
        let now = clock::now();
        let event = Event {
            at: now,
            kind: EventKind::WorkflowCancelled,
            node_id: None,
            data: json!({ "by": wish.body["by"], "reason": wish.body["reason"] }),
        };
        let told = meta.parent.clone().map(|parent| {
            let result = Err("it was called off before it began".to_owned());
            super::children::ended_command(&meta.run_id, parent, now, result)
        });
        let change = self.changes.of(&meta.run_id);
        // It is made of texts and numbers.
        change
            .events
            .push(serde_json::to_vec(&event).unwrap_or_default());
        change.commands.extend(told);
        let ending = Ending {
            status: RunStatus::Cancelled,
            at: now,
            header: Vec::new(),
            error: None,
        };
        self.answer_unbegun(&meta.run_id, ending, |kind| match ends(kind) {
            true => (200, "it had not begun"),
            false => (409, "it was called off before it began"),
        });
        self.called_off.insert(meta.run_id.clone(), false);
        true
    }

    /// Answers what waits for a run that ended before it began.
    pub(super) fn refuse_ended(&mut self, meta: &RunMeta, status: RunStatus) {
        let ending = Ending {
            status,
            at: meta.ended_at.unwrap_or_else(clock::now),
            header: Vec::new(),
            error: meta.error.clone(),
        };
        let message = format!("it is {} and never began", status.as_str());
        self.answer_unbegun(&meta.run_id, ending, |_| (409, &message));
    }

    /// Stores how a run ended that never began, and answers the commands that wait for it, by their kinds.
    fn answer_unbegun<'a>(
        &mut self,
        run_id: &str,
        ending: Ending,
        answer: impl Fn(&str) -> (u16, &'a str),
    ) {
        let waiting = self.waiting.remove(run_id).unwrap_or_default();
        let change = self.changes.of(run_id);
        change.ending = Some(ending);
        for incoming in waiting {
            if let Incoming::Command { number, command } = incoming {
                let (status, message) = answer(&command.kind);
                let body = json!({ "message": message });
                let answer = CommandAnswer { status, body };
                change.answered.push((number, command.id, answer));
            }
        }
    }

    fn apply(&mut self, run_id: &str, incoming: Incoming) {
        match incoming {
            Incoming::Job { key, ended, ack } => self.job_ended(run_id, &key, ended, ack),
            Incoming::Lost { key } => {
                self.job_over(run_id, &key);
                self.env.metrics.resubmitted();
                self.step(run_id, Input::Lost { key });
            }
            Incoming::Unserved { key, name } => {
                let node_id = key.split('.').nth(1).unwrap_or_default();
                let output = json!({
                    "status": "skipped",
                    "warning": format!("no service of the mesh is {name}"),
                    "node_id": node_id,
                });
                self.job_over(run_id, &key);
                let output = Output::inline(output);
                let (metrics, patch) = (None, None);
                self.step(
                    run_id,
                    Input::Succeeded {
                        key,
                        output,
                        metrics,
                        patch,
                    },
                );
            }
            Incoming::Timer { key } => {
                let change = self.changes.of(run_id);
                change.clear_timer(key.clone());
                change.fired.push(key.clone());
                self.mark(run_id);
                self.step(run_id, Input::TimerDue { key });
            }
            Incoming::Command { number, command } => self.command(run_id, number, command),
            Incoming::NoChild { key, reason } => {
                let failure = workflow::Failure {
                    message: reason,
                    retryable: false,
                };
                let result = Err(failure);
                self.step(run_id, Input::ChildEnded { key, result });
            }
            Incoming::Child { child, number } => {
                let change = self.changes.of(run_id);
                change.children.push(*child);
                change.outbox_done.push(number);
                self.mark(run_id);
            }
        }
    }

    fn job_ended(&mut self, run_id: &str, key: &str, ended: outcome::Ended, ack: Option<Ack>) {
        let active = self.runs.get(run_id);
        let job = active.and_then(|active| active.jobs.get(key));
        let Some(request) = job.map(|job| Arc::clone(&job.request)) else {
            // Nobody waits for it, or not any more.
            return self.acknowledge_with(run_id, ack);
        };
        self.job_over(run_id, key);
        self.step(run_id, outcome::input(&request, ended));
        self.acknowledge_with(run_id, ack);
        self.mark(run_id);
    }

    /// Acknowledges a completion once what its run has to store is stored.
    fn acknowledge_with(&mut self, run_id: &str, ack: Option<Ack>) {
        let Some(ack) = ack else { return };
        let active = self.runs.get(run_id);
        if active.is_none_or(|active| !active.unstored && !active.storing) {
            return self.effects.acknowledge(ack);
        }
        self.changes.of(run_id).acks.push(ack);
        self.mark(run_id);
    }

    fn step(&mut self, run_id: &str, input: Input) {
        let (limits, now) = (&self.env.limits, clock::now());
        let Some(active) = self.runs.get_mut(run_id) else {
            return;
        };
        active.touched = Instant::now();
        match active.run.step(input, limits, now) {
            Ok(step) => self.gather(run_id, step),
            // Only what people want is refused, and that comes by a command.
            Err(refusal) => tracing::warn!(run = run_id, %refusal, "an input was refused"),
        }
    }

    /// A command: what people want, and what other runs tell.
    fn command(&mut self, run_id: &str, number: u64, command: Command) {
        let Command { id, kind, body, .. } = command;
        let (limits, now) = (&self.env.limits, clock::now());
        let Some(active) = self.runs.get_mut(run_id) else {
            return;
        };
        active.touched = Instant::now();
        let stepped = match input_of(&kind, body) {
            Ok(input) => active.run.step(input, limits, now),
            Err((path, message)) => Err(Refusal::Invalid { path, message }),
        };
        let answer = match stepped {
            Ok(mut step) => {
                let body = step.answer.take().unwrap_or_else(|| json!({}));
                self.gather(run_id, step);
                CommandAnswer { status: 200, body }
            }
            Err(Refusal::Conflict(message)) => CommandAnswer {
                status: 409,
                body: json!({ "message": message }),
            },
            Err(Refusal::Invalid { path, message }) => CommandAnswer {
                status: 422,
                body: json!({ "message": message, "path": path }),
            },
        };
        self.changes.of(run_id).answered.push((number, id, answer));
        self.mark(run_id);
    }

    /// Keeps what a step did, to be stored.
    pub(super) fn gather(&mut self, run_id: &str, step: Step) {
        if step.events.is_empty() && step.effects.is_empty() && step.changed.is_empty() {
            return;
        }
        let change = self.changes.of(run_id);
        for event in &step.events {
            self.env.metrics.event(event.kind);
            // Events are made of texts and numbers.
            change
                .events
                .push(serde_json::to_vec(event).unwrap_or_default());
        }
        change.changed.extend(step.changed);
        change.blobs.extend(step.blobs);
        for effect in step.effects {
            self.effect(run_id, effect);
        }
        self.mark(run_id);
    }

    fn effect(&mut self, run_id: &str, effect: Effect) {
        let change = self.changes.of(run_id);
        match effect {
            Effect::SubmitJob(request) => {
                let key = request.key.clone();
                change.submit.push(key.clone());
                let queue = self.env.queue.queue(request.queue.as_deref());
                if let Some(active) = self.runs.get_mut(run_id) {
                    let (request, state) = (Arc::new(request), JobState::Unstored);
                    active.jobs.insert(key, NodeJob { request, state });
                }
                self.read_queue(queue);
            }
            Effect::CancelJob { key, queue } => {
                change.cancel_job(key.clone(), queue);
                self.job_over(run_id, &key);
            }
            Effect::SetTimer { key, due_at } => {
                change.set_timer(key, due_at);
                let in_ms = due_at.saturating_sub(clock::now());
                let due = Instant::now() + std::time::Duration::from_millis(in_ms.min(86_400_000));
                self.timers.by(due);
            }
            Effect::ClearTimer { key } => change.clear_timer(key),
            Effect::OpenApproval(request) => self.open_approval(run_id, request),
            Effect::CloseApproval { key } => change.close_approval(key),
            Effect::StartChild(request) => match request.workflow {
                Value::String(_) => change.outgoing.push(Outgoing::StartChild(request)),
                _ => self.start_inline_child(run_id, request),
            },
            Effect::CancelChild { key } => {
                change.commands.push(super::children::cancel(&key));
            }
        }
    }

    /// Notes that something of a run waits to be stored.
    pub(super) fn mark(&mut self, run_id: &str) {
        if let Some(active) = self.runs.get_mut(run_id) {
            active.unstored = true;
        }
    }
}

/// The input that a command is.
fn input_of(kind: &str, mut body: Value) -> Result<Input, (String, String)> {
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    Ok(match kind {
        "signal" => Input::Signal {
            name: text("name"),
            payload: body["payload"].take(),
        },
        "patch" => {
            let read: Result<PatchRequest, _> = serde_json::from_value(body);
            Input::Patch(read.map_err(|error| ("/".to_owned(), error.to_string()))?)
        }
        "patch_decided" => Input::PatchDecided {
            seq: body["seq"].as_u64().unwrap_or_default(),
            approved: body["approved"] == true,
            by: text("by"),
        },
        "cancel" => Input::Cancel {
            by: text("by"),
            reason: text("reason"),
        },
        "terminate" => Input::Terminate {
            by: text("by"),
            reason: text("reason"),
        },
        "pause" => Input::Pause { by: text("by") },
        "resume" => Input::Resume { by: text("by") },
        "retry" => Input::Retry { by: text("by") },
        "decided" => Input::Decided {
            key: text("key"),
            approved: body["approved"] == true,
            by: text("by"),
            data: body["data"].take(),
        },
        "child_ended" => super::children::ended_input(&mut body),
        other => {
            let message = format!("{other:?} is no command");
            return Err(("/kind".to_owned(), message));
        }
    })
}
