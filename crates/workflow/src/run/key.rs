//! Keys of jobs, timers, approvals and children, and of records.

use std::sync::Arc;

/// What a key of a run names, after `RUN.`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Key<'k> {
    /// `NODE.ITERATION`: an approval.
    Approval(&'k str, u32),
    /// `NODE.ITERATION.ATTEMPT`: a job or a child. Of a `for_each`, the iteration is the item.
    Job(&'k str, u32, u32),
    /// `NODE.ITERATION.cATTEMPT`: a job that undoes.
    Undo(&'k str, u32, u32),
    /// `NODE.ITERATION.timer`.
    Timer(&'k str, u32),
    /// `NODE.ITERATION.deadline`.
    Deadline(&'k str, u32),
    /// `@deadline`: of the run.
    RunDeadline,
    /// `@patch.SEQ`: the approval of a patch.
    Patch(u64),
}

impl<'k> Key<'k> {
    pub(super) fn read(run_id: &str, key: &'k str) -> Option<Self> {
        let rest = key.strip_prefix(run_id)?.strip_prefix('.')?;
        if rest == "@deadline" {
            return Some(Self::RunDeadline);
        }
        if let Some(seq) = rest.strip_prefix("@patch.") {
            return seq.parse().ok().map(Self::Patch);
        }
        let mut parts = rest.split('.');
        let (node, iteration) = (parts.next()?, parts.next()?.parse().ok()?);
        let last = parts.next();
        if parts.next().is_some() {
            return None;
        }
        Some(match last {
            None => Self::Approval(node, iteration),
            Some("timer") => Self::Timer(node, iteration),
            Some("deadline") => Self::Deadline(node, iteration),
            Some(last) => match last.strip_prefix('c') {
                Some(attempt) => Self::Undo(node, iteration, attempt.parse().ok()?),
                None => Self::Job(node, iteration, last.parse().ok()?),
            },
        })
    }
}

/// What a record is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecordKey {
    Start,
    Node(Arc<str>, u32),
    Item(Arc<str>, u32, u32),
    Patch(u64),
    Signal(u32),
}

impl RecordKey {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Start => "start".to_owned(),
            Self::Node(id, iteration) => format!("n/{id}/{iteration}"),
            Self::Item(id, iteration, item) => format!("i/{id}/{iteration}/{item}"),
            Self::Patch(seq) => format!("p/{seq}"),
            Self::Signal(number) => format!("s/{number}"),
        }
    }

    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let kind = parts.next()?;
        let mut next = || parts.next();
        Some(match kind {
            "start" => Self::Start,
            "n" => Self::Node(next()?.into(), next()?.parse().ok()?),
            "i" => Self::Item(next()?.into(), next()?.parse().ok()?, next()?.parse().ok()?),
            "p" => Self::Patch(next()?.parse().ok()?),
            "s" => Self::Signal(next()?.parse().ok()?),
            _ => return None,
        })
    }
}
