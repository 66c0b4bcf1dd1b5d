//! The stale grace period: keeps instances that an outage of the registry may have lost.
//!
//! A restarted Consul first answers that there are no instances, or that all are critical. That
//! lasts until the instances have registered again and the checks have run. So for a while after an
//! outage an answer that lacks an instance is not believed.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

/// How long after the first answer that follows an outage missing instances are retained.
pub(super) const GRACE: Duration = Duration::from_secs(30);

/// An item of an answer. One that is serving is believed at once.
pub(super) trait Item: Clone + PartialEq {
    fn is_serving(&self) -> bool;
}

/// The items of successive answers, and those retained that an outage may have lost. It has no
/// clock of its own.
#[derive(Clone, Debug)]
pub(super) struct StaleGrace<K, V> {
    /// The latest answer as it came.
    answer: BTreeMap<K, V>,
    /// Items that served before the outage and have not been seen serving since.
    retained: BTreeMap<K, V>,
    /// When `retained` is given up; `None` during an outage, when it is kept.
    until: Option<Instant>,
    in_outage: bool,
}

impl<K: Ord + Clone, V: Item> StaleGrace<K, V> {
    pub(super) fn new() -> Self {
        let (answer, retained) = (BTreeMap::new(), BTreeMap::new());
        Self {
            answer,
            retained,
            until: None,
            in_outage: false,
        }
    }

    /// Begins an outage: after an error, or when the index fell.
    pub(super) fn mark_outage(&mut self) {
        if !self.in_outage {
            self.in_outage = true;
            self.until = None;
            self.retained = self.items();
            self.retained.retain(|_, item| item.is_serving());
        }
    }

    /// Takes an answer that came at `now`.
    pub(super) fn apply(&mut self, mut answer: BTreeMap<K, V>, now: Instant) {
        self.expire(now);
        // An unchanged item stays the same `Arc`: readers of a large service compare pointers.
        for (key, item) in &mut answer {
            if let Some(known) = self.answer.remove(key).filter(|known| known == item) {
                *item = known;
            }
        }
        if self.in_outage {
            self.in_outage = false;
            self.until = Some(now + GRACE);
        }
        self.answer = answer;
        self.retained
            .retain(|key, _| !self.answer.get(key).is_some_and(Item::is_serving));
        if self.retained.is_empty() {
            self.until = None;
        }
    }

    /// Gives up what was retained until now.
    pub(super) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            self.until = None;
            self.retained.clear();
        }
    }

    /// When [`StaleGrace::expire`] has to be called.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// The latest answer, with the retained items in place of its own.
    pub(super) fn items(&self) -> BTreeMap<K, V> {
        let mut items = self.answer.clone();
        items.extend(
            self.retained
                .iter()
                .map(|(key, item)| (key.clone(), item.clone())),
        );
        items
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// `true` serves.
    impl Item for bool {
        fn is_serving(&self) -> bool {
            *self
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    fn known(items: &[(u8, bool)]) -> StaleGrace<u8, bool> {
        let mut grace = StaleGrace::new();
        grace.apply(items.iter().copied().collect(), Instant::now());
        grace
    }

    fn set(items: &[(u8, bool)]) -> BTreeMap<u8, bool> {
        items.iter().copied().collect()
    }

    #[test]
    fn without_an_outage_an_answer_is_the_truth() {
        let mut grace = known(&[(1, true), (2, true)]);
        grace.apply(set(&[(2, false)]), Instant::now());
        assert_eq!(grace.items(), set(&[(2, false)]));
    }

    impl Item for std::sync::Arc<bool> {
        fn is_serving(&self) -> bool {
            **self
        }
    }

    #[test]
    fn what_did_not_change_is_not_replaced_by_its_like() {
        use std::sync::Arc;
        let mut grace = StaleGrace::new();
        let answer = |second| BTreeMap::from([(1, Arc::new(true)), (2, Arc::new(second))]);
        grace.apply(answer(true), Instant::now());
        let before = grace.items();
        grace.apply(answer(false), Instant::now());
        let after = grace.items();
        assert!(Arc::ptr_eq(&before[&1], &after[&1]));
        assert!(!*after[&2]);
    }

    #[test]
    fn after_an_outage_missing_and_critical_are_kept_for_thirty_seconds() {
        let now = Instant::now();
        let mut grace = known(&[(1, true), (2, true), (3, false)]);
        grace.mark_outage();
        grace.apply(set(&[(2, false)]), now);
        assert_eq!(grace.items(), set(&[(1, true), (2, true)]));
        assert_eq!(grace.deadline(), Some(now + GRACE));
        grace.expire(now + GRACE - SECOND);
        assert_eq!(grace.items().len(), 2);
        grace.expire(now + GRACE);
        assert_eq!(grace.items(), set(&[(2, false)]));
        assert_eq!(grace.deadline(), None);
    }

    #[test]
    fn what_was_seen_serving_again_is_believed_when_it_fails() {
        let now = Instant::now();
        let mut grace = known(&[(1, true), (2, true)]);
        grace.mark_outage();
        grace.apply(set(&[]), now);
        grace.apply(set(&[(1, true)]), now + SECOND);
        grace.apply(set(&[(1, false)]), now + 2 * SECOND);
        assert_eq!(grace.items(), set(&[(1, false), (2, true)]));
    }

    #[test]
    fn a_newcomer_is_believed_during_the_grace() {
        let now = Instant::now();
        let mut grace = known(&[(1, true)]);
        grace.mark_outage();
        grace.apply(set(&[(9, true)]), now);
        grace.apply(set(&[(9, false)]), now + SECOND);
        assert_eq!(grace.items(), set(&[(1, true), (9, false)]));
    }

    #[test]
    fn nothing_is_given_up_while_the_outage_lasts() {
        let now = Instant::now();
        let mut grace = known(&[(1, true)]);
        grace.mark_outage();
        grace.apply(set(&[]), now);
        grace.mark_outage();
        grace.expire(now + 10 * GRACE);
        assert_eq!(grace.items(), set(&[(1, true)]));
        grace.apply(set(&[]), now + 10 * GRACE);
        assert_eq!(grace.deadline(), Some(now + 11 * GRACE));
    }

    #[test]
    fn an_answer_after_the_deadline_is_the_truth() {
        let now = Instant::now();
        let mut grace = known(&[(1, true)]);
        grace.mark_outage();
        grace.apply(set(&[]), now);
        grace.apply(set(&[(2, true)]), now + GRACE);
        assert_eq!(grace.items(), set(&[(2, true)]));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Outage,
        Answer(BTreeMap<u8, bool>),
        Pass(u32),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            Just(Event::Outage),
            prop::collection::btree_map(0..5_u8, any::<bool>(), 0..5).prop_map(Event::Answer),
            (0..40_u32).prop_map(Event::Pass),
        ]
    }

    proptest! {
        /// Whatever happens: what serves in the latest answer is shown so, what is shown and not
        /// in it served before, and the truth is shown once the grace is over.
        #[test]
        fn shows_the_answer_and_what_served_before(events in prop::collection::vec(event(), 1..40)) {
            let mut now = Instant::now();
            let mut grace = StaleGrace::new();
            let mut latest = BTreeMap::new();
            let mut served = BTreeSet::new();
            for event in events {
                match event {
                    Event::Outage => grace.mark_outage(),
                    Event::Answer(answer) => {
                        latest = answer.clone();
                        grace.apply(answer, now);
                    }
                    Event::Pass(seconds) => {
                        now += SECOND * seconds;
                        grace.expire(now);
                    }
                }
                let shown = grace.items();
                for (key, serves) in &latest {
                    prop_assert!(shown.contains_key(key));
                    prop_assert!(!serves || shown[key]);
                }
                for (key, serves) in &shown {
                    let truth = latest.get(key) == Some(serves);
                    prop_assert!(truth || (*serves && served.contains(key)));
                }
                served.extend(shown.iter().filter(|(_, serves)| **serves).map(|(key, _)| *key));
            }
            grace.apply(latest.clone(), now);
            grace.expire(now + GRACE);
            prop_assert_eq!(grace.items(), latest);
        }
    }
}
