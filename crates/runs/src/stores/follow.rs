//! Reading the events of all shards by a cursor.

use std::collections::BTreeMap;

use crate::{EventCursor, EventPage, StoredEvent};

/// How many events of a shard are looked at in one go where few may fit.
pub(crate) const WINDOW: u64 = 20_000;
/// The most that a page has.
pub(crate) const MOST: usize = 10_000;

/// How far a page reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The events of one run, which are few, to the end.
    Run,
    /// So many numbers of each shard that a filter which fits few does not read them all.
    Window,
    /// To the end: every event fits.
    All,
}

/// The numbers of a shard's last event, and of the last one that was deleted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardState {
    pub(crate) last: u64,
    pub(crate) deleted: u64,
}

/// A page that is being read.
#[derive(Debug)]
pub(crate) struct Reading {
    page: EventPage,
    limit: usize,
    left: Vec<Part>,
}

/// Events of a shard that are to be read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) shard: u16,
    /// After this number.
    pub(crate) after: u64,
    /// Up to this number.
    pub(crate) upto: u64,
    /// There are more, and the last one may be in the middle of a range.
    pub(crate) cut: bool,
}

impl Reading {
    /// Begins after a cursor.
    pub(crate) fn new(
        states: BTreeMap<u16, ShardState>,
        after: &EventCursor,
        limit: usize,
        reach: Reach,
    ) -> Self {
        let mut page = EventPage {
            next: after.clone(),
            ..EventPage::default()
        };
        let mut left = Vec::new();
        for (shard, state) in states {
            let mut seen = after.0.get(&shard).copied().unwrap_or(0);
            if seen > state.last {
                // It is from another store, or from before this one was made anew.
                page.missed = true;
                page.next.0.remove(&shard);
                seen = 0;
            }
            // The events of a run are there as long as the run is.
            page.missed |= seen < state.deleted && reach != Reach::Run;
            if seen < state.last {
                let window = match reach {
                    Reach::Run | Reach::All => state.last,
                    Reach::Window => state.last.min(seen.saturating_add(WINDOW)),
                };
                left.push(Part {
                    shard,
                    after: seen,
                    upto: window,
                    cut: window < state.last,
                });
            }
        }
        // Those that a full page leaves out are read first by the one after it: it begins elsewhere.
        let begin = usize::try_from(page.next.0.values().sum::<u64>() % 64).unwrap_or(0);
        let begin = begin.min(left.len().saturating_sub(1));
        left.rotate_left(begin);
        left.reverse();
        Self {
            page,
            limit: limit.clamp(1, MOST),
            left,
        }
    }

    /// What is read next.
    pub(crate) fn next(&mut self) -> Option<Part> {
        match self.left() {
            0 => None,
            _ => self.left.pop(),
        }
    }

    /// How many more the page takes.
    pub(crate) fn left(&self) -> usize {
        self.limit - self.page.events.len()
    }

    /// Takes events of a shard in order. `all`: those that fit up to the number are among them.
    pub(crate) fn found(&mut self, shard: u16, upto: u64, mut events: Vec<StoredEvent>, all: bool) {
        let all = all && events.len() <= self.left();
        events.truncate(self.left());
        let last = events.last().map(|event| event.seq);
        if let Some(seen) = if all { Some(upto) } else { last } {
            self.page.next.0.insert(shard, seen);
        }
        self.page.events.append(&mut events);
    }

    /// The page.
    pub(crate) fn page(self) -> EventPage {
        self.page
    }
}
