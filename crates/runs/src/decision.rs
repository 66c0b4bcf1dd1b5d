//! How decisions count.

use serde_json::{Value, json};

use crate::{Approval, ApprovalState, Command, Decision, DecisionOutcome, NewApproval};

impl ApprovalState {
    /// Its word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::Closed => "closed",
        }
    }

    /// The state of a word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Rejected, Self::Closed]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

impl NewApproval {
    /// How many people have to agree.
    #[must_use]
    pub fn quorum(&self) -> usize {
        let quorum = self.options["quorum"].as_u64().unwrap_or(1);
        usize::try_from(quorum).unwrap_or(usize::MAX).max(1)
    }

    /// Whether a person may decide: anybody where `approvers` is empty. `owner` is the run's, who may only where
    /// `self_approval` is.
    #[must_use]
    pub fn may_decide(&self, owner: &str, person: &str) -> bool {
        let own = self.options["self_approval"].as_bool().unwrap_or(true);
        let listed = match self.options["approvers"].as_array() {
            Some(approvers) if !approvers.is_empty() => {
                approvers.iter().any(|name| name.as_str() == Some(person))
            }
            _ => true,
        };
        listed && (own || owner != person)
    }

    /// When it needs attention, Unix milliseconds.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.options["next_at"].as_u64()
    }
}

impl Approval {
    /// Whether a person may decide; see [`NewApproval::may_decide`].
    #[must_use]
    pub fn may_decide(&self, person: &str) -> bool {
        self.asked.may_decide(&self.owner, person)
    }
}

/// Counts a decision. A command that comes with it is to be stored together with the approval.
pub(crate) fn decide(
    mut approval: Approval,
    decision: &Decision,
) -> (DecisionOutcome, Option<Command>) {
    let mut said = approval.decisions.iter();
    if let Some(before) = said.find(|before| before.by == decision.by) {
        let same = before.approved == decision.approved;
        let outcome = match same {
            true => DecisionOutcome::Repeated(approval),
            false => DecisionOutcome::Refused(approval),
        };
        return (outcome, None);
    }
    if approval.state != ApprovalState::Pending {
        return (DecisionOutcome::Refused(approval), None);
    }
    // Nobody decided: the time was over.
    let by_clock = decision.by.is_empty();
    approval.decisions.push(decision.clone());
    let agreed = approval
        .decisions
        .iter()
        .filter(|said| said.approved)
        .count();
    approval.state = match decision.approved {
        false => ApprovalState::Rejected,
        true if by_clock || agreed >= approval.asked.quorum() => ApprovalState::Approved,
        true => return (DecisionOutcome::Counted(approval), None),
    };
    let command = Command {
        run_id: approval.asked.run_id.clone(),
        // A node that is tried again asks under the same key.
        id: format!("decided:{}:{}", approval.asked.key, approval.created_at),
        kind: "decided".to_owned(),
        body: json!({
            "key": approval.asked.key,
            "approved": decision.approved,
            "by": decision.by,
            "data": {
                "comment": decision.comment,
                "data": decision.data,
                "decisions": approval.decisions.iter().map(to_json).collect::<Vec<_>>(),
            },
        }),
    };
    (DecisionOutcome::Complete(approval), Some(command))
}

/// A decision as it is kept.
pub(crate) fn to_json(decision: &Decision) -> Value {
    json!({
        "approved": decision.approved,
        "by": decision.by,
        "comment": decision.comment,
        "data": decision.data,
        "at": decision.at,
    })
}

/// A decision that was kept.
pub(crate) fn of_json(kept: &Value) -> Option<Decision> {
    Some(Decision {
        approved: kept["approved"].as_bool()?,
        by: kept["by"].as_str()?.to_owned(),
        comment: kept["comment"].as_str()?.to_owned(),
        data: kept["data"].clone(),
        at: kept["at"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approval(options: Value) -> Approval {
        Approval {
            asked: NewApproval {
                key: "run.node.0".to_owned(),
                run_id: "run".to_owned(),
                node_id: Some("node".to_owned()),
                message: "may it?".to_owned(),
                options,
                context: Value::Null,
                due_at: Some(1000),
            },
            owner: "ann".to_owned(),
            tag: None,
            state: ApprovalState::Pending,
            decisions: Vec::new(),
            escalated: 0,
            created_at: 100,
        }
    }

    fn says(by: &str, approved: bool) -> Decision {
        Decision {
            approved,
            by: by.to_owned(),
            comment: "so".to_owned(),
            data: json!({"x": 1}),
            at: 7,
        }
    }

    #[test]
    fn the_decision_that_completes_the_quorum_sends_the_command() {
        let waiting = approval(json!({"quorum": 2}));
        let (outcome, command) = decide(waiting, &says("ann", true));
        let DecisionOutcome::Counted(waiting) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(command.is_none());
        let (again, _) = decide(waiting.clone(), &says("ann", true));
        assert!(matches!(again, DecisionOutcome::Repeated(_)));
        let (opposite, _) = decide(waiting.clone(), &says("ann", false));
        assert!(matches!(opposite, DecisionOutcome::Refused(_)));
        let (outcome, command) = decide(waiting, &says("ben", true));
        let DecisionOutcome::Complete(complete) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(complete.state, ApprovalState::Approved);
        let command = command.unwrap();
        assert_eq!(command.body["approved"], true);
        assert_eq!(command.body["data"]["decisions"][0]["by"], "ann");
        let (late, _) = decide(complete.clone(), &says("cid", true));
        assert!(matches!(late, DecisionOutcome::Refused(_)));
        let (again, _) = decide(complete, &says("ben", true));
        assert!(matches!(again, DecisionOutcome::Repeated(_)));
    }

    #[test]
    fn one_rejection_completes() {
        let (outcome, command) = decide(approval(json!({"quorum": 3})), &says("ann", false));
        assert!(matches!(outcome, DecisionOutcome::Complete(_)));
        assert_eq!(command.unwrap().body["approved"], false);
    }

    #[test]
    fn approvers_are_those_that_are_listed_and_the_owner_where_that_is_allowed() {
        let anybody = approval(json!({}));
        assert!(anybody.may_decide("ann") && anybody.may_decide("ben"));
        let others = approval(json!({"self_approval": false}));
        assert!(!others.may_decide("ann") && others.may_decide("ben"));
        let listed = approval(json!({"approvers": ["ben"]}));
        assert!(!listed.may_decide("ann") && listed.may_decide("ben"));
    }

    #[test]
    fn a_decision_by_the_clock_completes_whatever_the_quorum() {
        let (outcome, command) = decide(approval(json!({"quorum": 3})), &says("", true));
        let DecisionOutcome::Complete(complete) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(complete.state, ApprovalState::Approved);
        assert_eq!(command.unwrap().body["by"], "");
        let (late, _) = decide(complete, &says("ann", true));
        assert!(matches!(late, DecisionOutcome::Refused(_)));
    }

    #[test]
    fn a_decision_is_kept_as_it_was() {
        let said = says("ann", true);
        assert_eq!(of_json(&to_json(&said)), Some(said));
        assert_eq!(of_json(&json!({"by": "ann"})), None);
    }
}
