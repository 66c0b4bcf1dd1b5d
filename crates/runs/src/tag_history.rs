//! What a tag named before, and after.

use crate::TagMove;

/// What can be undone and redone, from the moves of a tag.
#[derive(Debug, Default)]
pub(crate) struct TagHistory {
    named: Vec<u64>,
    at: usize,
}

impl TagHistory {
    /// Follows moves, the first one first.
    pub(crate) fn of(moves: &[TagMove]) -> Self {
        let mut history = Self::default();
        for step in moves {
            match step.why.as_str() {
                "undo" => history.at = history.at.saturating_sub(1),
                "redo" => history.at = (history.at + 1).min(history.named.len().saturating_sub(1)),
                _ => {
                    history.named.truncate(history.at + 1);
                    history.named.push(step.to);
                    history.at = history.named.len() - 1;
                }
            }
        }
        history
    }

    /// What it named before.
    pub(crate) fn before(&self) -> Option<u64> {
        self.named.get(self.at.checked_sub(1)?).copied()
    }

    /// What it named before the last undo.
    pub(crate) fn after(&self) -> Option<u64> {
        self.named.get(self.at + 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(steps: &[(&str, u64)]) -> Vec<TagMove> {
        let step = |(at, (why, to)): (usize, &(&str, u64))| TagMove {
            version: at as u64 + 1,
            from: None,
            to: *to,
            moved_by: "a".to_owned(),
            moved_at: 0,
            why: (*why).to_owned(),
        };
        steps.iter().enumerate().map(step).collect()
    }

    #[test]
    fn undo_goes_back_step_by_step_and_redo_forward_until_another_set() {
        let mut steps = vec![("set", 1), ("set", 2), ("set", 3)];
        let check = |steps: &[(&str, u64)], before, after| {
            let history = TagHistory::of(&moves(steps));
            assert_eq!((history.before(), history.after()), (before, after));
        };
        check(&[], None, None);
        check(&steps, Some(2), None);
        steps.push(("undo", 2));
        check(&steps, Some(1), Some(3));
        steps.push(("undo", 1));
        check(&steps, None, Some(2));
        steps.push(("redo", 2));
        check(&steps, Some(1), Some(3));
        steps.push(("set", 4));
        check(&steps, Some(2), None);
    }
}
