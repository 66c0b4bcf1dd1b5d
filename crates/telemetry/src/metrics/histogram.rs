//! Observations counted by their size. No lock: a call counts itself while a scrape reads.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;

use super::{
    text::{Kind, Series},
    values::Metric,
};
use crate::TraceContext;

/// One observation with its trace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exemplar {
    pub(super) trace: TraceContext,
    pub(super) value: f64,
    pub(super) time: SystemTime,
}

/// A histogram. Clones are the same.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: Box<[f64]>,
    /// One for each bound, and one for what is above all of them.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
    /// The latest of each bucket. Made with the first: most histograms never have one.
    exemplars: OnceLock<Box<[Mutex<Option<Exemplar>>]>>,
}

impl Histogram {
    /// No observations yet, with these upper bounds in ascending order.
    #[must_use]
    pub fn new(bounds: impl IntoIterator<Item = f64>) -> Self {
        let bounds: Box<[f64]> = bounds.into_iter().collect();
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner {
            bounds,
            counts,
            sum: AtomicU64::new(0.0_f64.to_bits()),
            exemplars: OnceLock::new(),
        }))
    }

    /// Counts an observation.
    pub fn observe(&self, value: f64) {
        self.observe_of(value, None);
    }

    /// Counts an observation, and keeps its trace as the exemplar of its size if that is recorded.
    pub fn observe_of(&self, value: f64, trace: Option<TraceContext>) {
        let inner = &*self.0;
        let bucket = inner.bounds.partition_point(|bound| *bound < value);
        inner.counts[bucket].fetch_add(1, Ordering::Relaxed);
        let more = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // Never an error: the closure always returns a value.
        inner
            .sum
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok();
        if let Some(trace) = trace.filter(|trace| trace.sampled) {
            self.keep(bucket, trace, value);
        }
    }

    fn keep(&self, bucket: usize, trace: TraceContext, value: f64) {
        let none = || (0..self.0.counts.len()).map(|_| Mutex::default()).collect();
        let places = self.0.exemplars.get_or_init(none);
        // One exemplar is as good as another: nobody waits to leave one.
        if let Some(mut place) = places[bucket].try_lock() {
            let time = SystemTime::now();
            *place = Some(Exemplar { trace, value, time });
        }
    }

    /// How many observations there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.0.counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// What they add up to.
    #[must_use]
    pub fn sum(&self) -> f64 {
        f64::from_bits(self.0.sum.load(Ordering::Relaxed))
    }
}

impl Metric for Histogram {
    const KIND: Kind = Kind::Histogram;

    fn write(&self, out: &mut Series<'_>) {
        let exemplars = self.0.exemplars.get();
        let mut total = 0;
        for (at, count) in self.0.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            let bound = self.0.bounds.get(at).copied().unwrap_or(f64::INFINITY);
            let exemplar = exemplars.and_then(|places| *places[at].lock());
            out.bucket(bound, total, exemplar.as_ref());
        }
        out.float("_sum", self.sum());
        // Of the same counts as the buckets, so that they agree.
        out.integer("_count", i128::from(total));
    }
}
