//! The events of one job, from a cursor on. They are read from the job's own record, however much
//! happens in its queue.

use crate::{
    History, JobId, JobStatus,
    store::{JobEvent, ProgressNote},
};

/// A position in a job's events: the number of steps, and the number of the last note. Its text has
/// a checksum of the job's id, so that the cursor of another job is refused.
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
    /// The position of the oldest kept event, if some after the given position are gone.
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
    // A store that came back older has fewer steps than the cursor.
    let is_ahead = from.steps > count;
    if is_ahead {
        place = EventPosition::default();
    }
    let missed = is_ahead || place.steps < history.dropped;
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
        let progress = notes.iter().filter(|note| {
            *status == JobStatus::Running && note.since == *at && note.number > place.notes
        });
        let progress = progress.map(|note| ("progress", note.at, Some(note)));
        for (name, at, note) in step.into_iter().chain(progress) {
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
    use crate::{Lane, history::MAX_STEPS};

    fn id() -> JobId {
        JobId::new(&Lane::new("default", 0).unwrap())
    }

    fn names(after: &EventsAfter) -> Vec<&str> {
        let names = after.events.iter().map(|event| event.name.as_str());
        names.collect()
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
        let expected = ["queued", "running", "progress", "progress", "dead"];
        assert_eq!((names(&all), all.all), (expected.to_vec(), true));
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
        assert_eq!(names(&again), expected);
        for _ in 0..MAX_STEPS {
            history.push(JobStatus::Queued, 4);
        }
        let late = after(&id, &history, &[], EventPosition { steps: 2, notes: 0 }, 1);
        assert_eq!(late.missed, Some(EventPosition { steps: 3, notes: 0 }));
        let late = after(&id, &history, &[], late.place, 1);
        assert_eq!((late.missed, names(&late)), (None, vec!["queued"]));
    }
}
