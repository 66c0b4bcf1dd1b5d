//! Loops go back, or are left.

use std::sync::Arc;

use super::{
    machine::Machine,
    state::{Decision, Left},
};
use crate::workflow::{Kind, Path};

impl Machine<'_> {
    pub(super) fn has_left(&self, at: usize) -> bool {
        self.state(at).is_decided()
    }

    /// After a loop was left, the edges that waited for it are decided by the last iteration.
    pub(super) fn left_loop(&mut self, at: usize) {
        let workflow = self.workflow();
        let Kind::Loop(repeat) = &workflow.nodes[at].kind else {
            return;
        };
        for node in repeat.body.iter().filter(|node| **node != at) {
            if self.state(*node).is_decided() {
                self.decide_by_end(&workflow, *node);
            }
        }
    }

    /// Whether a loop goes back (`None`), or which way it is left.
    pub(super) fn repeats(&self, at: usize) -> Result<Option<Left>, String> {
        let Kind::Loop(repeat) = &self.node(at).kind else {
            return Ok(Some(Left::Break));
        };
        let holds = match &repeat.condition {
            None => true,
            Some(condition) => self.run.holds(condition, at).map_err(|error| {
                format!("the condition of the loop cannot be evaluated: {error}")
            })?,
        };
        let workflow = &self.run.workflow;
        let has_timeout_path = self
            .node(at)
            .outgoing
            .iter()
            .any(|edge| workflow.edges[*edge].path == Path::Timeout);
        Ok(
            match (holds, self.state(at).rounds + 1 < repeat.max_iterations) {
                (true, true) => None,
                (true, false) if has_timeout_path => Some(Left::Timeout),
                _ => Some(Left::Break),
            },
        )
    }

    /// All of an iteration begins again.
    pub(super) fn loop_back(&mut self, at: usize) {
        let workflow = self.workflow();
        let Kind::Loop(repeat) = &workflow.nodes[at].kind else {
            return;
        };
        let rounds = self.state(at).rounds + 1;
        for node in &repeat.body {
            self.again(*node);
            for edge in &workflow.nodes[*node].outgoing {
                self.run.edges[*edge] = Decision::Open;
            }
        }
        self.change(at).rounds = rounds;
        self.queue.push_back(repeat.back_to);
    }

    /// A node goes on to its next iteration.
    pub(super) fn again(&mut self, at: usize) {
        let next = self.state(at).next();
        let id = Arc::clone(&self.node(at).id);
        let before = std::mem::replace(&mut self.run.nodes[at], next);
        self.run.past.insert((id, before.iteration), before);
        self.change(at);
    }
}
