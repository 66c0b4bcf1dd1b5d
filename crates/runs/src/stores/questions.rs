//! Approvals as they are kept.

use serde_json::Value;

use crate::{Approval, ApprovalFilter, ApprovalState, Error, NewApproval, decision};

/// The most that a page has.
const MOST: usize = 1000;

/// What an unknown approval is answered with.
pub(crate) fn unknown(key: &str) -> Error {
    Error::NotFound(format!("there is no approval {key}"))
}

/// The columns of an approval.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) asked: NewApproval,
    pub(crate) owner: String,
    pub(crate) tag: Option<String>,
    pub(crate) state: String,
    pub(crate) decisions: Value,
    pub(crate) escalated: u32,
    pub(crate) created_at: u64,
}

impl Question {
    /// The approval of them.
    pub(crate) fn approval(self) -> Result<Approval, Error> {
        let damaged = || {
            Error::Damaged(format!(
                "the approval {} is of another form",
                self.asked.key
            ))
        };
        let decisions = self.decisions.as_array().ok_or_else(damaged)?;
        let decisions: Option<Vec<_>> = decisions.iter().map(decision::of_json).collect();
        Ok(Approval {
            state: ApprovalState::of(&self.state).ok_or_else(damaged)?,
            decisions: decisions.ok_or_else(damaged)?,
            asked: self.asked,
            owner: self.owner,
            tag: self.tag,
            escalated: self.escalated,
            created_at: self.created_at,
        })
    }
}

/// The decisions of an approval, as they are kept.
pub(crate) fn decisions(approval: &Approval) -> String {
    let decisions = approval.decisions.iter().map(decision::to_json);
    Value::Array(decisions.collect()).to_string()
}

/// A page of approvals that is being read: those of one person are found among all.
#[derive(Debug)]
pub(crate) struct Page {
    limit: usize,
    approver: Option<String>,
    after: Option<(u64, String)>,
    found: Vec<Approval>,
    ended: bool,
}

impl Page {
    pub(crate) fn new(filter: &ApprovalFilter, after: Option<(u64, String)>) -> Self {
        Self {
            limit: filter.limit.clamp(1, MOST),
            approver: filter.approver.clone(),
            after,
            found: Vec::new(),
            ended: false,
        }
    }

    /// After which approval the next ones are read, and how many.
    pub(crate) fn next(&self) -> Option<(Option<(u64, String)>, usize)> {
        let more = !self.ended && self.found.len() < self.limit;
        more.then(|| (self.after.clone(), self.batch()))
    }

    fn batch(&self) -> usize {
        match self.approver {
            Some(_) => MOST,
            None => self.limit - self.found.len(),
        }
    }

    /// Takes those that were read.
    pub(crate) fn take(&mut self, approvals: Vec<Approval>) {
        self.ended = approvals.len() < self.batch();
        if let Some(last) = approvals.last() {
            self.after = Some((last.created_at, last.asked.key.clone()));
        }
        let approver = self.approver.as_deref();
        let fits = |approval: &Approval| approver.is_none_or(|person| approval.may_decide(person));
        let left = self.limit - self.found.len();
        self.found
            .extend(approvals.into_iter().filter(fits).take(left));
    }

    /// The page.
    pub(crate) fn approvals(self) -> Vec<Approval> {
        self.found
    }
}
