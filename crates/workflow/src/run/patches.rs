//! The graph of a run is changed while it runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    Refusal,
    key::RecordKey,
    machine::Machine,
    patch_checks::Checked,
    state::{Decision, Patch, PatchState, Wait},
};
use crate::{
    ApprovalRequest, Effect, EventKind, Failure, NodeStatus, Output, PatchRequest,
    workflow::{PatchPolicy, approval_options},
};

/// Most patches of a run.
const MAX_PATCHES: usize = 1000;

impl Machine<'_> {
    /// Somebody wants a patch.
    pub(super) fn patch(&mut self, request: &PatchRequest) -> Result<(), Refusal> {
        self.needs_running()?;
        if self.run.head.ending.is_some() {
            return Err(Refusal::Conflict("the run is ending".to_owned()));
        }
        let node = match &request.node_id {
            None => None,
            Some(id) => {
                let at = self.run.workflow.find(id).ok_or_else(|| Refusal::Invalid {
                    path: "/node_id".to_owned(),
                    message: format!("there is no node `{id}`"),
                })?;
                if self.state(at).status != NodeStatus::Running {
                    let message = format!(
                        "`{id}` is {}: only a running node can ask for a patch",
                        self.state(at).status.as_str()
                    );
                    return Err(Refusal::Conflict(message));
                }
                Some(at)
            }
        };
        let attempt = node.map_or((0, 0), |at| self.attempt_of(at));
        let same = self.run.patches.iter().find(|known| {
            node.is_some()
                && known.state == PatchState::Pending
                && known.node_id == request.node_id
                && known.attempt == attempt
                && known.operations == request.operations
        });
        if let Some(seq) = same.map(|same| same.seq) {
            self.answer(seq, None);
            return Ok(());
        }
        let checked = self.check(request)?;
        let seq = self.propose(request, attempt);
        let counts = (
            self.run.workflow.nodes_count(),
            checked.workflow.nodes_count(),
        );
        match (node, self.run.policy()) {
            (Some(_), _) => {
                let id = request.node_id.clone();
                self.note_of(
                    EventKind::PatchProposed,
                    id,
                    json!({"seq": seq, "state": "pending"}),
                );
            }
            (None, PatchPolicy::Approve) => self.ask_for(seq, None),
            (None, _) => self.apply_patch(seq, checked),
        }
        self.answer(seq, Some(counts));
        Ok(())
    }

    fn attempt_of(&self, at: usize) -> (u32, u32) {
        (self.state(at).iteration, self.state(at).attempt)
    }

    fn answer(&mut self, seq: u64, counts: Option<(usize, usize)>) {
        let Some(patch) = self.run.patch_of(seq) else {
            return;
        };
        let mut answer = json!({
            "seq": seq,
            "state": patch.state.as_str(),
            "node_id": patch.node_id,
            "op_count": patch.operations.as_array().map_or(0, Vec::len),
            "description": patch.description,
            "created_by": patch.author,
            "created_at": patch.created_at,
            "version": self.run.version(),
        });
        if let Some((old, new)) = counts {
            answer["old_nodes"] = json!(old);
            answer["new_nodes"] = json!(new);
        }
        self.step.answer = Some(answer);
    }

    fn propose(&mut self, request: &PatchRequest, attempt: (u32, u32)) -> u64 {
        let seq = u64::try_from(self.run.patches.len()).unwrap_or(u64::MAX) + 1;
        self.run.patches.push(Patch {
            seq,
            state: PatchState::Pending,
            node_id: request.node_id.clone(),
            attempt,
            operations: request.operations.clone(),
            description: request.description.clone(),
            author: request.author.clone(),
            created_at: self.now,
            applied: None,
            agents: 0,
            reason: None,
        });
        self.touch(RecordKey::Patch(seq));
        seq
    }

    fn check(&self, request: &PatchRequest) -> Result<Checked, Refusal> {
        if self.run.policy() == PatchPolicy::Deny {
            let message = "this workflow does not allow patches: `patches` is `deny`";
            return Err(Refusal::Conflict(message.to_owned()));
        }
        if self.run.patches.len() >= MAX_PATCHES {
            let message = format!("a run has at most {MAX_PATCHES} patches");
            return Err(Refusal::Conflict(message));
        }
        let version = self.run.version();
        if let Some(expected) = request.if_version.filter(|expected| *expected != version) {
            let message = format!("the graph has version {version}, not {expected}");
            return Err(Refusal::Conflict(message));
        }
        self.run.check_operations(&request.operations, self.limits)
    }

    /// Asks a person whether a patch may be applied.
    fn ask_for(&mut self, seq: u64, at: Option<usize>) {
        let Some(patch) = self.run.patches.iter_mut().find(|patch| patch.seq == seq) else {
            return;
        };
        patch.state = PatchState::Proposed;
        let asks = self.run.workflow.options.patch_approval.clone();
        // As a `hitl` without a configuration.
        let asks = asks.or_else(|| approval_options(&json!({})).ok());
        let due_at = asks
            .as_ref()
            .map(|asks| self.now.saturating_add(asks.timeout_ms));
        let request = ApprovalRequest {
            key: format!("{}.@patch.{seq}", self.run.start.run_id),
            node_id: patch.node_id.clone(),
            message: if patch.description.is_empty() {
                format!("Patch {seq} of the run")
            } else {
                patch.description.clone()
            },
            options: asks.map(|asks| asks.options).unwrap_or_default(),
            context: json!({
                "patch": seq, "operations": patch.operations, "author": patch.author,
                "version": 0,
            }),
            due_at,
        };
        let mut request = request;
        request.context["version"] = json!(self.run.version());
        let data = json!({"seq": seq, "state": "proposed"});
        self.note(EventKind::PatchProposed, at, data);
        let data = json!({
            "message": request.message, "key": request.key, "patch": seq, "due_at": due_at,
        });
        self.note(EventKind::ApprovalRequired, at, data);
        self.touch(RecordKey::Patch(seq));
        self.effect(Effect::OpenApproval(request));
    }

    pub(super) fn patch_decided(
        &mut self,
        seq: u64,
        approved: bool,
        by: &str,
    ) -> Result<(), Refusal> {
        let open = self
            .run
            .patch_of(seq)
            .filter(|patch| patch.state == PatchState::Proposed);
        let Some(patch) = open.filter(|_| !self.is_final()) else {
            return Err(Refusal::Conflict(format!("patch {seq} is not open")));
        };
        let operations = patch.operations.clone();
        let asker = patch.node_id.clone();
        let data = json!({"approved": approved, "by": by, "patch": seq});
        self.note_of(EventKind::ApprovalDecided, asker.clone(), data);
        if approved {
            self.try_patch(seq, &operations);
        } else {
            let reason = match by {
                "" => "nobody decided in time".to_owned(),
                by => format!("`{by}` refused it"),
            };
            self.refuse_patch(seq, &reason);
        }
        self.answer(seq, None);
        // The node that asked waited for that; its place may be another one now.
        let asker = asker.and_then(|id| self.run.workflow.find(&id));
        if let Some(at) = asker.filter(|at| self.state(*at).wait == Wait::Patch) {
            self.after_patches(at);
        }
        Ok(())
    }

    fn after_patches(&mut self, at: usize) {
        let id = self.node(at).id.to_string();
        let open = self.run.patches.iter().any(|patch| {
            patch.state == PatchState::Proposed && patch.node_id.as_ref() == Some(&id)
        });
        if open {
            return;
        }
        let output = self.state(at).output.clone();
        self.complete(
            at,
            output.unwrap_or(Output {
                value: Arc::new(Value::Null),
                blob: None,
            }),
        );
    }

    /// A node succeeded: what it asked for counts now.
    pub(super) fn complete_with_patches(
        &mut self,
        at: usize,
        output: Output,
        patch: Option<PatchRequest>,
    ) {
        let attempt = self.attempt_of(at);
        if let Some(mut request) = patch {
            request.node_id = Some(self.node(at).id.to_string());
            match self.check(&request) {
                Ok(_) => drop(self.propose(&request, attempt)),
                Err(Refusal::Invalid { path, message }) if path.starts_with("/limits") => {
                    let failure = Failure {
                        message: format!("its patch is refused: {message}"),
                        retryable: false,
                    };
                    return self.fail_attempt(at, &failure, true);
                }
                Err(refusal) => {
                    let seq = self.propose(&request, attempt);
                    self.refuse_patch(seq, &refusal.to_string());
                }
            }
        }
        let id = self.node(at).id.to_string();
        let mine = self.run.patches.iter().filter(|patch| {
            patch.state == PatchState::Pending
                && patch.attempt == attempt
                && patch.node_id.as_ref() == Some(&id)
        });
        let mine: Vec<(u64, Value)> = mine
            .map(|patch| (patch.seq, patch.operations.clone()))
            .collect();
        if mine.is_empty() {
            return self.complete(at, output);
        }
        if self.run.policy() == PatchPolicy::Approve {
            let state = self.change(at);
            state.output = Some(output);
            state.status = NodeStatus::WaitingForApproval;
            state.wait = Wait::Patch;
            for (seq, _) in mine {
                self.ask_for(seq, Some(at));
            }
            return;
        }
        for (seq, operations) in mine {
            self.try_patch(seq, &operations);
        }
        // Its place may be another one now.
        if let Some(at) = self.run.workflow.find(&id) {
            self.complete(at, output);
        }
    }

    /// An attempt of a node failed: what it asked for does not count.
    pub(super) fn drop_patches(&mut self, at: usize, reason: &str) {
        if self.run.patches.is_empty() {
            return;
        }
        let id = self.node(at).id.to_string();
        self.close_patches(Some(&id), &format!("its node did not succeed: {reason}"));
    }

    pub(super) fn close_proposals(&mut self, reason: &str) {
        self.close_patches(None, reason);
    }

    /// Refuses what is open: all of it, or what one node asked for.
    fn close_patches(&mut self, of: Option<&str>, reason: &str) {
        let open = self.run.patches.iter().filter(|patch| {
            matches!(patch.state, PatchState::Pending | PatchState::Proposed)
                && of.is_none_or(|of| patch.node_id.as_deref() == Some(of))
        });
        let open: Vec<(u64, bool)> = open
            .map(|patch| (patch.seq, patch.state == PatchState::Proposed))
            .collect();
        for (seq, proposed) in open {
            if proposed {
                let key = format!("{}.@patch.{seq}", self.run.start.run_id);
                self.effect(Effect::CloseApproval { key });
            }
            self.refuse_patch(seq, reason);
        }
    }

    fn refuse_patch(&mut self, seq: u64, reason: &str) {
        let Some(patch) = self.run.patches.iter_mut().find(|patch| patch.seq == seq) else {
            return;
        };
        patch.state = PatchState::Refused;
        patch.reason = Some(reason.to_owned());
        let node_id = patch.node_id.clone();
        self.touch(RecordKey::Patch(seq));
        let data = json!({"seq": seq, "reason": reason});
        self.note_of(EventKind::PatchRefused, node_id, data);
    }

    /// Applies a patch, if it still can be.
    fn try_patch(&mut self, seq: u64, operations: &Value) {
        match self.run.check_operations(operations, self.limits) {
            Ok(checked) => self.apply_patch(seq, checked),
            Err(refusal) => self.refuse_patch(seq, &refusal.to_string()),
        }
    }

    fn apply_patch(&mut self, seq: u64, checked: Checked) {
        let number = self.run.version();
        let Some(patch) = self.run.patches.iter_mut().find(|patch| patch.seq == seq) else {
            return;
        };
        patch.state = PatchState::Applied;
        patch.applied = Some(number);
        patch.agents = checked.agents;
        let node_id = patch.node_id.clone();
        self.touch(RecordKey::Patch(seq));
        let old: Vec<Arc<str>> = self
            .run
            .workflow
            .nodes
            .iter()
            .map(|node| Arc::clone(&node.id))
            .collect();
        self.run.take_graph(Arc::new(checked.workflow));
        // Nodes that were to be looked at have other places now.
        let queued = std::mem::take(&mut self.queue);
        let moved = queued
            .iter()
            .filter_map(|at| self.run.workflow.find(old.get(*at)?));
        self.queue = moved.collect();
        let data = json!({
            "seq": seq, "version": self.run.version(), "nodes": self.run.workflow.nodes_count(),
        });
        self.note_of(EventKind::PatchApplied, node_id, data);
        self.decide_new_edges();
        self.look_at_all();
    }

    /// New edges from nodes that have ended are decided at once.
    pub(super) fn decide_new_edges(&mut self) {
        let workflow = self.workflow();
        for at in 0..workflow.nodes.len() {
            let open = workflow.nodes[at]
                .outgoing
                .iter()
                .any(|edge| self.run.edges[*edge] == Decision::Open);
            if open && self.state(at).is_decided() {
                self.decide_by_end(&workflow, at);
            }
        }
    }
}
