//! The index that a watch's next blocking query waits to change.

use std::time::Duration;

use super::{client::QueryMode, pacing::MIN_INTERVAL};

/// The index for the next blocking query.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct QueryIndex {
    index: u64,
    /// Whether a query has waited at this Consul for this index.
    sure: bool,
}

impl QueryIndex {
    /// The next query.
    ///
    /// Consul may restart between two queries, so fast that neither fails. Its index then starts
    /// over, and a query for the old index would wait its whole time without seeing a change. So
    /// the first query after each answer is brief. Those that follow without a pause cannot miss a
    /// restart, because it breaks the query that waits.
    pub(super) fn ask(self) -> QueryMode {
        QueryMode::Blocking {
            index: self.index,
            brief: !self.sure,
        }
    }

    /// Takes the index of an answer and how long it took; returns whether the index fell.
    pub(super) fn advance(&mut self, index: u64, took: Duration) -> bool {
        let fell = index < self.index;
        // 0 would not block.
        let index = index.max(1);
        self.sure = index == self.index && took >= MIN_INTERVAL;
        self.index = if fell { 0 } else { index };
        fell
    }

    /// After an error the index of the next answer may start over.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(2);

    fn at(index: u64, brief: bool) -> QueryMode {
        QueryMode::Blocking { index, brief }
    }

    #[test]
    fn an_index_is_never_zero_and_starts_over_when_it_falls() {
        let mut query_index = QueryIndex::default();
        assert_eq!(query_index.ask(), at(0, true));
        assert!(!query_index.advance(0, QUICK));
        assert_eq!(query_index.ask(), at(1, true));
        assert!(!query_index.advance(40, LONG));
        assert_eq!(query_index.ask(), at(40, true));
        assert!(query_index.advance(7, LONG));
        assert_eq!(query_index.ask(), at(0, true));
    }

    #[test]
    fn only_after_a_whole_wait_without_news_does_it_wait_for_long() {
        let mut query_index = QueryIndex::default();
        query_index.advance(40, QUICK);
        query_index.advance(40, QUICK);
        assert_eq!(query_index.ask(), at(40, true));
        query_index.advance(40, LONG);
        assert_eq!(query_index.ask(), at(40, false));
        query_index.advance(41, LONG);
        assert_eq!(query_index.ask(), at(41, true));
    }

    #[test]
    fn an_error_starts_over() {
        let mut query_index = QueryIndex::default();
        query_index.advance(40, LONG);
        query_index.reset();
        assert_eq!(query_index, QueryIndex::default());
    }
}
