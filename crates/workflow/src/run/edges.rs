//! Edges are decided, and decide which nodes run.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    machine::Machine,
    state::{Decision, Left, State, Wait},
};
use crate::{
    Effect, EventKind, NodeStatus, Output,
    workflow::{Join, Kind, Node, On, Path, Workflow},
};

/// How a node ended, for its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Success,
    Failure,
    /// It was skipped.
    Skipped,
    /// It was skipped because something before it failed.
    Blocked,
}

/// What the edges to a node say.
enum Verdict {
    Wait,
    Run,
    Skip,
    Block,
}

impl Machine<'_> {
    /// Decides whether a node runs, if that can be decided.
    pub(super) fn look_at(&mut self, at: usize) {
        if self.state(at).status != NodeStatus::NotExecuted || self.is_final() {
            return;
        }
        if self.run.head.ending.is_some() {
            return;
        }
        if let Kind::Loop(repeat) = &self.node(at).kind {
            // An iteration has ended when all of it has.
            let open = repeat.body.iter();
            let mut open = open.filter(|node| **node != at);
            if open.any(|node| !self.state(*node).is_decided()) {
                return;
            }
        }
        match self.verdict(at) {
            Verdict::Wait => {}
            Verdict::Run if self.may_start() => {
                self.cancel_rest(at);
                self.start(at);
            }
            Verdict::Run => {}
            Verdict::Skip => self.skip(at, false),
            Verdict::Block => self.skip(at, true),
        }
    }

    fn verdict(&self, at: usize) -> Verdict {
        let node = self.node(at);
        if node.incoming.is_empty() {
            return Verdict::Run;
        }
        let (mut open, mut taken, mut failed) = (0_usize, 0_usize, 0_usize);
        for edge in &node.incoming {
            match self.run.edges[*edge] {
                Decision::Open => open += 1,
                Decision::Taken => taken += 1,
                Decision::Failed => failed += 1,
                Decision::Skipped => {}
            }
        }
        match node.join {
            Join::Some(needed) if taken >= needed => Verdict::Run,
            _ if open > 0 => Verdict::Wait,
            Join::All if taken > 0 && failed == 0 => Verdict::Run,
            _ if failed > 0 => Verdict::Block,
            _ => Verdict::Skip,
        }
    }

    /// Calls off what leads to a join that needs it no more, and to nothing else.
    fn cancel_rest(&mut self, at: usize) {
        if !self.node(at).cancel_rest {
            return;
        }
        let workflow = self.workflow();
        let mut gone: Vec<usize> = Vec::new();
        loop {
            let next = workflow.nodes.iter().enumerate().position(|(index, node)| {
                let leads_here = |edge: &usize| {
                    let to = workflow.edges[*edge].to;
                    to == at || gone.contains(&to)
                };
                index != at
                    && !gone.contains(&index)
                    && !self.state(index).is_decided()
                    && !node.outgoing.is_empty()
                    && node.outgoing.iter().all(leads_here)
            });
            match next {
                Some(next) => gone.push(next),
                None => break,
            }
        }
        for index in gone {
            self.call_off(index, "the join after it does not need it any more");
            self.decide_edges_as(index, End::Skipped);
            self.left_loop(index);
        }
    }

    /// A node is called off; its edges are not decided by that.
    pub(super) fn call_off(&mut self, at: usize, reason: &str) {
        let effects = self.called_off(at);
        for effect in effects {
            self.effect(effect);
        }
        self.drop_patches(at, reason);
        let (now, ended) = (self.now, self.next_end());
        let state = self.change(at);
        state.status = NodeStatus::Cancelled;
        state.wait = Wait::Nothing;
        state.completed_at = Some(now);
        state.error = Some(reason.to_owned());
        state.ended = ended;
        let data = json!({"reason": reason, "iteration": state.iteration});
        self.note(EventKind::NodeCancelled, Some(at), data);
    }

    /// What has to be done so that nothing of a node goes on.
    fn called_off(&mut self, at: usize) -> Vec<Effect> {
        let queue = self.run.queue_of(at);
        let mut effects = Vec::new();
        match self.state(at).wait {
            Wait::Job => effects.push(Effect::CancelJob {
                key: self.key(at, format_args!(".{}", self.state(at).attempt)),
                queue,
            }),
            Wait::Child => effects.push(Effect::CancelChild {
                key: self.key(at, format_args!(".{}", self.state(at).attempt)),
            }),
            Wait::Timer => effects.push(Effect::ClearTimer {
                key: self.key(at, ".timer"),
            }),
            Wait::Signal => {
                // It may have no time limit: then there is nothing to clear, and nothing happens.
                effects.push(Effect::ClearTimer {
                    key: self.key(at, ".timer"),
                });
            }
            Wait::Approval => effects.push(Effect::CloseApproval {
                key: self.key(at, ""),
            }),
            Wait::Items => effects.extend(self.items_called_off(at)),
            Wait::Nothing | Wait::Pause | Wait::Patch => {}
        }
        if self.state(at).deadline.is_some() {
            effects.push(Effect::ClearTimer {
                key: self.key(at, ".deadline"),
            });
        }
        effects
    }

    pub(super) fn next_end(&mut self) -> u32 {
        self.run.head.ended += 1;
        self.run.head.ended
    }

    /// A node ended well, as long as its edges can be decided.
    pub(super) fn complete(&mut self, at: usize, output: Output) {
        let workflow = self.workflow();
        let node = &workflow.nodes[at];
        let state = self.change(at);
        state.output = Some(output);
        state.wait = Wait::Nothing;
        let mut back = false;
        if let Kind::Loop(_) = node.kind {
            match self.repeats(at) {
                Ok(None) => back = true,
                Ok(Some(left)) => self.change(at).left = Some(left),
                Err(message) => return self.fail(at, &message),
            }
        }
        let decisions = match back {
            true => Vec::new(),
            false => match self.decisions(&workflow, at, End::Success) {
                Ok(decisions) => decisions,
                Err(message) => {
                    self.change(at).output = None;
                    return self.fail(at, &message);
                }
            },
        };
        let unserved = is_unserved(node, self.state(at));
        let (now, ended) = (self.now, self.next_end());
        self.clear_deadline(at);
        let state = self.change(at);
        state.status = if unserved {
            NodeStatus::Skipped
        } else {
            NodeStatus::Completed
        };
        state.wait = Wait::Nothing;
        state.completed_at = Some(now);
        state.ended = ended;
        let data = json!({
            "status": state.status.as_str(), "iteration": state.iteration, "attempt": state.attempt,
            "result_ref": state.output.as_ref().and_then(|output| output.blob.clone()),
            "counter": self.run.in_flight(),
        });
        self.note(EventKind::NodeCompleted, Some(at), data);
        if back {
            self.loop_back(at);
        } else {
            self.decide(&workflow, at, &decisions);
            self.left_loop(at);
        }
    }

    fn clear_deadline(&mut self, at: usize) {
        if self.state(at).deadline.is_some() {
            let key = self.key(at, ".deadline");
            self.effect(Effect::ClearTimer { key });
        }
    }

    /// A node has failed for good.
    pub(super) fn fail(&mut self, at: usize, message: &str) {
        let workflow = self.workflow();
        let effects = self.called_off(at);
        for effect in effects {
            self.effect(effect);
        }
        self.drop_patches(at, message);
        let goes_on = workflow.nodes[at].on_error_continue;
        let answer = json!({
            "status": "failed", "error": message, "node_id": workflow.nodes[at].id.as_ref(),
        });
        let (now, ended) = (self.now, self.next_end());
        let state = self.change(at);
        state.status = NodeStatus::Failed;
        state.wait = Wait::Nothing;
        state.completed_at = Some(now);
        state.error = Some(message.to_owned());
        state.failure = !goes_on;
        state.handled = goes_on;
        state.left = None;
        state.ended = ended;
        state.output = Some(Output {
            value: Arc::new(answer),
            blob: None,
        });
        let data = json!({
            "error": message, "iteration": state.iteration, "attempt": state.attempt,
            "counter": self.run.in_flight(),
        });
        self.note(EventKind::NodeFailed, Some(at), data);
        let end = if goes_on { End::Success } else { End::Failure };
        let decisions = self.decisions(&workflow, at, end);
        let decisions = decisions.or_else(|message| {
            // Its edges cannot be decided either: then it is no better than without `continue`.
            let state = self.change(at);
            state.error = state
                .error
                .take()
                .map(|error| format!("{error}; {message}"));
            state.handled = false;
            state.failure = true;
            self.decisions(&workflow, at, End::Failure)
        });
        let decisions = decisions.unwrap_or_else(|_| {
            workflow.nodes[at]
                .outgoing
                .iter()
                .map(|edge| (*edge, Decision::Failed))
                .collect()
        });
        let handled = decisions.iter().any(|(edge, decision)| {
            workflow.edges[*edge].on == On::Failure && *decision == Decision::Taken
        });
        self.change(at).handled |= handled;
        self.decide(&workflow, at, &decisions);
        self.left_loop(at);
    }

    fn skip(&mut self, at: usize, failure: bool) {
        let (now, ended) = (self.now, self.next_end());
        let state = self.change(at);
        state.status = NodeStatus::Skipped;
        state.failure = failure;
        state.completed_at = Some(now);
        state.ended = ended;
        let data = json!({
            "reason": if failure { "something before it failed" } else { "no edge leads to it" },
            "iteration": state.iteration,
        });
        self.note(EventKind::NodeSkipped, Some(at), data);
        self.decide_edges_as(at, if failure { End::Blocked } else { End::Skipped });
        self.left_loop(at);
    }

    fn decide_edges_as(&mut self, at: usize, end: End) {
        let workflow = self.workflow();
        let decisions = self.decisions(&workflow, at, end).unwrap_or_default();
        self.decide(&workflow, at, &decisions);
    }

    /// Decides the edges from a node that ended: those that wait for a loop to be left, later.
    fn decide(&mut self, workflow: &Workflow, at: usize, decisions: &[(usize, Decision)]) {
        for (index, decision) in decisions {
            let edge = &workflow.edges[*index];
            let held = edge.holds.iter().any(|held| !self.has_left(*held));
            if held || self.run.edges[*index] != Decision::Open {
                continue;
            }
            self.run.edges[*index] = *decision;
            self.queue.push_back(edge.to);
        }
        for held in &workflow.nodes[at].loops {
            if *held != at {
                self.queue.push_back(*held);
            }
        }
    }

    /// Decides the open edges of a node that ended before.
    pub(super) fn decide_by_end(&mut self, workflow: &Workflow, at: usize) {
        let state = self.state(at);
        let end = match state.status {
            NodeStatus::Completed => End::Success,
            NodeStatus::Skipped if is_unserved(&workflow.nodes[at], state) => End::Success,
            NodeStatus::Failed if !state.failure => End::Success,
            NodeStatus::Failed => End::Failure,
            NodeStatus::Skipped if state.failure => End::Blocked,
            _ => End::Skipped,
        };
        let decisions = self.decisions(workflow, at, end).unwrap_or_else(|_| {
            let edges = workflow.nodes[at].outgoing.iter();
            edges.map(|edge| (*edge, Decision::Failed)).collect()
        });
        self.decide(workflow, at, &decisions);
    }

    /// What the edges of a node are, by how it ended.
    fn decisions(
        &self,
        workflow: &Workflow,
        at: usize,
        end: End,
    ) -> Result<Vec<(usize, Decision)>, String> {
        let node = &workflow.nodes[at];
        let all = |decision: fn(On) -> Decision| {
            let edges = node.outgoing.iter();
            edges
                .map(|edge| (*edge, decision(workflow.edges[*edge].on)))
                .collect()
        };
        match end {
            End::Skipped => return Ok(all(|_| Decision::Skipped)),
            End::Blocked => {
                return Ok(all(|on| match on {
                    On::Always => Decision::Taken,
                    On::Success | On::Failure => Decision::Failed,
                }));
            }
            End::Success | End::Failure => {}
        }
        let state = self.state(at);
        let failed = state.status == NodeStatus::Failed;
        let left = state.left;
        let fits = |edge: &usize| {
            let edge = &workflow.edges[*edge];
            let on = match edge.on {
                On::Always => true,
                On::Success => end == End::Success,
                On::Failure => failed,
            };
            let way = match edge.path {
                Path::Either => true,
                Path::Break => left == Some(Left::Break),
                Path::Timeout => left == Some(Left::Timeout),
            };
            on && way
        };
        let candidates: Vec<usize> = node
            .outgoing
            .iter()
            .copied()
            .filter(|edge| fits(edge))
            .collect();
        let taken = self.choose(workflow, at, &candidates)?;
        // Of a failure that an edge for failures takes care of, the others need not know.
        let handled = taken
            .iter()
            .any(|edge| workflow.edges[*edge].on == On::Failure);
        let otherwise = if end == End::Failure && !handled {
            Decision::Failed
        } else {
            Decision::Skipped
        };
        let decided = node.outgoing.iter().map(|edge| {
            let decision = if taken.contains(edge) {
                Decision::Taken
            } else if workflow.edges[*edge].on == On::Success {
                otherwise
            } else {
                Decision::Skipped
            };
            (*edge, decision)
        });
        Ok(decided.collect())
    }

    /// Which of the edges are taken, by their conditions.
    fn choose(
        &self,
        workflow: &Workflow,
        at: usize,
        candidates: &[usize],
    ) -> Result<Vec<usize>, String> {
        let node = &workflow.nodes[at];
        let conditions = candidates
            .iter()
            .any(|edge| workflow.edges[*edge].condition.is_some());
        if !conditions {
            return Ok(candidates.to_vec());
        }
        let holds = |edge: &usize| match &workflow.edges[*edge].condition {
            None => Ok(true),
            Some(condition) => self.run.holds(condition, at).map_err(|error| {
                let to = &workflow.nodes[workflow.edges[*edge].to].id;
                format!("the condition of the edge to `{to}` cannot be evaluated: {error}")
            }),
        };
        let first = match &node.kind {
            Kind::Conditional { all } => Some(!all),
            Kind::Hitl => Some(true),
            _ => None,
        };
        let Some(first) = first else {
            let mut taken = Vec::new();
            for edge in candidates {
                if holds(edge)? {
                    taken.push(*edge);
                }
            }
            return Ok(taken);
        };
        let (with, without): (Vec<usize>, Vec<usize>) = candidates
            .iter()
            .partition(|edge| workflow.edges[**edge].condition.is_some());
        let mut taken: Vec<usize> = Vec::new();
        for edge in with {
            match taken.first() {
                Some(chosen) if first => {
                    if workflow.edges[edge].condition == workflow.edges[*chosen].condition {
                        taken.push(edge);
                    }
                }
                _ => {
                    if holds(&edge)? {
                        taken.push(edge);
                    }
                }
            }
        }
        Ok(if taken.is_empty() { without } else { taken })
    }
}

/// Whether a node was a function that nobody serves.
fn is_unserved(node: &Node, state: &State) -> bool {
    let is_function = match &node.kind {
        Kind::Job(kind) => *kind == "function",
        Kind::Loop(repeat) => repeat.is_job,
        _ => false,
    };
    let output = state.output.as_ref().map(|output| output.value.as_ref());
    is_function
        && output.is_some_and(|output| {
            output.get("status").and_then(Value::as_str) == Some("skipped")
                && output.get("warning").is_some()
        })
}
