//! How far a watch has read: the index of its latest answer.

use std::time::Duration;

use super::{client::Ask, feed::PACE};

/// Where the next blocking query goes on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    index: u64,
    /// Whether a query is known to have waited at this Consul for this index.
    sure: bool,
}

impl Cursor {
    /// The query for what comes next.
    ///
    /// Consul may have started again between two queries, so fast that neither failed. Its index
    /// then counts from the start, and a query for the old one waits for its whole time without
    /// seeing any change. So the first query after each answer is brief; those that follow without
    /// a pause cannot miss a restart, because it breaks the one that waits.
    pub(super) fn ask(self) -> Ask {
        Ask::Since {
            index: self.index,
            brief: !self.sure,
        }
    }

    /// Takes the index of an answer and how long that took; says whether the index fell.
    pub(super) fn advance(&mut self, index: u64, took: Duration) -> bool {
        let fell = index < self.index;
        // 0 would not block.
        let index = index.max(1);
        self.sure = index == self.index && took >= PACE;
        self.index = if fell { 0 } else { index };
        fell
    }

    /// After an error the next answer may count from the start.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(2);

    fn at(index: u64, brief: bool) -> Ask {
        Ask::Since { index, brief }
    }

    #[test]
    fn an_index_is_never_zero_and_starts_over_when_it_falls() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.ask(), at(0, true));
        assert!(!cursor.advance(0, QUICK));
        assert_eq!(cursor.ask(), at(1, true));
        assert!(!cursor.advance(40, LONG));
        assert_eq!(cursor.ask(), at(40, true));
        assert!(cursor.advance(7, LONG));
        assert_eq!(cursor.ask(), at(0, true));
    }

    #[test]
    fn only_after_a_whole_wait_without_news_does_it_wait_for_long() {
        let mut cursor = Cursor::default();
        cursor.advance(40, QUICK);
        cursor.advance(40, QUICK);
        assert_eq!(cursor.ask(), at(40, true));
        cursor.advance(40, LONG);
        assert_eq!(cursor.ask(), at(40, false));
        cursor.advance(41, LONG);
        assert_eq!(cursor.ask(), at(41, true));
    }

    #[test]
    fn an_error_starts_over() {
        let mut cursor = Cursor::default();
        cursor.advance(40, LONG);
        cursor.reset();
        assert_eq!(cursor, Cursor::default());
    }
}
