//! The items of a `for_each`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    compute::item_made,
    key::RecordKey,
    machine::{Machine, backoff},
    state::{ItemStatus, Items, Wait},
};
use crate::{
    Effect, EventKind, Failure, JobRequest, Output,
    workflow::{ForEach, Item, Kind, MAX_ITEMS, Retry, Workflow},
};

impl Machine<'_> {
    fn for_each(workflow: &Workflow, at: usize) -> Option<&ForEach> {
        match &workflow.nodes[at].kind {
            Kind::ForEach(each) => Some(each),
            _ => None,
        }
    }

    pub(super) fn start_items(&mut self, at: usize) -> Result<(), String> {
        let workflow = self.workflow();
        let Some(each) = Self::for_each(&workflow, at) else {
            return Ok(());
        };
        if self.state(at).items.is_none() {
            let config = &workflow.nodes[at].config;
            // Only the items: what is done with each refers to the item.
            let written = config.value.get("items").cloned().unwrap_or_default();
            let written = if each.items.is_none() {
                let config = crate::workflow::Config {
                    refers: crate::reference::refers(&written),
                    value: Arc::new(written),
                };
                Arc::unwrap_or_clone(self.run.filled(&config, None)?)
            } else {
                written
            };
            let list = self.list(at, each.items.as_ref(), &json!({"items": written}))?;
            if list.len() > MAX_ITEMS {
                return Err(format!("{} items, at most {MAX_ITEMS}", list.len()));
            }
            let kept = self.kept(Arc::new(Value::Array(list)))?;
            let state = self.change(at);
            state.items = Some(Items::new(Arc::clone(&kept.value)));
            state.input = Some(kept);
        }
        self.change(at).wait = Wait::Items;
        self.go_on_with_items(at);
        Ok(())
    }

    /// Starts as many items as may run at a time; after the last one the node has ended.
    pub(super) fn go_on_with_items(&mut self, at: usize) {
        let workflow = self.workflow();
        let Some(each) = Self::for_each(&workflow, at) else {
            return;
        };
        while self.may_start() && self.state(at).wait == Wait::Items {
            let Some(items) = &mut self.run.nodes[at].items else {
                return;
            };
            while items
                .states
                .get(items.next)
                .is_some_and(|item| item.status != ItemStatus::Waiting)
            {
                items.next += 1;
            }
            let next = items.next;
            if items.running >= each.concurrency || next >= items.states.len() {
                break;
            }
            items.next += 1;
            items.running += 1;
            items.states[next].status = ItemStatus::Running;
            let started = self
                .count_execution()
                .and_then(|()| self.start_item(at, each, next, 0));
            if let Err(message) = started {
                let failure = Failure {
                    message,
                    retryable: false,
                };
                self.item_failed(at, next, &failure, true);
            }
        }
        self.end_items(at);
    }

    fn end_items(&mut self, at: usize) {
        let state = self.state(at);
        let Some(items) = state.items.as_ref().filter(|_| state.wait == Wait::Items) else {
            return;
        };
        if items.ended < items.states.len() {
            return;
        }
        let results = items
            .states
            .iter()
            .map(|item| match (&item.output, &item.error) {
                (Some(output), _) => (*output.value).clone(),
                (None, error) => json!({"error": error}),
            });
        let results = Arc::new(Value::Array(results.collect()));
        match self.kept(results) {
            Ok(output) => self.complete(at, output),
            Err(message) => self.fail(at, &message),
        }
    }

    fn item_key(&self, at: usize, item: usize) -> (RecordKey, String) {
        let state = self.state(at);
        let attempt = state
            .items
            .as_ref()
            .and_then(|items| items.states.get(item))
            .map_or(0, |item| item.attempt);
        let number = u32::try_from(item).unwrap_or(u32::MAX);
        let id = &self.node(at).id;
        let shown = state.item_base.saturating_add(number);
        let key = format!("{}.{id}.{shown}.{attempt}", self.run.start.run_id);
        (
            RecordKey::Item(Arc::clone(id), state.iteration, number),
            key,
        )
    }

    fn start_item(
        &mut self,
        at: usize,
        each: &ForEach,
        item: usize,
        delay_ms: u64,
    ) -> Result<(), String> {
        let Some(items) = &mut self.run.nodes[at].items else {
            return Ok(());
        };
        items.states[item].attempt += 1;
        let values = Arc::clone(&items.values);
        let value = values.get(item).unwrap_or(&Value::Null);
        let (record, key) = self.item_key(at, item);
        self.touch(record);
        match &each.item {
            Item::Workflow => {
                let request = self.run.child_of(at, key, (value, item))?;
                self.effect(Effect::StartChild(request));
            }
            Item::Node(subject) if matches!(subject.kind, Kind::Job(_)) => {
                let request = self.run.request_of(at, subject, key, Some((value, item)))?;
                self.effect(Effect::SubmitJob(JobRequest {
                    delay_ms,
                    ..request
                }));
            }
            Item::Node(subject) => {
                let made = item_made(self.run, subject, value, item)?;
                let kept = self.kept(Arc::new(made))?;
                self.item_ended(at, item, Ok(kept));
            }
        }
        Ok(())
    }

    pub(super) fn item_succeeded(&mut self, at: usize, item: usize, output: Output) {
        let kept = match output.blob {
            Some(_) => Ok(output),
            None => self.kept(output.value),
        };
        match kept {
            Ok(output) => self.item_ended(at, item, Ok(output)),
            Err(message) => {
                let failure = Failure {
                    message,
                    retryable: false,
                };
                self.item_failed(at, item, &failure, true);
            }
        }
        self.go_on_with_items(at);
    }

    fn item_ended(&mut self, at: usize, item: usize, result: Result<Output, String>) {
        let (record, _) = self.item_key(at, item);
        self.touch(record);
        let Some(items) = &mut self.run.nodes[at].items else {
            return;
        };
        items.running = items.running.saturating_sub(1);
        items.ended += 1;
        let ended = items.ended;
        let count = items.states.len();
        let state = &mut items.states[item];
        let (kind, data) = match result {
            Ok(output) => {
                state.status = ItemStatus::Completed;
                let data = json!({
                    "item": item, "attempt": state.attempt, "result_ref": output.blob,
                    "items": count, "ended": ended, "status": "completed",
                });
                state.output = Some(output);
                (EventKind::NodeCompleted, data)
            }
            Err(error) => {
                state.status = ItemStatus::Failed;
                let data = json!({
                    "item": item, "attempt": state.attempt, "error": error,
                    "items": count, "ended": ended,
                });
                state.error = Some(error);
                (EventKind::NodeFailed, data)
            }
        };
        self.note(kind, Some(at), data);
    }

    /// Whether another attempt of an item follows one that failed like this.
    pub(super) fn item_tries_again(&self, at: usize, item: usize, failure: &Failure) -> bool {
        let workflow = self.workflow();
        let each = Self::for_each(&workflow, at);
        let items = self.state(at).items.as_ref();
        let state = items.and_then(|items| items.states.get(item));
        let Some((each, state)) = each.zip(state) else {
            return false;
        };
        let counted = state.attempt.saturating_sub(state.uncounted);
        failure.retryable && counted < retry_of(each).max_attempts
    }

    pub(super) fn item_failed(&mut self, at: usize, item: usize, failure: &Failure, counts: bool) {
        let workflow = self.workflow();
        let Some(each) = Self::for_each(&workflow, at) else {
            return;
        };
        let retry = retry_of(each);
        let Some(items) = &mut self.run.nodes[at].items else {
            return;
        };
        let state = &mut items.states[item];
        if !counts {
            state.uncounted += 1;
        }
        let counted = state.attempt.saturating_sub(state.uncounted);
        let again = (failure.retryable && counted < retry.max_attempts) || !counts;
        if again && self.run.head.paused {
            let Some(items) = &mut self.run.nodes[at].items else {
                return;
            };
            items.states[item].status = ItemStatus::Waiting;
            items.running = items.running.saturating_sub(1);
            items.next = items.next.min(item);
            let (record, _) = self.item_key(at, item);
            self.touch(record);
            return;
        }
        if again {
            let delay_ms = if counts { backoff(retry, counted) } else { 0 };
            let data = json!({"error": failure.message, "item": item, "delay_ms": delay_ms});
            self.note(EventKind::NodeRetrying, Some(at), data);
            if let Err(message) = self.start_item(at, each, item, delay_ms) {
                self.item_given_up(at, each, item, &message);
            }
            return;
        }
        self.item_given_up(at, each, item, &failure.message);
    }

    fn item_given_up(&mut self, at: usize, each: &ForEach, item: usize, message: &str) {
        self.item_ended(at, item, Err(message.to_owned()));
        if !each.on_error_continue && self.state(at).wait == Wait::Items {
            self.fail(at, &format!("item {item}: {message}"));
        }
    }

    /// What has to be done so that no item goes on.
    pub(super) fn items_called_off(&mut self, at: usize) -> Vec<Effect> {
        let is_child = self.run.is_workflow_item(at);
        let queue = self.run.queue_of(at);
        let states = self.state(at).items.iter().flat_map(|items| &items.states);
        let running = states
            .enumerate()
            .filter(|(_, item)| item.status == ItemStatus::Running)
            .map(|(item, _)| item);
        let running: Vec<usize> = running.collect();
        let mut effects = Vec::new();
        for item in running {
            let (record, key) = self.item_key(at, item);
            let Some(items) = &mut self.run.nodes[at].items else {
                break;
            };
            items.states[item].status = ItemStatus::Cancelled;
            items.running = items.running.saturating_sub(1);
            self.touch(record);
            effects.push(if is_child {
                Effect::CancelChild { key }
            } else {
                Effect::CancelJob {
                    key,
                    queue: queue.clone(),
                }
            });
        }
        effects
    }
}

fn retry_of(each: &ForEach) -> Retry {
    match &each.item {
        Item::Node(subject) => subject.retry,
        // A child run has attempts of its own.
        Item::Workflow => Retry {
            max_attempts: 1,
            ..Retry::default()
        },
    }
}
