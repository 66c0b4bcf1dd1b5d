//! What happened to one job, as its header carries it.

use serde::{Deserialize, Serialize};

use crate::JobStatus;

/// How many steps a job carries. A task that waits for its parts adds three with each check.
pub(crate) const MAX_STEPS: usize = 256;

const LETTERS: [(JobStatus, char); 7] = [
    (JobStatus::Queued, 'q'),
    (JobStatus::Running, 'r'),
    (JobStatus::Scheduled, 's'),
    (JobStatus::Failed, 'f'),
    (JobStatus::Succeeded, 'S'),
    (JobStatus::Dead, 'D'),
    (JobStatus::Cancelled, 'C'),
];

/// Steps in order: the status that each led to, and when, Unix milliseconds. As text a letter and a
/// number each: the first time, then the milliseconds since the step before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct History {
    /// How many earlier steps were dropped.
    pub(crate) dropped: u64,
    pub(crate) steps: Vec<(JobStatus, u64)>,
}

impl History {
    pub(crate) const fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.dropped == 0
    }

    pub(crate) fn push(&mut self, status: JobStatus, at: u64) {
        self.steps.push((status, at));
        if self.steps.len() > MAX_STEPS {
            self.steps.remove(0);
            self.dropped += 1;
        }
    }

    pub(crate) fn last(&self) -> Option<JobStatus> {
        self.steps.last().map(|(status, _)| *status)
    }
}

impl From<History> for String {
    fn from(history: History) -> Self {
        let mut text = match history.dropped {
            0 => Self::new(),
            dropped => format!("{dropped}:"),
        };
        let mut before = 0;
        for (status, at) in history.steps {
            let letter = LETTERS.iter().find(|(known, _)| *known == status);
            text.extend(letter.map(|(_, letter)| *letter));
            // Negative when the clocks of two machines differ.
            text += &(i128::from(at) - i128::from(before)).to_string();
            before = at;
        }
        text
    }
}

impl From<String> for History {
    /// Reads up to the first unknown step: the job is worth more than its history.
    fn from(text: String) -> Self {
        let (dropped, mut rest) = match text.split_once(':') {
            Some((dropped, rest)) => (dropped.parse().unwrap_or(0), rest),
            None => (0, text.as_str()),
        };
        let (mut steps, mut before) = (Vec::new(), 0_u64);
        while let Some(letter) = rest.chars().next() {
            let number = &rest[letter.len_utf8()..];
            let end = number.find(|c: char| !c.is_ascii_digit() && c != '-');
            let (number, after) = number.split_at(end.unwrap_or(number.len()));
            let known = LETTERS.iter().find(|(_, known)| *known == letter);
            let more: Option<i64> = number.parse().ok();
            let at = more.and_then(|more| before.checked_add_signed(more));
            let (Some((status, _)), Some(at)) = (known, at) else {
                break;
            };
            steps.push((*status, at));
            (before, rest) = (at, after);
        }
        Self { dropped, steps }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_the_same_after_they_were_text() {
        let mut history = History::default();
        let steps = LETTERS.map(|(status, _)| status);
        for (status, at) in steps
            .into_iter()
            .zip([7_000, 7_001, 6_000, u64::MAX >> 1, 1, 1, 0])
        {
            history.push(status, at);
            assert_eq!(History::from(String::from(history.clone())), history);
        }
        for _ in 0..1_000 {
            history.push(JobStatus::Queued, 5);
        }
        assert_eq!(
            (history.steps.len(), history.dropped),
            (MAX_STEPS, 1_007 - MAX_STEPS as u64)
        );
        assert_eq!(History::from(String::from(history.clone())), history);
        for strange in [
            "",
            "?",
            "q",
            "x1",
            "q1r",
            "q-1",
            "9999999999999999999999:",
            "q1é",
        ] {
            assert!(
                History::from(strange.to_owned()).steps.len() < 2,
                "{strange}"
            );
        }
    }
}
