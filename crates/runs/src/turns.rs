//! Which queued runs are taken first.

/// Queued runs of one owner that may be taken, in the order in which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnersRuns {
    /// Whose.
    pub(crate) owner: String,
    /// Their ids.
    pub(crate) runs: Vec<String>,
}

/// Takes up to `max` runs of owners in turn, and says whose came last.
pub(crate) fn in_turn(queues: Vec<OwnersRuns>, max: usize) -> (Vec<String>, Option<String>) {
    let mut queues: Vec<_> = queues
        .into_iter()
        .map(|queue| (queue.owner, queue.runs.into_iter()))
        .collect();
    let (mut taken, mut last) = (Vec::new(), None);
    loop {
        let before = taken.len();
        for (owner, runs) in &mut queues {
            if taken.len() == max {
                return (taken, last);
            }
            if let Some(run) = runs.next() {
                taken.push(run);
                last = Some(owner.clone());
            }
        }
        if taken.len() == before {
            return (taken, last);
        }
    }
}

/// How many runs of each of so many owners are looked at, to take `max` in all.
pub(crate) fn look_ahead(owners: usize, max: usize) -> usize {
    match owners {
        0..=4 => max,
        _ => (2 * max).div_ceil(owners).max(8).min(max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(owner: &str, runs: &[&str]) -> OwnersRuns {
        OwnersRuns {
            owner: owner.to_owned(),
            runs: runs.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn owners_are_served_in_turn_and_the_last_one_is_named() {
        let queues = || {
            vec![
                queue("a", &["a1", "a2", "a3", "a4"]),
                queue("b", &["b1"]),
                queue("c", &["c1", "c2"]),
            ]
        };
        let (taken, last) = in_turn(queues(), 5);
        assert_eq!(taken, ["a1", "b1", "c1", "a2", "c2"]);
        assert_eq!(last.as_deref(), Some("c"));
        let (taken, _) = in_turn(queues(), 100);
        assert_eq!(taken.len(), 7);
        assert_eq!(in_turn(Vec::new(), 3), (Vec::new(), None));
    }
}
