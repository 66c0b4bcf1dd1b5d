//! Numbers that are counted: no lock, clones are the same number.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering},
};

use super::text::{Kind, Series};

/// What can be registered: a number, or several of one name.
pub trait Metric: Clone + Send + Sync + 'static {
    /// How Prometheus calls its type.
    const KIND: Kind;

    /// Writes what it is now.
    fn write(&self, out: &mut Series<'_>);
}

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// One that begins at a value: see [`Labelled::replace`](super::Labelled::replace).
    #[must_use]
    pub fn at(value: u64) -> Self {
        Self(Arc::new(AtomicU64::new(value)))
    }

    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Adds some.
    pub fn inc_by(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What was counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes over what somebody else counts, such as the kernel.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Metric for Counter {
    const KIND: Kind = Kind::Counter;

    fn write(&self, out: &mut Series<'_>) {
        out.integer("", i128::from(self.get()));
    }
}

/// A counter of fractions, such as seconds, that somebody else counts.
#[derive(Clone, Debug, Default)]
pub struct FloatCounter(FloatGauge);

impl FloatCounter {
    /// Takes over what was counted; NaN for a number that is not known, which is not printed.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }
}

impl Metric for FloatCounter {
    const KIND: Kind = Kind::Counter;

    fn write(&self, out: &mut Series<'_>) {
        self.0.write(out);
    }
}

/// A whole number that grows and falls.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// One that begins at a value.
    #[must_use]
    pub fn at(value: i64) -> Self {
        Self(Arc::new(AtomicI64::new(value)))
    }

    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn inc(&self) {
        self.inc_by(1);
    }

    /// Takes one away.
    pub fn dec(&self) {
        self.inc_by(-1);
    }

    /// Adds some, or takes them away.
    pub fn inc_by(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// What it is.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Metric for Gauge {
    const KIND: Kind = Kind::Gauge;

    fn write(&self, out: &mut Series<'_>) {
        out.integer("", i128::from(self.get()));
    }
}

/// A number with fractions. Nothing is printed until it is set, nor while it is NaN: not known.
#[derive(Clone, Debug)]
pub struct FloatGauge(Arc<AtomicU64>);

impl FloatGauge {
    /// One that begins at a value.
    #[must_use]
    pub fn at(value: f64) -> Self {
        Self(Arc::new(AtomicU64::new(value.to_bits())))
    }

    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    /// What it is; NaN while that is not known.
    #[must_use]
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }
}

impl Default for FloatGauge {
    fn default() -> Self {
        Self::at(f64::NAN)
    }
}

impl Metric for FloatGauge {
    const KIND: Kind = Kind::Gauge;

    fn write(&self, out: &mut Series<'_>) {
        let value = self.get();
        if !value.is_nan() {
            out.float("", value);
        }
    }
}
