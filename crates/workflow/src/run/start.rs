//! A node is started.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Run,
    machine::Machine,
    state::{Decision, Wait},
};
use crate::{
    ApprovalRequest, ChildRequest, Effect, EventKind, JobRequest, NodeStatus, Output, blob,
    expression::{Context, Expression, parse_time},
    reference::{self, Sources},
    workflow::{Config, Item, Kind, Subject, approval_options, length},
};

/// Most nodes and items that a run may start.
pub(super) const MAX_EXECUTIONS: u32 = 100_000;
/// Largest context of a question to people, bytes.
const MAX_CONTEXT: usize = 64 << 10;
/// How long an attempt may take if nothing says it.
const MINUTE: u64 = 60_000;

impl Machine<'_> {
    pub(super) fn start(&mut self, at: usize) {
        let workflow = self.workflow();
        let node = &workflow.nodes[at];
        let now = self.now;
        let deadline = node.deadline_ms.map(|ms| now.saturating_add(ms));
        let state = self.change(at);
        state.status = NodeStatus::Running;
        state.started_at = Some(now);
        state.deadline = deadline;
        let data = json!({"type": kind_name(&node.kind), "iteration": state.iteration});
        self.note(EventKind::NodeStarted, Some(at), data);
        if let Err(message) = self.count_execution() {
            return self.fail(at, &message);
        }
        if let Some(due_at) = deadline {
            let key = self.key(at, ".deadline");
            self.effect(Effect::SetTimer { key, due_at });
        }
        if let Err(message) = self.start_kind(at, &node.kind) {
            self.fail(at, &message);
        }
    }

    pub(super) fn count_execution(&mut self) -> Result<(), String> {
        self.run.head.executions += 1;
        if self.run.head.executions > MAX_EXECUTIONS {
            return Err(format!(
                "the run has started {MAX_EXECUTIONS} nodes, which is the most"
            ));
        }
        Ok(())
    }

    fn start_kind(&mut self, at: usize, kind: &Kind) -> Result<(), String> {
        match kind {
            Kind::Job(_) => {
                self.fill_in(at)?;
                self.next_attempt(at, 0);
            }
            Kind::Loop(repeat) if repeat.is_job => {
                self.fill_in(at)?;
                self.next_attempt(at, 0);
            }
            Kind::SubWorkflow => {
                self.fill_in(at)?;
                self.next_attempt(at, 0);
            }
            Kind::Hitl => self.ask(at)?,
            Kind::Timer => self.set_timer(at)?,
            Kind::Signal => self.await_signal(at)?,
            Kind::ForEach(_) => self.start_items(at)?,
            Kind::Conditional { .. }
            | Kind::Loop(_)
            | Kind::Transform(_)
            | Kind::Filter { .. }
            | Kind::Aggregate { .. }
            | Kind::Pass => {
                let output = self.computed(at)?;
                self.complete(at, output);
            }
        }
        Ok(())
    }

    /// Fills in the configuration, and notes it where it is another one.
    fn fill_in(&mut self, at: usize) -> Result<Arc<Value>, String> {
        let node = self.node(at);
        let mut config = match &node.kind {
            Kind::SubWorkflow => self.run.child_config(at, None)?,
            _ => self.run.filled(&node.config, None)?,
        };
        let is_first_agent = node.is_agent && node.incoming.is_empty();
        if let Some(task) = self
            .run
            .start
            .inputs
            .get("task")
            .filter(|task| !task.is_null())
            && is_first_agent
        {
            let mut replaced = (*config).clone();
            if let Value::Object(fields) = &mut replaced {
                fields.insert("task".to_owned(), task.clone());
            }
            config = Arc::new(replaced);
        }
        if !Arc::ptr_eq(&config, &self.node(at).config.value) {
            let kept = self.kept(Arc::clone(&config))?;
            self.change(at).input = Some(kept);
        }
        Ok(config)
    }

    /// A value that the engine made, as a blob if it is large.
    pub(super) fn kept(&mut self, value: Arc<Value>) -> Result<Output, String> {
        let (output, content) = blob::output(value)?;
        if let (Some(id), Some(content)) = (&output.blob, content)
            && !self.step.blobs.iter().any(|(known, _)| known == id)
        {
            self.step.blobs.push((id.clone(), content));
        }
        Ok(output)
    }

    fn ask(&mut self, at: usize) -> Result<(), String> {
        let config = self.fill_in(at)?;
        let approval = approval_options(&config)
            .map_err(|mistake| format!("config{}: {}", mistake.path, mistake.message))?;
        let due_at = self.now.saturating_add(approval.timeout_ms);
        let context = self.run.input(at).value;
        let context = if length(&context) > MAX_CONTEXT {
            json!({"too_large": true})
        } else {
            (*context).clone()
        };
        let key = self.key(at, "");
        let state = self.change(at);
        state.status = NodeStatus::WaitingForApproval;
        state.wait = Wait::Approval;
        let data = json!({"message": approval.message, "key": key, "due_at": due_at});
        self.note(EventKind::ApprovalRequired, Some(at), data);
        let node_id = Some(self.node(at).id.to_string());
        self.effect(Effect::OpenApproval(ApprovalRequest {
            key,
            node_id,
            message: approval.message,
            options: approval.options,
            context,
            due_at: Some(due_at),
        }));
        Ok(())
    }

    fn set_timer(&mut self, at: usize) -> Result<(), String> {
        let config = self.fill_in(at)?;
        let due_at = match (config.get("duration_ms"), config.get("until")) {
            (Some(duration), _) => {
                let ms = duration
                    .as_u64()
                    .ok_or("`duration_ms` is no whole number")?;
                self.now.saturating_add(ms)
            }
            (None, Some(Value::String(text))) => parse_time(text)
                .and_then(|nanos| u64::try_from(nanos.max(0) / 1_000_000).ok())
                .ok_or_else(|| format!("`until` is no time as of RFC 3339: {text}"))?,
            (None, Some(until)) => until.as_u64().ok_or("`until` is no time")?,
            (None, None) => return Err("`duration_ms` or `until` is missing".to_owned()),
        };
        if due_at <= self.now {
            self.fired(at);
            return Ok(());
        }
        let key = self.key(at, ".timer");
        self.change(at).wait = Wait::Timer;
        self.note(EventKind::TimerSet, Some(at), json!({"due_at": due_at}));
        self.effect(Effect::SetTimer { key, due_at });
        Ok(())
    }

    pub(super) fn fired(&mut self, at: usize) {
        let value = json!({"status": "fired", "fired_at": self.now});
        self.note(EventKind::TimerFired, Some(at), Value::Null);
        self.complete(at, Output::inline(value));
    }

    fn await_signal(&mut self, at: usize) -> Result<(), String> {
        let config = self.fill_in(at)?;
        let name = config
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if let Some(payload) = self.early_signal(name) {
            self.received(at, name, &payload);
            return Ok(());
        }
        self.change(at).wait = Wait::Signal;
        if let Some(ms) = config.get("timeout_ms").and_then(Value::as_u64) {
            let key = self.key(at, ".timer");
            let due_at = self.now.saturating_add(ms);
            self.effect(Effect::SetTimer { key, due_at });
        }
        Ok(())
    }

    pub(super) fn child_request(&mut self, at: usize) -> Option<Effect> {
        let state = self.state(at);
        let config = state.input.as_ref().map_or_else(
            || Arc::clone(&self.node(at).config.value),
            |input| Arc::clone(&input.value),
        );
        let key = self.key(at, format_args!(".{}", state.attempt));
        self.note(EventKind::ChildStarted, Some(at), json!({"key": key}));
        Some(Effect::StartChild(ChildRequest {
            key,
            node_id: self.node(at).id.to_string(),
            workflow: config.get("workflow").cloned().unwrap_or_default(),
            inputs: config.get("inputs").cloned().unwrap_or_else(|| json!({})),
            priority: self.run.priority_of(at),
        }))
    }
}

/// The word of a kind, for people.
fn kind_name(kind: &Kind) -> &'static str {
    match kind {
        Kind::Job(name) => name,
        Kind::Hitl => "hitl",
        Kind::Conditional { .. } => "conditional",
        Kind::Loop(_) => "loop",
        Kind::ForEach(_) => "for_each",
        Kind::SubWorkflow => "sub_workflow",
        Kind::Timer => "timer",
        Kind::Signal => "signal",
        Kind::Transform(_) => "transform",
        Kind::Filter { .. } => "filter",
        Kind::Aggregate { .. } => "aggregate",
        Kind::Pass => "noop",
    }
}

impl Run {
    /// What a reference or `ctx` to a node means: its output, or that of an iteration before.
    pub(super) fn output_of(&self, id: &str) -> Option<&Output> {
        let state = &self.nodes[self.workflow.find(id)?];
        state.output.as_ref().or(state.last.as_ref())
    }

    /// A configuration, filled in.
    pub(super) fn filled(
        &self,
        config: &Config,
        item: Option<(&Value, usize)>,
    ) -> Result<Arc<Value>, String> {
        if !config.refers {
            return Ok(Arc::clone(&config.value));
        }
        let node = |id: &str| self.output_of(id).map(|output| Arc::clone(&output.value));
        let sources = Sources {
            node: &node,
            inputs: &self.start.inputs,
            run: &self.about,
            item,
        };
        reference::fill(&config.value, &sources).map(Arc::new)
    }

    /// Evaluates an expression for a node.
    pub(super) fn evaluate(
        &self,
        expression: &Expression,
        variables: &[(&str, &Value)],
    ) -> Result<Value, String> {
        let nodes = |id: &str| self.output_of(id).map(|output| output.value.as_ref());
        let mut all = vec![("inputs", &self.start.inputs), ("run", &self.about)];
        all.extend(variables);
        expression.evaluate_in(&Context {
            variables: &all,
            nodes: Some(&nodes),
        })
    }

    /// Whether a condition holds after a node.
    pub(super) fn holds(&self, condition: &Expression, at: usize) -> Result<bool, String> {
        let output = self.nodes[at].output.as_ref();
        let value = output.map_or(&Value::Null, |output| output.value.as_ref());
        let nodes = |id: &str| self.output_of(id).map(|output| output.value.as_ref());
        let variables = [
            ("output", value),
            ("input", value),
            ("inputs", &self.start.inputs),
            ("run", &self.about),
        ];
        condition.holds(&Context {
            variables: &variables,
            nodes: Some(&nodes),
        })
    }

    /// What comes to a node: the output of the node before it, or an object of several by their ids; of a first
    /// node the inputs of the run.
    pub(super) fn input(&self, at: usize) -> Output {
        let node = &self.workflow.nodes[at];
        if node.incoming.is_empty() {
            return Output::inline(self.start.inputs.clone());
        }
        let inputs = self.inputs(at);
        match inputs.as_slice() {
            [] => Output::inline(Value::Null),
            [(_, output)] => output.clone(),
            several => {
                let fields = several
                    .iter()
                    .map(|(id, output)| ((*id).to_owned(), (*output.value).clone()));
                Output::inline(Value::Object(fields.collect()))
            }
        }
    }

    /// What comes to a node by the edges that were taken, each node before it once, in the order of the edges.
    pub(super) fn inputs(&self, at: usize) -> Vec<(&str, Output)> {
        let mut inputs: Vec<(&str, Output)> = Vec::new();
        for index in &self.workflow.nodes[at].incoming {
            let edge = &self.workflow.edges[*index];
            let id = self.workflow.nodes[edge.from].id.as_ref();
            if self.edges[*index] != Decision::Taken || inputs.iter().any(|(known, _)| *known == id)
            {
                continue;
            }
            if let Some(output) = &self.nodes[edge.from].output {
                inputs.push((id, output.clone()));
            }
        }
        inputs
    }

    pub(super) fn queue_of(&self, at: usize) -> Option<String> {
        let node = &self.workflow.nodes[at];
        node.queue
            .clone()
            .or_else(|| self.workflow.options.queue.clone())
    }

    pub(super) fn priority_of(&self, at: usize) -> u8 {
        let node = self.workflow.nodes[at].priority;
        match (node, self.start.priority) {
            (Some(priority), _) => priority,
            (None, priority @ 1..=5) => priority,
            (None, _) => self.workflow.options.priority.unwrap_or(3),
        }
    }

    /// The request of the job that a node waits for.
    pub(super) fn request(&self, at: usize) -> Option<JobRequest> {
        let node = &self.workflow.nodes[at];
        let state = &self.nodes[at];
        let kind = match &node.kind {
            Kind::Job(kind) => kind,
            Kind::Loop(_) => "function",
            _ => return None,
        };
        let config = state
            .input
            .as_ref()
            .map_or(&node.config.value, |input| &input.value);
        Some(JobRequest {
            key: format!(
                "{}.{}.{}.{}",
                self.start.run_id, node.id, state.iteration, state.attempt
            ),
            node_id: node.id.to_string(),
            node_type: kind.to_owned(),
            config: (**config).clone(),
            timeout_ms: node.timeout_ms.unwrap_or_else(|| usual_timeout(kind)),
            deadline: state.deadline,
            queue: self.queue_of(at),
            priority: self.priority_of(at),
            delay_ms: 0,
        })
    }

    /// The request of the job of an item, or of one that undoes a node.
    pub(super) fn request_of(
        &self,
        at: usize,
        subject: &Subject,
        key: String,
        item: Option<(&Value, usize)>,
    ) -> Result<JobRequest, String> {
        let Kind::Job(kind) = subject.kind else {
            return Err("it is no job".to_owned());
        };
        let config = self.filled(&subject.config, item)?;
        Ok(JobRequest {
            key,
            node_id: self.workflow.nodes[at].id.to_string(),
            node_type: kind.to_owned(),
            config: Arc::unwrap_or_clone(config),
            timeout_ms: subject.timeout_ms.unwrap_or_else(|| usual_timeout(kind)),
            deadline: item.and(self.nodes[at].deadline),
            queue: self.queue_of(at),
            priority: self.priority_of(at),
            delay_ms: 0,
        })
    }

    /// The workflow of a child run, and its inputs, filled in. A workflow that is written out is left as it is: what
    /// it refers to are its own nodes.
    pub(super) fn child_config(
        &self,
        at: usize,
        item: Option<(&Value, usize)>,
    ) -> Result<Arc<Value>, String> {
        let config = &self.workflow.nodes[at].config;
        if !config.refers && item.is_none() {
            return Ok(Arc::clone(&config.value));
        }
        let fill = |value: &Value| {
            let config = Config {
                refers: reference::refers(value),
                value: Arc::new(value.clone()),
            };
            self.filled(&config, item).map(Arc::unwrap_or_clone)
        };
        let inputs = match (config.value.get("inputs"), item) {
            (Some(inputs), _) => fill(inputs)?,
            (None, Some((item, index))) => json!({"item": item, "index": index}),
            (None, None) => json!({}),
        };
        let workflow = match config.value.get("workflow") {
            Some(tag @ Value::String(_)) => fill(tag)?,
            other => other.cloned().unwrap_or_default(),
        };
        Ok(Arc::new(json!({"workflow": workflow, "inputs": inputs})))
    }

    /// The request of the child run of an item.
    pub(super) fn child_of(
        &self,
        at: usize,
        key: String,
        item: (&Value, usize),
    ) -> Result<ChildRequest, String> {
        let config = self.child_config(at, Some(item))?;
        Ok(ChildRequest {
            key,
            node_id: self.workflow.nodes[at].id.to_string(),
            workflow: config["workflow"].clone(),
            inputs: config["inputs"].clone(),
            priority: self.priority_of(at),
        })
    }

    pub(super) fn is_workflow_item(&self, at: usize) -> bool {
        matches!(&self.workflow.nodes[at].kind, Kind::ForEach(each) if matches!(each.item, Item::Workflow))
    }
}

/// How long an attempt may take if nothing says it.
fn usual_timeout(kind: &str) -> u64 {
    match kind {
        "agent" => 10 * MINUTE,
        "pipeline" => 60 * MINUTE,
        _ => MINUTE,
    }
}
