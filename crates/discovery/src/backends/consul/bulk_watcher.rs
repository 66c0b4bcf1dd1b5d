//! The bulk watch: one blocking query on every check replaces one per service.
//!
//! An answer has no instances, so each service whose checks changed fetches its own. Services are
//! told of outages too: one that asks before and after an outage sees none.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use super::{
    api_types::{StateRow, checks_by_service, differing},
    client::Answer,
    index::QueryIndex,
    pacing::{MIN_INTERVAL, interval, pauses},
    watch_state::{Mode, WatchState},
};
use crate::{Error, backends::outage::WatchOutage};

/// Watches all checks until few services are watched.
pub(super) async fn run(state: Arc<WatchState>) {
    let mut watcher = BulkWatcher {
        failing: WatchOutage::new(state.outages.clone()),
        query_index: QueryIndex::default(),
        known: None,
        outages: 0,
    };
    let mut pauses = pauses();
    while !state.end_bulk_watch() {
        let started = Instant::now();
        let asked = state.client.state(watcher.query_index.ask());
        let answered = tokio::select! {
            () = state.stop.cancelled() => return,
            answered = asked => answered,
        };
        let next = match &answered {
            Ok(answer) => {
                pauses.reset();
                (started + MIN_INTERVAL).max(Instant::now() + interval(answer.cost) - MIN_INTERVAL)
            }
            Err(_) => Instant::now() + pauses.after_failure(&mut rand::rng()),
        };
        match watcher.take(answered, started.elapsed()) {
            News::Of(names) => state.wake(|name| names.contains(name)),
            News::Mode(mode) => drop(state.mode.send_replace(mode)),
            News::None => {}
        }
        tokio::select! {
            () = state.stop.cancelled() => return,
            () = sleep_until(next) => {}
        }
    }
}

/// The state of the bulk watch, without I/O.
struct BulkWatcher {
    failing: WatchOutage,
    query_index: QueryIndex,
    known: Option<HashMap<String, BTreeSet<Arc<StateRow>>>>,
    outages: u64,
}

/// Which services an answer concerns.
#[derive(Debug, PartialEq, Eq)]
enum News {
    /// These services.
    Of(BTreeSet<String>),
    /// All services: an outage began or ended, or this is the first answer.
    Mode(Mode),
    None,
}

impl BulkWatcher {
    fn take(&mut self, answered: Result<Answer<Vec<StateRow>>, Error>, took: Duration) -> News {
        match answered {
            Ok(Answer { index, value, .. }) => {
                let fell = self.query_index.advance(index, took);
                self.outages += u64::from(fell);
                let back = self.failing.is_now();
                self.failing.end("all checks");
                let groups = checks_by_service(value);
                let changed = self.known.as_ref().map(|known| differing(known, &groups));
                self.known = Some(groups);
                match changed {
                    // Services may have fetched before the first answer, so they fetch again.
                    None => News::Mode(self.mode(false)),
                    Some(_) if back || fell => News::Mode(self.mode(false)),
                    Some(names) if names.is_empty() => News::None,
                    Some(names) => News::Of(names),
                }
            }
            Err(error) => {
                let news = !self.failing.is_now();
                self.failing.begin("all checks", &error);
                self.query_index.reset();
                if !news {
                    return News::None;
                }
                self.outages += 1;
                News::Mode(self.mode(true))
            }
        }
    }

    fn mode(&self, unreachable: bool) -> Mode {
        Mode::Bulk {
            outages: self.outages,
            unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::outage::Outages;

    fn watcher() -> BulkWatcher {
        let failing = WatchOutage::new(Outages::default());
        BulkWatcher {
            failing,
            query_index: QueryIndex::default(),
            known: None,
            outages: 0,
        }
    }

    fn answer(index: u64, statuses: &[(&str, &str)]) -> Result<Answer<Vec<StateRow>>, Error> {
        let row = |(service, status): &(&str, &str)| {
            serde_json::json!({"Node": "n", "ServiceID": service, "CheckID": "c",
                "Status": status, "ServiceName": service, "ServiceTags": [], "CreateIndex": 1})
        };
        let rows: Vec<_> = statuses.iter().map(row).collect();
        let value = serde_json::from_value(rows.into()).expect("rows");
        Ok(Answer::new(index, value))
    }

    fn away() -> Result<Answer<Vec<StateRow>>, Error> {
        Err(Error::Silent {
            after: MIN_INTERVAL,
        })
    }

    fn told(outages: u64, unreachable: bool) -> News {
        News::Mode(Mode::Bulk {
            outages,
            unreachable,
        })
    }

    #[test]
    fn the_first_answer_concerns_all_and_the_next_those_that_changed() {
        let mut watcher = watcher();
        let first = answer(5, &[("a", "passing"), ("b", "passing"), ("c", "passing")]);
        assert_eq!(watcher.take(first, MIN_INTERVAL), told(0, false));
        let next = answer(6, &[("a", "passing"), ("b", "critical"), ("d", "passing")]);
        let names = ["b", "c", "d"].map(str::to_owned).into();
        assert_eq!(watcher.take(next, MIN_INTERVAL), News::Of(names));
        let same = answer(7, &[("a", "passing"), ("b", "critical"), ("d", "passing")]);
        assert_eq!(watcher.take(same, MIN_INTERVAL), News::None);
    }

    #[test]
    fn an_outage_is_told_when_it_begins_and_when_it_ends() {
        let mut watcher = watcher();
        watcher
            .take(answer(5, &[("a", "passing")]), MIN_INTERVAL)
            .is_the_first();
        assert_eq!(watcher.take(away(), MIN_INTERVAL), told(1, true));
        assert_eq!(watcher.take(away(), MIN_INTERVAL), News::None);
        assert_eq!(
            watcher.take(answer(6, &[("a", "passing")]), MIN_INTERVAL),
            told(1, false)
        );
    }

    #[test]
    fn an_index_that_falls_is_an_outage_that_nobody_saw() {
        let mut watcher = watcher();
        watcher
            .take(answer(5, &[("a", "passing")]), MIN_INTERVAL)
            .is_the_first();
        assert_eq!(watcher.take(answer(2, &[]), MIN_INTERVAL), told(1, false));
    }

    impl News {
        /// That this is what a first answer comes to.
        fn is_the_first(&self) {
            assert_eq!(*self, told(0, false));
        }
    }
}
