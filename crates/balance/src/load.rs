//! What is known of one endpoint's load, shared by the callers that add to it and the policies that
//! read it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Seconds assumed of an endpoint that has not answered yet.
const SEED: f64 = 0.030;
/// What a failure counts as at least, or an endpoint that fails fast would look like the best one.
const FAILURE: Duration = Duration::from_secs(5);
/// The default of [`Options::ewma_decay`](crate::Options::ewma_decay), in ms.
const DECAY_MS: u32 = 10_000;
/// The resolution of time here: fine beside a decay of seconds, and 32 bits of it last 248 days in
/// either direction.
const TICK_MS: u128 = 10;

/// Calls in flight and decayed peak latency of one endpoint. All methods take `&self` and never
/// block.
///
/// The latency is Finagle's peak EWMA: a peak counts at once and is forgotten slowly, so that a
/// stall is seen with its first slow answer, and trust comes back with time.
#[derive(Debug)]
pub struct Load {
    in_flight: AtomicU32,
    /// A [`Peak`], packed into one word so that no reader meets a value with another's time.
    peak: AtomicU64,
    decay_ms: AtomicU32,
    joined: Option<Duration>,
}

impl Load {
    /// An endpoint that is warm already: it never starts slowly.
    #[must_use]
    pub fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            peak: AtomicU64::new(Peak::NONE),
            decay_ms: AtomicU32::new(DECAY_MS),
            joined: None,
        }
    }

    /// An endpoint whose slow start begins at `now`, a time since any epoch that the caller keeps
    /// to in every other call.
    #[must_use]
    pub fn joined_at(now: Duration) -> Self {
        Self {
            joined: Some(now),
            ..Self::new()
        }
    }

    /// A call was sent.
    pub fn begin(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended, however it did. One end too many changes nothing.
    pub fn end(&self) {
        let less = |calls: u32| calls.checked_sub(1);
        // An error says that there was nothing to take away.
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    /// Calls sent and not ended.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A call took `latency` until its answer, or until it failed at `now`; a failure counts as
    /// 5 s at least.
    pub fn observe(&self, latency: Duration, failed: bool, now: Duration) {
        let latency = if failed {
            latency.max(FAILURE)
        } else {
            latency
        };
        let latency = latency.as_secs_f64();
        let update = |word| {
            let next = match Peak::unpack(word) {
                None => Peak {
                    seconds: latency,
                    tick: tick(now),
                },
                Some(peak) => {
                    let kept = self.kept(peak, now);
                    let blend = peak.seconds * kept + latency * (1.0 - kept);
                    // The later of the two times: callers do not report in order.
                    let tick = if kept < 1.0 { tick(now) } else { peak.tick };
                    Peak {
                        seconds: blend.max(latency),
                        tick,
                    }
                }
            };
            Some(next.pack())
        };
        // Never an error: the closure always returns a value.
        self.peak
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .ok();
    }

    /// Decayed peak latency, seconds, ≥ 0; 30 ms before the first observation. Reading changes
    /// nothing.
    #[must_use]
    pub fn latency(&self, now: Duration) -> f64 {
        match Peak::unpack(self.peak.load(Ordering::Relaxed)) {
            None => SEED,
            Some(peak) => peak.seconds * self.kept(peak, now),
        }
    }

    /// Whether any call has been observed.
    pub(crate) fn is_observed(&self) -> bool {
        self.peak.load(Ordering::Relaxed) != Peak::NONE
    }

    /// When slow start began, if it ever did.
    pub(crate) fn joined(&self) -> Option<Duration> {
        self.joined
    }

    /// Sets the decay of latency. It is part of the load, not an argument, because those who
    /// observe do not know the policy's options.
    pub(crate) fn set_decay(&self, decay: Duration) {
        let ms = u32::try_from(decay.as_millis()).unwrap_or(u32::MAX);
        self.decay_ms.store(ms, Ordering::Relaxed);
    }

    /// The part of a peak that time has left, 0 to 1.
    fn kept(&self, peak: Peak, now: Duration) -> f64 {
        // Signed, since another thread's later time may have been written meanwhile.
        let ticks = tick(now).wrapping_sub(peak.tick).cast_signed();
        if ticks <= 0 {
            return 1.0;
        }
        let decay_ms = f64::from(self.decay_ms.load(Ordering::Relaxed).max(1));
        (-f64::from(ticks) * TICK_MS as f64 / decay_ms).exp()
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

/// A latency as it was observed, and when.
#[derive(Clone, Copy)]
struct Peak {
    seconds: f64,
    tick: u32,
}

impl Peak {
    /// The word of no observation; its upper half is no number, so it packs from none.
    const NONE: u64 = u64::MAX;

    fn pack(self) -> u64 {
        let seconds = (self.seconds as f32).to_bits();
        u64::from(seconds) << 32 | u64::from(self.tick)
    }

    fn unpack(word: u64) -> Option<Self> {
        let seconds = f64::from(f32::from_bits((word >> 32) as u32));
        (word != Self::NONE).then_some(Self {
            seconds,
            tick: word as u32,
        })
    }
}

/// Wraps around, which [`Load::kept`] allows for.
fn tick(now: Duration) -> u32 {
    (now.as_millis() / TICK_MS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const S: Duration = Duration::from_secs(1);

    fn close(left: f64, right: f64) {
        assert!(
            (left - right).abs() <= right.abs() * 1e-3 + 1e-9,
            "{left} is not about {right}"
        );
    }

    #[test]
    fn an_end_without_a_begin_leaves_zero() {
        let load = Load::new();
        load.end();
        assert_eq!(load.in_flight(), 0);
        load.begin();
        load.begin();
        load.end();
        assert_eq!(load.in_flight(), 1);
    }

    #[test]
    fn a_new_endpoint_is_taken_for_30_ms() {
        close(Load::new().latency(7 * S), 0.030);
    }

    #[test]
    fn the_first_answer_replaces_the_seed() {
        let load = Load::new();
        load.observe(2 * MS, false, S);
        close(load.latency(S), 0.002);
    }

    #[test]
    fn a_peak_counts_at_once_and_is_forgotten_over_the_decay() {
        let load = Load::new();
        load.observe(10 * MS, false, S);
        load.observe(800 * MS, false, S);
        close(load.latency(S), 0.8);
        load.observe(10 * MS, false, S);
        close(load.latency(S), 0.8);
        close(load.latency(11 * S), 0.8 / std::f64::consts::E);
        load.observe(10 * MS, false, 11 * S);
        close(load.latency(11 * S), 0.01 + 0.79 / std::f64::consts::E);
    }

    #[test]
    fn reading_changes_nothing() {
        let load = Load::new();
        load.observe(S, false, S);
        let before = load.latency(5 * S);
        close(load.latency(500 * S), 0.0);
        close(load.latency(5 * S), before);
    }

    #[test]
    fn failing_fast_counts_as_five_seconds() {
        let load = Load::new();
        load.observe(MS, true, S);
        close(load.latency(S), 5.0);
        load.observe(9 * S, true, S);
        close(load.latency(S), 9.0);
    }

    #[test]
    fn a_report_out_of_order_neither_decays_nor_turns_time_back() {
        let load = Load::new();
        load.observe(100 * MS, false, 20 * S);
        load.observe(10 * MS, false, 10 * S);
        close(load.latency(20 * S), 0.1);
        close(load.latency(10 * S), 0.1);
    }

    #[test]
    fn time_may_pass_the_end_of_its_32_bits() {
        let load = Load::new();
        let end = MS * 10 * u32::MAX;
        load.observe(S, false, end);
        close(load.latency(end + 10 * S), 1.0 / std::f64::consts::E);
    }

    #[test]
    fn no_decay_remembers_only_the_present() {
        let load = Load::new();
        load.set_decay(Duration::ZERO);
        load.observe(S, false, S);
        close(load.latency(2 * S), 0.0);
    }

    #[test]
    fn the_longest_latency_is_a_number() {
        let load = Load::new();
        load.observe(Duration::MAX, true, Duration::MAX);
        assert!(load.latency(Duration::MAX).is_finite());
        assert!(load.is_observed());
    }
}
