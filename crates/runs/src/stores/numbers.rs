//! The numbers of a commit's events.

use serde_json::Value;

use crate::{Commit, Error};

/// What the numbers of a commit's events say, beside the last one that is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// It has no events.
    None,
    /// They follow, up to this one.
    Next(u64),
    /// The commit was stored before.
    Stored,
}

/// Compares them.
pub(crate) fn check(commit: &Commit, last_seq: u64) -> Result<Numbers, Error> {
    let events = commit.runs.iter().flat_map(|run| &run.events);
    let (mut least, mut most, mut count) = (u64::MAX, 0, 0);
    for (number, _) in events {
        (least, most, count) = (least.min(*number), most.max(*number), count + 1);
    }
    if count == 0 {
        return Ok(Numbers::None);
    }
    if most <= last_seq {
        return Ok(Numbers::Stored);
    }
    if least == last_seq + 1 && most - last_seq == count {
        return Ok(Numbers::Next(most));
    }
    Err(Error::Conflict(format!(
        "shard {} has {last_seq} events, and the commit brings {count} from {least} to {most}",
        commit.shard
    )))
}

/// Events of one run that follow each other: the last number, and a JSON array of them.
pub(crate) fn ranges(events: &[(u64, Vec<u8>)]) -> Vec<(u64, Vec<u8>)> {
    let mut ranges: Vec<(u64, Vec<u8>)> = Vec::new();
    for (number, event) in events {
        match ranges.last_mut() {
            Some((last, array)) if *last + 1 == *number => {
                *last = *number;
                array.push(b',');
                array.extend_from_slice(event);
            }
            _ => ranges.push((*number, [b"[", event.as_slice()].concat())),
        }
    }
    for (_, array) in &mut ranges {
        array.push(b']');
    }
    ranges
}

/// The events of a range after a number, each with its own.
pub(crate) fn events(last: u64, array: &[u8], after: u64) -> Result<Vec<(u64, Value)>, Error> {
    let events: Vec<Value> =
        serde_json::from_slice(array).map_err(|error| Error::Damaged(error.to_string()))?;
    let count = u64::try_from(events.len()).unwrap_or(u64::MAX);
    let numbered = (last.saturating_sub(count) + 1..).zip(events);
    Ok(numbered.filter(|(number, _)| *number > after).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RunChange;

    fn commit(numbers: &[&[u64]]) -> Commit {
        let change = |numbers: &&[u64]| RunChange {
            events: numbers
                .iter()
                .map(|number| (*number, number.to_string().into_bytes()))
                .collect(),
            ..RunChange::default()
        };
        Commit {
            runs: numbers.iter().map(change).collect(),
            ..Commit::default()
        }
    }

    #[test]
    fn only_the_next_numbers_are_taken_and_old_ones_were_stored_before() {
        assert_eq!(check(&commit(&[&[]]), 7), Ok(Numbers::None));
        assert_eq!(check(&commit(&[&[8, 10], &[9]]), 7), Ok(Numbers::Next(10)));
        assert_eq!(check(&commit(&[&[6, 7]]), 7), Ok(Numbers::Stored));
        for wrong in [&[7, 8][..], &[9], &[8, 10]] {
            assert!(check(&commit(&[wrong]), 7).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn events_come_out_of_their_ranges_as_they_went_in() {
        let change = &commit(&[&[3, 4, 7]]).runs[0];
        let kept = ranges(&change.events);
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0], (4, b"[3,4]".to_vec()));
        let read = |after| events(kept[0].0, &kept[0].1, after).unwrap();
        assert_eq!(read(0), [(3, 3.into()), (4, 4.into())]);
        assert_eq!(read(3), [(4, 4.into())]);
        assert_eq!(read(4), []);
    }
}
