//! Metrics by the values of their labels.

use std::{cell::RefCell, collections::BTreeMap, fmt, sync::Arc};

use parking_lot::RwLock;

use super::{text::escape_label, values::Metric};

thread_local! {
    /// Where labels are written to be looked up, so that a call needs no memory for that.
    static SCRATCH: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A metric for each combination of the values of its labels. A label whose value is empty is left
/// out. Clones are the same.
#[derive(Clone)]
pub struct Labelled<M, const N: usize> {
    labels: [&'static str; N],
    new: fn() -> M,
    series: Arc<RwLock<BySeries<M>>>,
}

/// By the labels as they are printed.
type BySeries<M> = BTreeMap<Arc<str>, M>;

impl<M: Metric, const N: usize> Labelled<M, N> {
    pub(super) fn new(labels: [&'static str; N], new: fn() -> M) -> Self {
        let series = Arc::default();
        Self {
            labels,
            new,
            series,
        }
    }

    /// The metric of these values, which are in the order of the labels.
    #[must_use]
    pub fn of(&self, values: [&str; N]) -> M {
        SCRATCH.with_borrow_mut(|key| {
            key.clear();
            self.write_key(values, key);
            if let Some(metric) = self.series.read().get(key.as_str()) {
                return metric.clone();
            }
            let mut series = self.series.write();
            let key = key.as_str().into();
            series.entry(key).or_insert_with(self.new).clone()
        })
    }

    /// Has these series instead of those that it had: for what is collected at a scrape. What no
    /// longer exists is gone with it.
    pub fn replace<'a>(&self, rows: impl IntoIterator<Item = ([&'a str; N], M)>) {
        let rows = rows.into_iter();
        let series = rows.map(|(values, metric)| (self.key(values).into(), metric));
        let series: BySeries<M> = series.collect();
        *self.series.write() = series;
    }

    /// Has no series any longer.
    pub fn clear(&self) {
        self.series.write().clear();
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.read().len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What there is now. A scrape writes that: calls that need a new series do not wait for it.
    pub(super) fn now(&self) -> Vec<(Arc<str>, M)> {
        let series = self.series.read();
        let each = series.iter();
        each.map(|(labels, metric)| (Arc::clone(labels), metric.clone()))
            .collect()
    }

    fn key(&self, values: [&str; N]) -> String {
        let length: usize = values.iter().map(|value| value.len()).sum();
        let mut key = String::with_capacity(length + N * 32);
        self.write_key(values, &mut key);
        key
    }

    /// Appends the labels as they are printed to an empty text.
    fn write_key(&self, values: [&str; N], key: &mut String) {
        for (label, value) in self.labels.iter().zip(values) {
            if value.is_empty() {
                continue;
            }
            if !key.is_empty() {
                key.push(',');
            }
            key.push_str(label);
            key.push_str("=\"");
            escape_label(value, key);
            key.push('"');
        }
    }
}

impl<M, const N: usize> fmt::Debug for Labelled<M, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Labelled")
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}
