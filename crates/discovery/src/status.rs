//! The state of a registry, for operators.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{info, warn};

use crate::{Error, validate::quoted};

/// How many left-out entries are remembered. Further ones are left out silently.
const MOST: usize = 1000;

/// The state of a registry, and which of its entries cannot be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryStatus {
    /// Why it does not answer, as one sentence; `None` while it does.
    pub error: Option<String>,
    /// The age in seconds of what was read from the disk; `None` once the registry has answered.
    pub cached_seconds: Option<u64>,
    /// The entries that cannot be called, ordered by service and ID; at most 1,000.
    pub left_out: Vec<LeftOut>,
    /// Services that it names while it shows none of their instances to us.
    pub hidden: Vec<String>,
    /// How many requests had which outcome: `ok`, `refused`, `failed` or `unreachable`. Empty for a
    /// registry within the process.
    pub answers: Vec<(&'static str, u64)>,
    /// How long ago it last answered, with a refusal too; `None` before its first answer.
    pub last_answer: Option<Duration>,
}

/// The requests to a registry by their outcome.
#[derive(Debug)]
pub(crate) struct AnswerCounts {
    counts: [AtomicU64; 4],
    started: Instant,
    /// Milliseconds from `started` to the last answer, and one; 0 before the first.
    last: AtomicU64,
}

impl AnswerCounts {
    const OUTCOMES: [&str; 4] = ["ok", "refused", "failed", "unreachable"];

    /// Counts a request.
    pub(crate) fn note<T>(&self, outcome: &Result<T, Error>) {
        self.note_error(outcome.as_ref().err());
    }

    /// Counts a request that had this error, or none.
    pub(crate) fn note_error(&self, error: Option<&Error>) {
        let place = match error {
            None => 0,
            Some(Error::Refused { .. } | Error::Config { .. }) => 1,
            Some(Error::Failed { .. }) => 2,
            Some(Error::Unreachable { .. } | Error::Silent { .. }) => 3,
        };
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        if place != 3 {
            let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
            self.last.store(now + 1, Ordering::Relaxed);
        }
    }

    pub(crate) fn list(&self) -> Vec<(&'static str, u64)> {
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        Self::OUTCOMES.into_iter().zip(counts).collect()
    }

    /// How long ago the last answer came.
    pub(crate) fn last_answer(&self) -> Option<Duration> {
        let last = self.last.load(Ordering::Relaxed).checked_sub(1)?;
        Some(
            self.started
                .elapsed()
                .saturating_sub(Duration::from_millis(last)),
        )
    }
}

impl Default for AnswerCounts {
    fn default() -> Self {
        Self {
            counts: Default::default(),
            started: Instant::now(),
            last: AtomicU64::new(0),
        }
    }
}

/// One entry that cannot be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The name of its service, cut where it is long.
    pub service: String,
    /// Its ID, cut where it is long; empty when the whole service cannot be called.
    pub id: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            id,
            reason,
        } = self;
        if id.is_empty() {
            write!(f, "{service}: {reason}")
        } else {
            write!(f, "{service}, instance {id}: {reason}")
        }
    }
}

/// The left-out entries of each source. Logs each once. Clones share everything.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeftOuts(Arc<Mutex<State>>);

type State = BTreeMap<Arc<str>, BTreeMap<(String, String), String>>;

impl LeftOuts {
    /// Sets what was left out of the latest answer for one source.
    pub(crate) fn set(&self, of: &Arc<str>, now: Vec<LeftOut>) {
        let mut state = self.0.lock();
        if now.is_empty() && !state.contains_key(of) {
            return;
        }
        let before = state.remove(of).unwrap_or_default();
        let others: usize = state.values().map(BTreeMap::len).sum();
        let mut kept = BTreeMap::new();
        for LeftOut {
            service,
            id,
            reason,
        } in now.into_iter().take(MOST.saturating_sub(others))
        {
            let key = (service, id);
            if before.get(&key) != Some(&reason) {
                warn!(service = key.0, id = key.1, reason, "left out of the mesh");
            }
            kept.insert(key, reason);
        }
        for (service, id) in before.keys().filter(|key| !kept.contains_key(*key)) {
            info!(service, id, "no longer left out of the mesh");
        }
        if !kept.is_empty() {
            state.insert(Arc::clone(of), kept);
        }
    }

    pub(crate) fn list(&self) -> Vec<LeftOut> {
        let state = self.0.lock();
        let all = state.values().flatten();
        all.map(|((service, id), reason)| LeftOut {
            service: service.clone(),
            id: id.clone(),
            reason: reason.clone(),
        })
        .collect()
    }
}

impl LeftOut {
    /// An entry with the name and ID that it has, which may be any text.
    pub(crate) fn new(service: &str, id: &str, reason: String) -> Self {
        let text = |text: &str| {
            let plain = |byte: u8| byte.is_ascii_graphic();
            if text.len() <= 80 && text.bytes().all(plain) {
                text.to_owned()
            } else {
                quoted(text)
            }
        };
        Self {
            service: text(service),
            id: text(id),
            reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_told_while_it_is_there() {
        let (it, of): (LeftOuts, Arc<str>) = (LeftOuts::default(), "agent-a".into());
        let one = |id: &str| LeftOut::new("agent-a", id, "its port is 0".to_owned());
        it.set(&of, vec![one("a"), one("b\n")]);
        let told: Vec<_> = it.list().iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2);
        assert_eq!(told[0], r#"agent-a, instance "b\n": its port is 0"#);
        it.set(&of, vec![]);
        assert_eq!(it.list(), []);
    }

    #[test]
    fn number_of_those_remembered_is_bounded() {
        let it = LeftOuts::default();
        for service in 0..20 {
            let name: Arc<str> = format!("s{service}").into();
            let odd = (0..100).map(|n| LeftOut::new(&name, &n.to_string(), String::new()));
            it.set(&name, odd.collect());
        }
        assert_eq!(it.list().len(), MOST);
    }
}
