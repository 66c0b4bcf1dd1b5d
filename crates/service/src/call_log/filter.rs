//! Which calls the access log has.

use std::time::Duration;

use telemetry::TraceId;

/// How the key `access_log_filter` is written.
pub(crate) const EXPECTED: &str =
    "all, errors, slow:TIME such as slow:1s, or sample:PART such as sample:0.01";

/// Which calls are written down.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum LogFilter {
    /// Every one.
    #[default]
    All,
    /// Those with another status than `OK`.
    Errors,
    /// Those that took at least so long.
    Slow(Duration),
    /// So large a part of all, 0–1. The calls of one trace are all written down, or none.
    Sample(f64),
}

impl LogFilter {
    /// Reads what [`EXPECTED`] describes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.split_once(':') {
            None if text == "all" => Some(Self::All),
            None if text == "errors" => Some(Self::Errors),
            Some(("slow", time)) => config::parse_duration(time.trim()).map(Self::Slow),
            Some(("sample", part)) => {
                let part: f64 = part.trim().parse().ok()?;
                (0.0..=1.0).contains(&part).then_some(Self::Sample(part))
            }
            _ => None,
        }
    }

    pub(crate) fn accepts(text: &str) -> bool {
        Self::parse(text).is_some()
    }

    /// Whether a call that begins may be written down.
    pub(super) fn samples(self, trace: Option<TraceId>) -> bool {
        match (self, trace) {
            (Self::Sample(part), Some(trace)) => drawn(trace) < part,
            (Self::Sample(part), None) => rand::random::<f64>() < part,
            _ => true,
        }
    }

    /// Whether a call that ends so is written down.
    pub(super) fn passes(self, status: i32, duration: Duration) -> bool {
        match self {
            Self::All | Self::Sample(_) => true,
            Self::Errors => status != 0,
            Self::Slow(least) => duration >= least,
        }
    }
}

/// The draw of a trace, 0–1: the same in every program, and OpenTelemetry's.
fn drawn(trace: TraceId) -> f64 {
    const ALL: f64 = (1_u64 << 63) as f64;
    ((trace.0 as u64) >> 1) as f64 / ALL
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_read_or_refused() {
        for (text, expected) in [
            ("all", Some(LogFilter::All)),
            ("errors", Some(LogFilter::Errors)),
            ("slow:1s", Some(LogFilter::Slow(Duration::from_secs(1)))),
            (
                "slow: 250ms",
                Some(LogFilter::Slow(Duration::from_millis(250))),
            ),
            ("sample:0.01", Some(LogFilter::Sample(0.01))),
            ("sample:1", Some(LogFilter::Sample(1.0))),
            ("slow", None),
            ("slow:", None),
            ("slow:1", None),
            ("slow:-1s", None),
            ("sample", None),
            ("sample:2", None),
            ("sample:-0.1", None),
            ("sample:NaN", None),
            ("All", None),
            ("", None),
            ("errors:1", None),
        ] {
            assert_eq!(LogFilter::parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_trace_is_written_down_whole() {
        let filter = LogFilter::Sample(0.25);
        let traces = (0..4000_u128).map(|number| TraceId(number * 0x9e37_79b9_7f4a_7c15));
        let drawn = traces.filter(|trace| {
            let first = filter.samples(Some(*trace));
            assert_eq!(filter.samples(Some(*trace)), first);
            first
        });
        let drawn = drawn.count();
        assert!((800..1200).contains(&drawn), "{drawn}");
        let without = (0..4000).filter(|_| filter.samples(None)).count();
        assert!((800..1200).contains(&without), "{without}");
    }
}
