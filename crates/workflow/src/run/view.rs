//! A run as people see it.

use std::sync::Arc;

use serde_json::Value;

use super::{
    NodeView, PatchView, Run,
    key::Key,
    state::{ItemStatus, State, Undo, Wait},
};
use crate::{
    JobRequest,
    workflow::{Item, Kind},
};

impl Run {
    /// What it answers: the output of its last node, or an object of those of its last nodes, by id.
    #[must_use]
    pub fn output(&self) -> Value {
        let nodes = self.workflow.nodes.iter().zip(&self.nodes);
        let mut last = nodes.filter_map(|(node, state)| {
            let output = state.output.as_ref()?;
            let leads_on = node.outgoing.iter().any(|edge| {
                let to = self.workflow.edges[*edge].to;
                self.nodes[to].output.is_some()
            });
            (!leads_on).then_some((node.id.as_ref(), output))
        });
        match (last.next(), last.next()) {
            (None, _) => Value::Null,
            (Some((_, output)), None) => (*output.value).clone(),
            (Some(first), Some(second)) => [first, second]
                .into_iter()
                .chain(last)
                .map(|(id, output)| (id.to_owned(), (*output.value).clone()))
                .collect(),
        }
    }

    /// Each node that has begun, or was decided.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeView> {
        let mut views = Vec::new();
        for (node, state) in self.workflow.nodes.iter().zip(&self.nodes) {
            let past = self
                .past
                .range((Arc::clone(&node.id), 0)..(Arc::clone(&node.id), state.iteration));
            let all = past.map(|(_, state)| state).chain([state]);
            for state in all.filter(|state| state.status != crate::NodeStatus::NotExecuted) {
                views.push(view(&node.id, &node.config.value, &node.kind, state));
            }
        }
        views
    }

    /// Ids of the nodes that run or wait.
    #[must_use]
    pub fn active_nodes(&self) -> Vec<&str> {
        let nodes = self.workflow.nodes.iter().zip(&self.nodes);
        let active = nodes.filter(|(_, state)| state.is_active());
        active.map(|(node, _)| node.id.as_ref()).collect()
    }

    /// The patches.
    #[must_use]
    pub fn patches(&self) -> Vec<PatchView> {
        let patches = self.patches.iter().map(|patch| PatchView {
            seq: patch.seq,
            state: patch.state.as_str().to_owned(),
            node_id: patch.node_id.clone(),
            operations: patch.operations.clone(),
            description: patch.description.clone(),
            author: patch.author.clone(),
            created_at: patch.created_at,
            reason: patch.reason.clone(),
        });
        patches.collect()
    }

    /// Keys of the jobs that it waits for, with the queues that they name, to compare with the queue.
    #[must_use]
    pub fn jobs_in_flight(&self) -> Vec<(String, Option<String>)> {
        let run_id = &self.start.run_id;
        let mut jobs = Vec::new();
        if self.head.status.is_final() {
            return jobs;
        }
        for (at, state) in self.nodes.iter().enumerate() {
            let id = &self.workflow.nodes[at].id;
            match state.wait {
                Wait::Job => {
                    let key = format!("{run_id}.{id}.{}.{}", state.iteration, state.attempt);
                    jobs.push((key, self.queue_of(at)));
                }
                Wait::Items if !self.is_workflow_item(at) => {
                    let items = state.items.iter().flat_map(|items| &items.states);
                    for (item, known) in items.enumerate() {
                        if known.status == ItemStatus::Running {
                            let number = u32::try_from(item).unwrap_or(u32::MAX);
                            let number = state.item_base.saturating_add(number);
                            let key = format!("{run_id}.{id}.{number}.{}", known.attempt);
                            jobs.push((key, self.queue_of(at)));
                        }
                    }
                }
                _ => {}
            }
        }
        if self.head.ending.is_some() || self.nodes.iter().all(State::is_decided) {
            let undoing = self.next_to_undo().filter(|(_, _, running)| *running);
            if let Some((id, iteration, _)) = undoing
                && let Some(at) = self.workflow.find(&id)
                && let Some(state) = self.state_of(&id, iteration)
            {
                let key = format!("{run_id}.{id}.{iteration}.c{}", state.undo_attempt);
                jobs.push((key, self.queue_of(at)));
            }
        }
        jobs
    }

    /// The request of a job that it waits for, as it was made, without a delay.
    #[must_use]
    pub fn job_request(&self, key: &str) -> Option<JobRequest> {
        if self.head.status.is_final() {
            return None;
        }
        match Key::read(&self.start.run_id, key)? {
            Key::Job(id, number, attempt) => {
                let at = self.workflow.find(id)?;
                let state = &self.nodes[at];
                if let Some(items) = state.items.as_ref().filter(|_| state.wait == Wait::Items) {
                    let item = usize::try_from(number.checked_sub(state.item_base)?).ok()?;
                    let known = items.states.get(item)?;
                    let fits = known.status == ItemStatus::Running && known.attempt == attempt;
                    fits.then_some(())?;
                    let Kind::ForEach(each) = &self.workflow.nodes[at].kind else {
                        return None;
                    };
                    let Item::Node(subject) = &each.item else {
                        return None;
                    };
                    let value = items.values.get(item)?;
                    let key = key.to_owned();
                    return self.request_of(at, subject, key, Some((value, item))).ok();
                }
                let fits = state.wait == Wait::Job
                    && state.iteration == number
                    && state.attempt == attempt;
                fits.then(|| self.request(at))?
            }
            Key::Undo(id, iteration, attempt) => {
                let at = self.workflow.find(id)?;
                let state = self.state_of(id, iteration)?;
                let fits = state.undo == Undo::Running && state.undo_attempt == attempt;
                fits.then_some(())?;
                let subject = self.workflow.nodes[at].compensate.as_ref()?;
                self.request_of(at, subject, key.to_owned(), None).ok()
            }
            _ => None,
        }
    }
}

fn view(id: &str, config: &Arc<Value>, kind: &Kind, state: &State) -> NodeView {
    let input = match (&state.input, kind) {
        (Some(input), _) => Some((*input.value).clone()),
        // What was not started has no input.
        (None, _) if state.started_at.is_none() => None,
        (None, _) => Some((**config).clone())
            .filter(|config| config.as_object().is_some_and(|fields| !fields.is_empty())),
    };
    NodeView {
        node_id: id.to_owned(),
        iteration: state.iteration,
        status: state.status,
        attempt: state.attempt,
        input,
        output: state
            .output
            .as_ref()
            .map(|output| Arc::clone(&output.value)),
        blob: state.output.as_ref().and_then(|output| output.blob.clone()),
        started_at: state.started_at,
        completed_at: state.completed_at,
        error: state.error.clone(),
        metrics: state.metrics.clone(),
    }
}
