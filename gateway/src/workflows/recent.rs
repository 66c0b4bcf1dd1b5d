//! The latest events of all runs, read from the store once for all who follow.

use std::collections::VecDeque;

use runs::{EventCursor, EventFilter, EventPage, StoredEvent, shard_of};

/// How many events are remembered.
const REMEMBERED: usize = 4_096;

/// Events in the order in which they were read: those of each shard in order, without gaps.
#[derive(Debug, Default)]
pub(crate) struct RecentEvents {
    /// Before the first of them.
    floor: EventCursor,
    /// After the last of them.
    end: EventCursor,
    /// How many were forgotten.
    forgotten: u64,
    events: VecDeque<StoredEvent>,
    /// Whether they are kept up to date.
    is_live: bool,
}

impl RecentEvents {
    /// From now on, events after this cursor are remembered.
    pub(crate) fn begin(&mut self, cursor: EventCursor) {
        self.forgotten += u64::try_from(self.events.len()).unwrap_or(0);
        self.events.clear();
        self.floor = cursor.clone();
        self.end = cursor;
        self.is_live = true;
    }

    /// They are not kept up to date any more.
    pub(crate) fn stop(&mut self) {
        self.is_live = false;
    }

    /// Where the next page begins.
    pub(crate) fn end(&self) -> &EventCursor {
        &self.end
    }

    /// Adds a page that was read after [`Self::end`].
    pub(crate) fn add(&mut self, page: EventPage) {
        if page.missed {
            self.begin(page.next);
            return;
        }
        self.events.extend(page.events);
        self.end = page.next;
        while self.events.len() > REMEMBERED {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.floor.0.insert(oldest.shard, oldest.seq);
            self.forgotten += 1;
        }
    }

    /// The events after a cursor; `None` when the store has to be asked. `seen` is how many of all
    /// events a follower has looked at, which this moves on.
    pub(crate) fn after(
        &self,
        cursor: &EventCursor,
        filter: &EventFilter,
        seen: &mut u64,
        limit: usize,
    ) -> Option<EventPage> {
        let has = |shard: &u16, seq: &u64| cursor.0.get(shard).is_some_and(|own| own >= seq);
        // Of one run's shard alone is it asked where a run is followed.
        let own = filter.run_id.as_deref().map(shard_of);
        let concerns = |shard: &u16| own.is_none_or(|own| own == *shard);
        let mut floor = self.floor.0.iter().filter(|(shard, _)| concerns(shard));
        if !self.is_live || !floor.all(|(shard, seq)| has(shard, seq)) {
            return None;
        }
        let skipped = seen.saturating_sub(self.forgotten);
        let skipped = usize::try_from(skipped).unwrap_or(0).min(self.events.len());
        let mut page = EventPage {
            next: cursor.clone(),
            ..EventPage::default()
        };
        let mut looked = skipped;
        for event in self.events.range(skipped..) {
            if page.events.len() == limit {
                break;
            }
            looked += 1;
            if !concerns(&event.shard) {
                continue;
            }
            if cursor
                .0
                .get(&event.shard)
                .is_some_and(|seq| *seq >= event.seq)
            {
                continue;
            }
            page.next.0.insert(event.shard, event.seq);
            if fits(event, filter) {
                page.events.push(event.clone());
            }
        }
        *seen = self.forgotten + u64::try_from(looked).unwrap_or(0);
        Some(page)
    }
}

fn fits(event: &StoredEvent, filter: &EventFilter) -> bool {
    filter
        .run_id
        .as_ref()
        .is_none_or(|run| *run == event.run_id)
        && filter
            .owner
            .as_ref()
            .is_none_or(|owner| *owner == event.owner)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn event(shard: u16, seq: u64, owner: &str) -> StoredEvent {
        StoredEvent {
            shard,
            seq,
            run_id: format!("r{shard}"),
            owner: owner.to_owned(),
            tag: None,
            event: Value::Null,
        }
    }

    fn cursor<const N: usize>(at: [(u16, u64); N]) -> EventCursor {
        EventCursor(at.into())
    }

    fn page(events: Vec<StoredEvent>, from: &EventCursor) -> EventPage {
        let mut next = from.clone();
        for event in &events {
            next.0.insert(event.shard, event.seq);
        }
        EventPage {
            events,
            next,
            missed: false,
        }
    }

    #[test]
    fn a_follower_gets_what_is_after_its_cursor_and_its_own_once() {
        let mut recent = RecentEvents::default();
        let any = EventFilter::default();
        let mut seen = 0;
        assert!(
            recent.after(&cursor([]), &any, &mut seen, 9).is_none(),
            "nothing is known yet"
        );
        recent.begin(cursor([(1, 10)]));
        let own = EventFilter {
            owner: Some("a".to_owned()),
            run_id: None,
        };
        recent.add(page(
            vec![event(1, 11, "a"), event(2, 1, "b"), event(1, 12, "a")],
            &cursor([(1, 10)]),
        ));
        let mut seen = 0;
        let told = recent
            .after(&cursor([(1, 10)]), &own, &mut seen, 9)
            .unwrap();
        assert_eq!(told.events.len(), 2);
        assert_eq!(
            told.next,
            cursor([(1, 12), (2, 1)]),
            "what is another's is passed too"
        );
        assert!(
            recent
                .after(&told.next, &own, &mut seen, 9)
                .unwrap()
                .events
                .is_empty()
        );
        let mut fresh = 0;
        let late = recent
            .after(&cursor([(1, 11)]), &any, &mut fresh, 1)
            .unwrap();
        assert_eq!((late.events[0].shard, late.events[0].seq), (2, 1));
        let rest = recent.after(&late.next, &any, &mut fresh, 9).unwrap();
        assert_eq!((rest.events.len(), rest.events[0].seq), (1, 12));
        assert!(
            recent.after(&cursor([(1, 9)]), &any, &mut 0, 9).is_none(),
            "older is the store's"
        );
        recent.stop();
        assert!(recent.after(&told.next, &own, &mut seen, 9).is_none());
    }

    #[test]
    fn what_is_forgotten_is_the_stores_to_tell() {
        let mut recent = RecentEvents::default();
        recent.begin(cursor([]));
        let last = u64::try_from(REMEMBERED).unwrap() + 5;
        for seq in 1..=last {
            let end = recent.end().clone();
            recent.add(page(vec![event(0, seq, "a")], &end));
        }
        let any = EventFilter::default();
        assert!(recent.after(&cursor([(0, 4)]), &any, &mut 0, 9).is_none());
        let mut seen = 0;
        let told = recent.after(&cursor([(0, 5)]), &any, &mut seen, 9).unwrap();
        assert_eq!(told.events[0].seq, 6);
        let tail = recent
            .after(&cursor([(0, last - 1)]), &any, &mut seen, 9)
            .unwrap();
        assert_eq!(tail.events.len(), 1);
        assert_eq!(seen, last);
    }
}
