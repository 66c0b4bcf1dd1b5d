//! The load of one endpoint. Callers record it, and policies read it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::BalanceOptions;
use crate::report::{LoadReport, ReportedCapacity};

/// The latency in seconds assumed of an endpoint that has not answered yet.
const SEED: f64 = 0.030;
/// The least latency that a failure counts as. Otherwise an endpoint that fails fast would look
/// best.
const FAILURE: Duration = Duration::from_secs(5);
/// The default of [`BalanceOptions::ewma_decay`](crate::BalanceOptions::ewma_decay), in ms.
const DECAY_MS: u32 = 10_000;
/// How much of an answer above the estimate counts at once. Four slow answers make a slow endpoint;
/// one among fast ones does not.
const RISE: f64 = 0.25;
/// How much of an answer below the estimate counts, when the last one is recent.
const FALL: f64 = 0.0625;
/// The resolution of time: fine compared with a decay of seconds, and 32 bits last 248 days in
/// either direction.
const TICK_MS: u128 = 10;

/// Calls in flight, latency and reported load of one endpoint. All methods take `&self` and never
/// block.
///
/// The latency is a moving average that rises fast and falls slowly, after Finagle's peak EWMA. It
/// falls only with faster answers, by their number and the time between them. Silence does not mean
/// that an endpoint has become faster.
#[derive(Debug)]
pub struct Load {
    in_flight: AtomicU32,
    /// An [`Average`], packed into one word so that its value and time always agree.
    average: AtomicU64,
    /// Microseconds at which the first call after the last answer began; 0 when there is none.
    unanswered: AtomicU64,
    decay_ms: AtomicU32,
    joined: Option<Duration>,
    reported: ReportedCapacity,
}

impl Load {
    /// An endpoint that is already warm, without a slow start.
    #[must_use]
    pub fn new() -> Self {
        Self {
            in_flight: AtomicU32::new(0),
            average: AtomicU64::new(Average::NONE),
            unanswered: AtomicU64::new(0),
            decay_ms: AtomicU32::new(DECAY_MS),
            joined: None,
            reported: ReportedCapacity::default(),
        }
    }

    /// An endpoint whose slow start begins at `now`, a time since an epoch that the caller uses in
    /// every other call too.
    #[must_use]
    pub fn joined_at(now: Duration) -> Self {
        Self {
            joined: Some(now),
            ..Self::new()
        }
    }

    /// Records a call sent at `now`.
    pub fn begin(&self, now: Duration) {
        let alone = self.in_flight.fetch_add(1, Ordering::Relaxed) == 0;
        if alone || self.unanswered.load(Ordering::Relaxed) == 0 {
            self.unanswered.store(micros(now), Ordering::Relaxed);
        }
    }

    /// Records the end of a call. One end too many changes nothing.
    pub fn end(&self) {
        let less = |calls: u32| calls.checked_sub(1);
        // An error means that there was no call.
        self.in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .ok();
    }

    /// Calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Records that a call took `latency` until its answer, or until it failed, at `now`. A failure
    /// counts as at least 5 s, and at once.
    pub fn observe(&self, latency: Duration, failed: bool, now: Duration) {
        self.unanswered.store(0, Ordering::Relaxed);
        let seconds = if failed {
            latency.max(FAILURE).as_secs_f64()
        } else {
            latency.as_secs_f64()
        };
        let update = |word| {
            let next = match Average::unpack(word) {
                None => Average {
                    seconds,
                    tick: tick(now),
                },
                Some(last) => {
                    let passed = self.passed(last, now);
                    let part = if seconds <= last.seconds {
                        passed.max(FALL)
                    } else if failed {
                        1.0
                    } else {
                        passed.max(RISE)
                    };
                    Average {
                        seconds: last.seconds + (seconds - last.seconds) * part,
                        // The later of the two times, since callers do not report in order.
                        tick: if passed > 0.0 { tick(now) } else { last.tick },
                    }
                }
            };
            Some(next.pack())
        };
        // Never an error: the closure always returns a value.
        self.average
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, update)
            .ok();
    }

    /// Records that a call was cancelled after `latency` without an answer. It counts only if that
    /// is longer than expected.
    pub fn give_up(&self, latency: Duration, now: Duration) {
        let average = Average::unpack(self.average.load(Ordering::Relaxed));
        let expected = average.map_or(0.0, |average| average.seconds);
        if latency.as_secs_f64() > expected {
            self.observe(latency, false, now);
        }
    }

    /// The expected latency of a call in seconds, ≥ 0; 30 ms before the first observation. At least
    /// as long as the calls in flight have waited without any answer. Reading changes nothing.
    #[must_use]
    pub fn latency(&self, now: Duration) -> f64 {
        let average = self.average();
        let since = self.unanswered.load(Ordering::Relaxed);
        if since == 0 || self.in_flight() == 0 {
            return average;
        }
        let waited = micros(now).saturating_sub(since) as f64 / 1e6;
        average.max(waited)
    }

    /// The average latency of recent answers in seconds; 30 ms before the first.
    pub(crate) fn average(&self) -> f64 {
        let word = self.average.load(Ordering::Relaxed);
        Average::unpack(word).map_or(SEED, |average| average.seconds)
    }

    /// Records the instance's load report at `now`.
    pub fn report(&self, report: &LoadReport, now: Duration) {
        self.reported.store(report, now);
    }

    pub(crate) fn reported(&self) -> &ReportedCapacity {
        &self.reported
    }

    /// Whether any call has been observed.
    pub(crate) fn is_observed(&self) -> bool {
        self.average.load(Ordering::Relaxed) != Average::NONE
    }

    /// How long ago it last answered, to 10 ms; zero before its first answer.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        match Average::unpack(self.average.load(Ordering::Relaxed)) {
            None => Duration::ZERO,
            Some(average) => Duration::from_millis(average.age_ms(now)),
        }
    }

    /// When slow start began, if it ever did.
    pub(crate) fn joined(&self) -> Option<Duration> {
        self.joined
    }

    /// Sets how fast it forgets. That is kept here because callers who record latency do not know
    /// the policy's options.
    pub(crate) fn tune(&self, options: &BalanceOptions) {
        let decay = u32::try_from(options.ewma_decay.as_millis()).unwrap_or(u32::MAX);
        self.decay_ms.store(decay, Ordering::Relaxed);
        self.reported.set_expiry(options.load_expiry);
    }

    /// The share of an average that time has made obsolete, 0 to 1.
    fn passed(&self, average: Average, now: Duration) -> f64 {
        let age = average.age_ms(now);
        if age == 0 {
            return 0.0;
        }
        let decay_ms = f64::from(self.decay_ms.load(Ordering::Relaxed).max(1));
        1.0 - (-(age as f64) / decay_ms).exp()
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

/// A latency and when it was last observed.
#[derive(Clone, Copy)]
struct Average {
    seconds: f64,
    tick: u32,
}

impl Average {
    /// The word for no observation. Its upper half is NaN, so no average packs to it.
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

    fn age_ms(self, now: Duration) -> u64 {
        // Signed, since another thread may have written a later time meanwhile.
        let ticks = tick(now).wrapping_sub(self.tick).cast_signed();
        u64::try_from(ticks).unwrap_or(0) * TICK_MS as u64
    }
}

/// Wraps around, which [`Average::age_ms`] allows for.
fn tick(now: Duration) -> u32 {
    (now.as_millis() / TICK_MS) as u32
}

/// Never 0, which stands for none.
fn micros(now: Duration) -> u64 {
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX).max(1)
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
        load.begin(S);
        load.begin(S);
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
    fn four_slow_answers_count_more_than_forty_fast_ones_before_them() {
        let load = Load::new();
        (0..40).for_each(|_| load.observe(10 * MS, false, S));
        load.observe(800 * MS, false, S);
        close(load.latency(S), 0.2075);
        (0..3).for_each(|_| load.observe(800 * MS, false, S));
        assert!(load.latency(S) > 0.5);
    }

    #[test]
    fn a_peak_is_forgotten_with_fast_answers_by_their_number_or_their_time() {
        let peak = || {
            let load = Load::new();
            load.observe(800 * MS, false, S);
            load
        };
        let many = peak();
        (0..100).for_each(|_| many.observe(10 * MS, false, S));
        assert!(many.latency(S) < 0.012);
        let late = peak();
        late.observe(10 * MS, false, 11 * S);
        close(late.latency(11 * S), 0.01 + 0.79 / std::f64::consts::E);
    }

    #[test]
    fn no_answer_is_no_evidence() {
        let load = Load::new();
        load.observe(S, false, S);
        close(load.latency(500 * S), 1.0);
        assert_eq!(load.age(500 * S), 499 * S);
    }

    #[test]
    fn calls_that_wait_longer_than_the_average_tell_the_latency() {
        let load = Load::new();
        load.observe(5 * MS, false, S);
        load.begin(2 * S);
        load.begin(3 * S);
        close(load.latency(2 * S), 0.005);
        close(load.latency(4 * S), 2.0);
        load.observe(5 * MS, false, 4 * S);
        assert!(load.latency(9 * S) < 0.1, "one of them was answered");
        load.end();
        load.end();
        load.begin(20 * S);
        assert!(load.latency(20 * S) < 0.1);
    }

    #[test]
    fn an_open_stream_that_was_answered_does_not_wait() {
        let load = Load::new();
        load.begin(S);
        load.observe(5 * MS, false, S);
        close(load.latency(100 * S), 0.005);
    }

    #[test]
    fn a_call_given_up_early_says_nothing() {
        let load = Load::new();
        load.observe(100 * MS, false, S);
        load.give_up(MS, 2 * S);
        close(load.latency(2 * S), 0.1);
        load.give_up(500 * MS, 2 * S);
        close(load.latency(2 * S), 0.2);
    }

    #[test]
    fn failing_fast_counts_as_five_seconds() {
        let load = Load::new();
        load.observe(MS, false, S);
        load.observe(MS, true, S);
        close(load.latency(S), 5.0);
        load.observe(9 * S, true, S);
        close(load.latency(S), 9.0);
    }

    #[test]
    fn a_report_out_of_order_neither_decays_nor_turns_time_back() {
        let load = Load::new();
        load.observe(100 * MS, false, 20 * S);
        load.observe(100 * MS, false, 10 * S);
        assert_eq!(load.age(20 * S), Duration::ZERO);
        assert_eq!(load.age(10 * S), Duration::ZERO);
    }

    #[test]
    fn time_may_pass_the_end_of_its_32_bits() {
        let load = Load::new();
        let end = MS * 10 * u32::MAX;
        load.observe(S, false, end);
        load.observe(Duration::ZERO, false, end + 10 * S);
        close(load.latency(end + 10 * S), 1.0 / std::f64::consts::E);
    }

    #[test]
    fn no_decay_remembers_only_the_last_answer() {
        let load = Load::new();
        load.tune(&BalanceOptions {
            ewma_decay: Duration::ZERO,
            ..BalanceOptions::default()
        });
        load.observe(S, false, S);
        load.observe(5 * MS, false, 2 * S);
        close(load.latency(2 * S), 0.005);
    }

    #[test]
    fn the_longest_latency_is_a_number() {
        let load = Load::new();
        load.observe(Duration::MAX, true, Duration::MAX);
        load.begin(Duration::MAX);
        assert!(load.latency(Duration::MAX).is_finite());
        assert!(load.is_observed());
    }
}
