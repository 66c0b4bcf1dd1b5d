//! Approvals: who may decide, what has to come with a decision, and what it did.

use runs::{
    Approval, ApprovalFilter, ApprovalState, Decision, DecisionOutcome,
    link::{self, LinkError},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use work::SignedLink;

use super::{Workflows, body::not_found, ids};
use crate::{
    job_view::time,
    problem::{FieldProblem, Problem, ProblemKind},
};

/// Longest comment, in characters.
const MAX_COMMENT: usize = 4_096;

/// What a person says.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"approved": true, "comment": "looks good", "data": {"amount": 40}}))]
pub(crate) struct Said {
    /// Yes or no.
    #[schema(example = true)]
    pub(crate) approved: bool,
    /// Why.
    #[serde(default)]
    #[schema(nullable = false)]
    pub(crate) comment: Option<String>,
    /// What the approval's form asks for.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(crate) data: Value,
}

/// What people are asked.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!(ApprovalView::example()))]
pub(crate) struct ApprovalView {
    /// Its id.
    id: String,
    /// The run that asks.
    run_id: String,
    /// The node that asks; null for a patch that nobody's node proposed.
    node_id: Option<String>,
    /// The name that the run was started by.
    workflow_tag: Option<String>,
    /// Whose run it is.
    owner: String,
    /// What is asked.
    message: String,
    /// `pending`, `approved`, `rejected`, or `closed` when nobody decided in time.
    status: &'static str,
    /// Who may decide; everybody where it is empty.
    approvers: Vec<String>,
    /// How many have to agree.
    quorum: u64,
    /// JSON Schema of what has to come with an approval.
    #[schema(value_type = Option<Object>)]
    form: Value,
    /// What people should see: the node's inputs, or the difference that a patch makes.
    #[schema(value_type = Option<Object>)]
    context: Value,
    /// What was said so far.
    decisions: Vec<DecisionView>,
    /// How many steps of escalation were taken.
    escalated: u32,
    /// When it was asked.
    created_at: Option<String>,
    /// When its time is over.
    due_at: Option<String>,
}

/// What one person said.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionView {
    /// Yes or no.
    approved: bool,
    /// Who.
    by: String,
    /// Why.
    comment: String,
    /// What came with it.
    #[schema(value_type = Option<Object>)]
    data: Value,
    /// When.
    at: Option<String>,
}

impl ApprovalView {
    pub(crate) fn example() -> Value {
        json!({
            "id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61.ask.0",
            "run_id": "0193a7c0-f2b1-700d-8e1f-8a3c2d4e5f61", "node_id": "ask", "workflow_tag": "main",
            "owner": "test-user", "message": "Refund 40 €?", "status": "pending", "approvers": ["ada"],
            "quorum": 1, "form": null, "context": {}, "decisions": [], "escalated": 0,
            "created_at": "2026-01-02T03:04:05.678Z", "due_at": "2026-01-03T03:04:05.678Z",
        })
    }

    pub(crate) fn of(approval: &Approval) -> Self {
        let asked = &approval.asked;
        let decisions = approval.decisions.iter().map(|decision| DecisionView {
            approved: decision.approved,
            by: decision.by.clone(),
            comment: decision.comment.clone(),
            data: decision.data.clone(),
            at: time(decision.at),
        });
        Self {
            id: asked.key.clone(),
            run_id: asked.run_id.clone(),
            node_id: asked.node_id.clone(),
            workflow_tag: approval.tag.clone(),
            owner: approval.owner.clone(),
            message: asked.message.clone(),
            status: status(approval.state),
            approvers: approvers(approval),
            quorum: asked.options["quorum"].as_u64().unwrap_or(1),
            form: asked.options["form"].clone(),
            context: asked.context.clone(),
            decisions: decisions.collect(),
            escalated: approval.escalated,
            created_at: time(approval.created_at),
            due_at: asked.due_at.and_then(time),
        }
    }
}

/// The word of a state.
pub(crate) fn status(state: ApprovalState) -> &'static str {
    match state {
        ApprovalState::Pending => "pending",
        ApprovalState::Approved => "approved",
        ApprovalState::Rejected => "rejected",
        ApprovalState::Closed => "closed",
    }
}

fn approvers(approval: &Approval) -> Vec<String> {
    let named = approval.asked.options["approvers"].as_array();
    let named = named.into_iter().flatten();
    named.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Whether a person may decide.
///
/// # Errors
/// 403.
fn may_decide(approval: &Approval, person: &str) -> Result<(), Problem> {
    let refuse = |text: String| Err(Problem::new(ProblemKind::Forbidden, text));
    let approvers = approvers(approval);
    if !approvers.is_empty() && !approvers.iter().any(|name| name == person || name == "*") {
        return refuse(format!("{person:?} is not one of the approvers"));
    }
    let own = approval.asked.options["self_approval"] == false && approval.owner == person;
    match own {
        true => refuse("whose run it is may not decide here: self_approval is false".to_owned()),
        false => Ok(()),
    }
}

/// Whether what comes with an approval is what its form asks for.
///
/// # Errors
/// 422.
fn fits_form(approval: &Approval, said: &Said) -> Result<(), Problem> {
    let form = &approval.asked.options["form"];
    if form.is_null() || !said.approved {
        return Ok(());
    }
    let fits = workflow::check_form(form, &said.data);
    fits.map_err(|mistakes| {
        let first = mistakes.first().map_or("", |mistake| &mistake.message);
        let mut problem = Problem::new(
            ProblemKind::Invalid,
            format!("data does not fit the form: {first}"),
        );
        let errors = mistakes.into_iter().map(|mistake| FieldProblem {
            field: format!("/data{}", mistake.path),
            reason: mistake.message,
        });
        problem.errors = errors.collect();
        problem
    })
}

fn unknown() -> Problem {
    not_found("Approval request not found")
}

impl Workflows {
    /// An approval.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn approval(&self, id: &str) -> Result<Approval, Problem> {
        let found = self.ask(self.store().approval(id)).await;
        found.map_err(|problem| match problem.status {
            404 => unknown(),
            _ => problem,
        })
    }

    /// The approval that a node of a run asks for now, else the last that it asked for.
    ///
    /// # Errors
    /// 404.
    pub(crate) async fn approval_of(
        &self,
        run_id: &str,
        node_id: &str,
    ) -> Result<Approval, Problem> {
        let filter = ApprovalFilter {
            run_id: Some(run_id.to_owned()),
            limit: 1_000,
            ..ApprovalFilter::default()
        };
        let all = self.ask(self.store().approvals(&filter)).await?;
        let of_node = all
            .into_iter()
            .filter(|it| it.asked.node_id.as_deref() == Some(node_id));
        let last = of_node.max_by_key(|it| (it.state == ApprovalState::Pending, it.created_at));
        last.ok_or_else(unknown)
    }

    /// Takes a decision of a person.
    ///
    /// # Errors
    /// 403 when they may not, 422 when the form is not met, 409 when it was decided otherwise.
    pub(crate) async fn decide(
        &self,
        approval: &Approval,
        person: &str,
        said: Said,
    ) -> Result<Approval, Problem> {
        may_decide(approval, person)?;
        fits_form(approval, &said)?;
        let comment = said.comment.unwrap_or_default();
        if comment.chars().count() > MAX_COMMENT {
            let text = format!("comment: has to be at most {MAX_COMMENT} characters");
            return Err(Problem::new(ProblemKind::Malformed, text));
        }
        let decision = Decision {
            approved: said.approved,
            by: person.to_owned(),
            comment,
            data: said.data,
            at: ids::now(),
        };
        match self
            .ask(self.store().decide(&approval.asked.key, &decision))
            .await?
        {
            DecisionOutcome::Complete(approval)
            | DecisionOutcome::Counted(approval)
            | DecisionOutcome::Repeated(approval) => Ok(approval),
            DecisionOutcome::Refused(approval) => {
                let mut problem = Problem::new(ProblemKind::Conflict, "Approval already processed");
                let word = status(approval.state);
                problem
                    .extensions
                    .insert("approval_status".to_owned(), word.into());
                Err(problem)
            }
        }
    }

    /// Signs a link by which a person may decide.
    ///
    /// # Errors
    /// 403 where there is no secret, or the person may not decide.
    pub(crate) fn sign(
        &self,
        approval: &Approval,
        person: &str,
        until: u64,
    ) -> Result<SignedLink, Problem> {
        may_decide(approval, person)?;
        let link = self.links.sign(&approval.asked.key, person, until);
        link.ok_or_else(no_links)
    }

    /// Who decides by a link.
    ///
    /// # Errors
    /// 403 for one that was not signed here for this approval, or has expired.
    pub(crate) fn person_of(&self, approval: &str, token: &str) -> Result<String, Problem> {
        let secret = self.links.approval_secret.as_ref().ok_or_else(no_links)?;
        let link = link::verify(secret.expose(), approval, token, ids::now());
        let refuse = |error: LinkError| Problem::new(ProblemKind::Forbidden, error.to_string());
        Ok(link.map_err(refuse)?.person)
    }
}

fn no_links() -> Problem {
    let text = "there are no links of approvals here: set approval_secret to have some";
    Problem::new(ProblemKind::Forbidden, text)
}

#[cfg(test)]
mod tests {
    use runs::NewApproval;

    use super::*;

    fn approval(options: Value) -> Approval {
        Approval {
            asked: NewApproval {
                key: "r.a.0".to_owned(),
                run_id: "r".to_owned(),
                node_id: Some("a".to_owned()),
                message: "ok?".to_owned(),
                options,
                context: Value::Null,
                due_at: None,
            },
            owner: "ada".to_owned(),
            tag: None,
            state: ApprovalState::Pending,
            decisions: Vec::new(),
            escalated: 0,
            created_at: 0,
        }
    }

    #[test]
    fn only_approvers_decide_and_the_owner_only_where_that_is_allowed() {
        let anybody = approval(json!({"approvers": [], "self_approval": true}));
        assert!(may_decide(&anybody, "ada").is_ok() && may_decide(&anybody, "bob").is_ok());
        let others = approval(json!({"approvers": [], "self_approval": false}));
        assert_eq!(may_decide(&others, "ada").unwrap_err().status, 403);
        assert!(may_decide(&others, "bob").is_ok());
        let named = approval(json!({"approvers": ["bob", "ada"], "self_approval": false}));
        for (person, fits) in [
            ("bob", true),
            ("ada", false),
            ("eve", false),
            ("", false),
            ("*", false),
        ] {
            assert_eq!(may_decide(&named, person).is_ok(), fits, "{person}");
        }
    }

    #[test]
    fn an_approval_needs_what_the_form_asks_for_and_a_rejection_does_not() {
        let asked = approval(json!({"form": {"type": "object", "required": ["amount"]}}));
        let said = |approved, data| Said {
            approved,
            comment: None,
            data,
        };
        assert_eq!(
            fits_form(&asked, &said(true, json!({})))
                .unwrap_err()
                .status,
            422
        );
        assert!(fits_form(&asked, &said(true, json!({"amount": 1}))).is_ok());
        assert!(fits_form(&asked, &said(false, Value::Null)).is_ok());
    }
}
