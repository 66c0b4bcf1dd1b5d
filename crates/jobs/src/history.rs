//! What happened to one job. Its header carries the steps, all but those that its state tells, so
//! that the events of a job are read from its own record, however much happens in its queue.

use serde::{Deserialize, Serialize};

use crate::{
    JobId, JobStatus,
    job::Header,
    store::{JobEvent, JobState, ProgressNote},
};

/// How many steps a job carries. A task that waits for its parts makes three with each look.
const MAX_STEPS: usize = 256;

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
    /// How many steps there were before these, which it was too long for.
    dropped: u64,
    steps: Vec<(JobStatus, u64)>,
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

    /// The same with one more step.
    pub(crate) fn with(&self, status: JobStatus, at: u64) -> Self {
        let mut longer = self.clone();
        longer.push(status, at);
        longer
    }

    /// The steps of a job as a store has it.
    pub(crate) fn of(header: &Header, state: &JobState) -> Self {
        let mut history = header.history.clone();
        if history.is_empty() {
            history.begin(header);
            let last = header.ended_at.or(header.started_at);
            let last = last.unwrap_or(header.enqueued_at);
            match state {
                JobState::Waiting { status, .. } | JobState::Ended(status) => {
                    history.push(*status, last)
                }
                JobState::Queued { .. } | JobState::Running { .. } => {}
            }
        }
        // A store queues a job that waited, and leases it, without packing it anew.
        match state {
            JobState::Queued { since } if history.last() != Some(JobStatus::Queued) => {
                history.push(JobStatus::Queued, *since);
            }
            JobState::Running { started_at, .. } => history.claim(*started_at),
            JobState::Queued { .. } | JobState::Waiting { .. } | JobState::Ended(_) => {}
        }
        history
    }

    /// The steps of a job that was claimed just now.
    pub(crate) fn claimed(header: &Header, at: u64) -> Self {
        let mut history = header.history.clone();
        if history.is_empty() {
            history.begin(header);
        }
        history.claim(at);
        history
    }

    /// The steps to pack at a job's end. None when its times tell them all, as those of nearly every
    /// job do: what is not packed costs neither the store's time nor its memory.
    pub(crate) fn at_end(header: &Header, status: JobStatus, at: u64) -> Self {
        let mut told = Self::default();
        told.begin(header);
        if told == header.history {
            return Self::default();
        }
        header.history.with(status, at)
    }

    fn claim(&mut self, at: u64) {
        if self.last() != Some(JobStatus::Queued) {
            self.push(JobStatus::Queued, at);
        }
        self.push(JobStatus::Running, at);
    }

    /// What a job that was packed without its steps says of them.
    fn begin(&mut self, header: &Header) {
        self.push(JobStatus::Queued, header.enqueued_at);
        if let Some(at) = header.started_at {
            self.push(JobStatus::Running, at);
        }
    }

    fn last(&self) -> Option<JobStatus> {
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
    /// Reads up to what nobody wrote: the job is worth more than its history.
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

/// A place in a job's events: how many steps were told, and which note last. As text with a sum of
/// the job's id, since it leads nowhere in another job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EventPosition {
    steps: u64,
    notes: u64,
}

impl EventPosition {
    /// Reads a cursor; an empty one is before everything.
    pub(crate) fn read(text: &str, id: &JobId) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let (place, _) = text.split_once('-')?;
        let (steps, notes) = place.split_once('.')?;
        let place = Self {
            steps: steps.parse().ok()?,
            notes: notes.parse().ok()?,
        };
        (place.text(id) == text).then_some(place)
    }

    pub(crate) fn text(self, id: &JobId) -> String {
        let sum = xxhash_rust::xxh3::xxh3_64(id.as_str().as_bytes()) >> 32;
        format!("{}.{}-{sum:08x}", self.steps, self.notes)
    }
}

/// What is after a place.
pub(crate) struct EventsAfter {
    pub(crate) events: Vec<JobEvent>,
    /// Where what can still be told begins, when it is not all that came after the place.
    pub(crate) missed: Option<EventPosition>,
    /// Where these events lead.
    pub(crate) place: EventPosition,
    /// They are all that there are.
    pub(crate) all: bool,
}

/// A job's events after a place, at most `max`.
pub(crate) fn after(
    id: &JobId,
    history: &History,
    notes: &[ProgressNote],
    from: EventPosition,
    max: usize,
) -> EventsAfter {
    let count = history.dropped + history.steps.len() as u64;
    let mut place = from;
    // Told more than there was: of a store that came back older.
    let strange = from.steps > count;
    if strange {
        place = EventPosition::default();
    }
    let missed = strange || place.steps < history.dropped;
    place.steps = place.steps.max(history.dropped);
    // Notes are lost where the steps are not: with a process, or to an eviction.
    if notes.last().is_none_or(|last| last.number < place.notes) {
        place.notes = 0;
    }
    let mut after = EventsAfter {
        events: Vec::new(),
        missed: missed.then_some(place),
        place,
        all: true,
    };
    for (step, (status, at)) in (history.dropped + 1..).zip(&history.steps) {
        let new = step > place.steps;
        let step = new.then_some((status.as_str(), *at, None));
        let told = notes.iter().filter(|note| {
            *status == JobStatus::Running && note.since == *at && note.number > place.notes
        });
        let told = told.map(|note| ("progress", note.at, Some(note)));
        for (name, at, note) in step.into_iter().chain(told) {
            if after.events.len() == max {
                after.all = false;
                return after;
            }
            match note {
                None => after.place.steps += 1,
                Some(note) => after.place.notes = note.number,
            }
            after.events.push(JobEvent {
                cursor: after.place.text(id),
                at,
                id: id.clone(),
                name: name.to_owned(),
                data: note.map(|note| note.text.clone()),
            });
        }
    }
    after
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lane;

    fn id() -> JobId {
        JobId::new(&Lane::new("default", 0).unwrap())
    }

    fn names(after: &EventsAfter) -> Vec<&str> {
        let names = after.events.iter().map(|event| event.name.as_str());
        names.collect()
    }

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

    #[test]
    fn events_go_on_after_each_of_them_and_say_what_is_missing() {
        let (id, mut history) = (id(), History::default());
        for (status, at) in [
            (JobStatus::Queued, 1),
            (JobStatus::Running, 2),
            (JobStatus::Dead, 3),
        ] {
            history.push(status, at);
        }
        let note = |number| ProgressNote {
            number,
            since: 2,
            at: 2,
            text: number.to_string(),
        };
        let notes = [note(1), note(2)];
        let all = after(&id, &history, &notes, EventPosition::default(), 99);
        let told = ["queued", "running", "progress", "progress", "dead"];
        assert_eq!((names(&all), all.all), (told.to_vec(), true));
        for (index, event) in all.events.iter().enumerate() {
            let from = EventPosition::read(&event.cursor, &id).unwrap();
            let rest = after(&id, &history, &notes, from, 99);
            assert_eq!(rest.events, all.events[index + 1..]);
            let two = after(&id, &history, &notes, from, 2);
            assert_eq!(two.events[..], rest.events[..rest.events.len().min(2)]);
            assert_eq!((rest.missed, two.all), (None, rest.events.len() <= 2));
            assert!(
                EventPosition::read(&event.cursor, &self::id()).is_none(),
                "of another job"
            );
        }
        // A store that came back older than the cursor.
        let ahead = EventPosition { steps: 9, notes: 9 };
        let again = after(&id, &history, &notes, ahead, 99);
        assert_eq!(again.missed, Some(EventPosition::default()));
        assert_eq!(names(&again), told);
        for _ in 0..MAX_STEPS {
            history.push(JobStatus::Queued, 4);
        }
        let late = after(&id, &history, &[], EventPosition { steps: 2, notes: 0 }, 1);
        assert_eq!(late.missed, Some(EventPosition { steps: 3, notes: 0 }));
        let late = after(&id, &history, &[], late.place, 1);
        assert_eq!((late.missed, names(&late)), (None, vec!["queued"]));
    }
}
