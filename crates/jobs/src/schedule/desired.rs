//! What a timer should be in the store, by what it is there and what the entry says.

use crate::{
    Error,
    timer::{Firing, Ownership, Timer},
};

/// How often a scheduler says of its entries that it has them, in ms.
const ENTRY_RENEWAL_MS: u64 = 20_000;
/// How long after that an entry has no owner, in ms.
pub const ENTRY_TTL_MS: u64 = 60_000;

/// Whether a scheduler has claimed it lately. A claim of the future was made by a clock that
/// jumped.
#[must_use]
pub const fn is_live(kept: Ownership, now: u64) -> bool {
    now.saturating_sub(kept.at) <= ENTRY_TTL_MS && kept.at <= now.saturating_add(ENTRY_TTL_MS)
}

/// What a timer should be in the store, by what it is there and what the entry says.
pub(super) fn desired(
    known: Option<&Timer>,
    entry: &Timer,
    since: u64,
    now: u64,
    is_verified: bool,
) -> Result<Timer, Error> {
    let ownership = Some(Ownership { since, at: now });
    let fresh = |fired: u64, last: Option<Firing>| {
        let timer = Timer {
            fired,
            last,
            ownership,
            next_at: None,
            removed: false,
            ..entry.clone()
        };
        Ok(Timer {
            next_at: timer.after(now)?,
            ..timer
        })
    };
    let Some(known) = known else {
        return fresh(0, None);
    };
    let same = known.is_same(entry);
    // Of two configurations the one that was read later counts: schedulers are changed one by one.
    let newer = known
        .ownership
        .filter(|kept| kept.since > since && is_live(*kept, now));
    if !same && newer.is_none() {
        let changed = fresh(known.fired, known.last.clone())?;
        if !known.has_times_of(entry) {
            return Ok(changed);
        }
        let next_at = known.next_at.or(changed.next_at);
        return Ok(Timer { next_at, ..changed });
    }
    let mut desired_timer = known.clone();
    let renewed = known.ownership.filter(|kept| {
        kept.at <= now.saturating_add(ENTRY_RENEWAL_MS)
            && now.saturating_sub(kept.at) < ENTRY_RENEWAL_MS
    });
    // What another one has is its to keep: when it is gone, ours comes back.
    if same && renewed.is_none() {
        let since = known.ownership.map_or(since, |kept| kept.since.min(now));
        desired_timer.ownership = Some(Ownership { since, at: now });
    }
    // A time that passed is one to fire for. One to come is what the pattern says, or the clock
    // jumped since; none may have come about likewise, which is looked at now and then.
    let look = match desired_timer.next_at {
        Some(next) => next > now && !is_verified,
        None => renewed.is_none(),
    };
    if look && !desired_timer.removed {
        desired_timer.next_at = desired_timer.next(now)?;
    }
    Ok(desired_timer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Schedule;

    fn timer(every: u64) -> Timer {
        Timer::new("t", Schedule::Every(every), "call", 1.into())
    }

    #[test]
    fn an_entry_keeps_its_place_in_time_over_restarts_and_loses_it_when_its_times_change() {
        let first = desired(None, &timer(1_000), 5, 10_000, false).unwrap();
        assert_eq!(first.next_at, Some(11_000));
        // Three restarts later it is still due for what was missed.
        let late = desired(Some(&first), &timer(1_000), 50_000, 50_000, false).unwrap();
        assert_eq!(late.next_at, Some(11_000));
        let other = Timer {
            payload: 2.into(),
            ..timer(1_000)
        };
        let other = desired(Some(&late), &other, 50_001, 50_001, false).unwrap();
        assert_eq!((&other.payload, other.next_at), (&2.into(), Some(11_000)));
        let slower = desired(Some(&other), &timer(5_000), 50_002, 50_002, false).unwrap();
        assert_eq!(slower.next_at, Some(55_002));
    }

    #[test]
    fn the_configuration_that_was_read_later_counts_while_somebody_has_it() {
        let new = desired(None, &timer(1_000), 20_000, 20_000, false).unwrap();
        let old = desired(Some(&new), &timer(9_000), 10_000, 20_500, false).unwrap();
        assert!(old.is_same(&new), "the older scheduler yields");
        let old = desired(
            Some(&new),
            &timer(9_000),
            10_000,
            20_000 + 2 * ENTRY_RENEWAL_MS,
            false,
        )
        .unwrap();
        assert_eq!(
            old.ownership, new.ownership,
            "and does not keep what it has not"
        );
        let gone = desired(
            Some(&new),
            &timer(9_000),
            10_000,
            20_000 + ENTRY_TTL_MS + 1,
            false,
        )
        .unwrap();
        assert!(gone.is_same(&timer(9_000)), "nobody has the newer one");
    }

    #[test]
    fn a_next_time_beyond_what_the_pattern_says_is_made_anew() {
        let ahead = Timer {
            next_at: Some(3_600_000),
            ownership: Some(Ownership {
                since: 3_590_000,
                at: 3_590_000,
            }),
            ..timer(1_000)
        };
        let desired_timer = desired(Some(&ahead), &timer(1_000), 10_000, 10_000, false).unwrap();
        assert_eq!(desired_timer.next_at, Some(11_000));
        assert_eq!(desired_timer.ownership.unwrap().at, 10_000);
    }

    #[test]
    fn what_somebody_removed_stays_removed_until_its_entry_changes() {
        let set = desired(None, &timer(1_000), 5, 10_000, false).unwrap();
        let removed = Timer {
            removed: true,
            next_at: None,
            ..set
        };
        let again = desired(Some(&removed), &timer(1_000), 90_000, 90_000, false).unwrap();
        assert!(again.removed && again.next_at.is_none());
        let changed = desired(Some(&removed), &timer(2_000), 90_000, 90_000, false).unwrap();
        assert!(!changed.removed && changed.next_at.is_some());
    }
}
