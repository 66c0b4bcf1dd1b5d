//! The trace context of a call, as [W3C Trace Context](https://www.w3.org/TR/trace-context/) carries it
//! in `traceparent`. It is three numbers: reading, passing on and sampling one allocates nothing.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use http::{HeaderMap, HeaderValue};
use opentelemetry::trace::{SpanId, TraceId};

/// The header that carries a trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The header that carries what tracing systems add to it. It is passed on as it came.
pub const TRACESTATE: &str = "tracestate";

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;

/// Below this a trace is recorded: the part of 2^63 that `trace_ratio` is. All until it is set.
static BOUND: AtomicU64 = AtomicU64::new(1 << 63);

tokio::task_local! {
    static CURRENT: TraceScope;
}

/// What a task runs within: its context, and what tracing systems have added to it.
#[derive(Clone, Debug)]
pub struct TraceScope {
    context: TraceContext,
    state: Option<HeaderValue>,
}

/// Which trace a call belongs to, below which span, and whether the trace is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: TraceId,
    /// The span that what happens now is below.
    pub span_id: SpanId,
    /// Whether spans of this trace are recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// Reads a `traceparent`. `None` for one that W3C calls invalid, which counts as none.
    #[must_use]
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let (known, more) = traceparent.split_at_checked(LENGTH)?;
        let version = hex(&known[..2])?;
        let dashes = [known[2], known[35], known[52]] == *b"---";
        // Later versions may append fields; version 00 has none, and there is no version ff.
        let ends_well = match more.first() {
            None => true,
            Some(next) => version > 0 && *next == b'-',
        };
        if version == 0xff || !dashes || !ends_well {
            return None;
        }
        let trace_id = hex(&known[3..35])?;
        let span_id = u64::try_from(hex(&known[36..52])?).ok()?;
        let flags = hex(&known[53..55])?;
        (trace_id != 0 && span_id != 0).then_some(Self {
            trace_id: trace_id.into(),
            span_id: span_id.into(),
            sampled: flags & 1 == 1,
        })
    }

    /// The context in the headers of a request. More than one `traceparent` counts as none.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let only = values.next().filter(|_| values.next().is_none())?;
        Self::parse(only.as_bytes())
    }

    /// A new trace. Whether it is recorded is drawn by its ID with the ratio of the options.
    #[must_use]
    pub fn root() -> Self {
        let trace_id = rand::random::<u128>().max(1);
        // As OpenTelemetry's TraceIdRatioBased draws: the same trace gets the same answer everywhere.
        let drawn = (trace_id as u64) >> 1;
        Self {
            trace_id: trace_id.into(),
            span_id: new_span_id(),
            sampled: drawn < BOUND.load(Relaxed),
        }
    }

    /// The context of the task that runs now.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|scope| scope.context).ok()
    }

    /// The `tracestate` that came with the context of the task that runs now.
    #[must_use]
    pub fn current_state() -> Option<HeaderValue> {
        CURRENT.try_with(|scope| scope.state.clone()).ok()?
    }

    /// Runs a future within this context: [`Self::current`] answers it there. Tasks that the future
    /// spawns have none of their own accord.
    pub fn scope<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        TraceScope::below_current(self).run(future)
    }

    /// Runs a function within this context.
    pub fn sync_scope<T>(self, run: impl FnOnce() -> T) -> T {
        TraceScope::below_current(self).run_sync(run)
    }

    /// Writes the context of the task that runs now among headers that are kept as texts, unless it is
    /// there as it is. Without an exporter they stay as they are.
    pub fn carry_current(headers: &mut BTreeMap<String, String>) {
        let Some(current) = Self::current().filter(|_| super::tracing_enabled()) else {
            return;
        };
        let brought = headers.get(TRACEPARENT);
        let brought = brought.and_then(|text| Self::parse(text.as_bytes()));
        if brought != Some(current) {
            headers.insert(TRACEPARENT.to_owned(), current.to_string());
        }
        if brought.is_none_or(|brought| brought.trace_id != current.trace_id) {
            // It belonged to another trace.
            headers.remove(TRACESTATE);
        }
    }

    /// The same trace, below another span.
    #[must_use]
    pub fn below(self, span_id: SpanId) -> Self {
        Self { span_id, ..self }
    }

    /// Its `traceparent`, of version 00.
    #[must_use]
    pub fn traceparent(&self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(
            &mut text[3..35],
            u128::from_be_bytes(self.trace_id.to_bytes()),
        );
        write_hex(
            &mut text[36..52],
            u64::from_be_bytes(self.span_id.to_bytes()).into(),
        );
        text[54] = if self.sampled { b'1' } else { b'0' };
        text
    }
}

impl TraceScope {
    /// The scope of a request with these headers. `context` is theirs or below it; a new trace has
    /// nothing of theirs.
    #[must_use]
    pub fn of(context: TraceContext, headers: &HeaderMap) -> Self {
        let same = TraceContext::of(headers).is_some_and(|it| it.trace_id == context.trace_id);
        let state = headers.get(TRACESTATE).filter(|_| same).cloned();
        Self { context, state }
    }

    /// What the present scope has besides its context goes on in the same trace.
    fn below_current(context: TraceContext) -> Self {
        let current = TraceContext::current();
        let same = current.is_some_and(|current| current.trace_id == context.trace_id);
        let state = if same {
            TraceContext::current_state()
        } else {
            None
        };
        Self { context, state }
    }

    /// Runs a future within it.
    pub fn run<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, future)
    }

    /// Runs a function within it.
    pub fn run_sync<T>(self, run: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self, run)
    }
}

impl fmt::Display for TraceContext {
    /// Its `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.traceparent()))
    }
}

/// An ID for a span that begins. It is never 0, which is none.
#[must_use]
pub fn new_span_id() -> SpanId {
    rand::random::<u64>().max(1).into()
}

/// Sets the share of new traces that is recorded, 0–1.
pub(crate) fn set_ratio(ratio: f64) {
    const ALL: f64 = (1_u64 << 63) as f64;
    BOUND.store((ratio.clamp(0.0, 1.0) * ALL) as u64, Relaxed);
}

/// Lower-case hexadecimal digits, as W3C has them: capitals are none.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Fills `text` with the last hexadecimal digits of a number.
pub fn write_hex(text: &mut [u8], mut value: u128) {
    for digit in text.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    #[test]
    fn a_traceparent_is_read_as_w3c_says() {
        let valid = |version: &str, rest: &str| format!("{version}-{TRACE}-{SPAN}-{rest}");
        let (zero_trace, zero_span) = ("0".repeat(32), "0".repeat(16));
        for (text, sampled) in [
            (valid("00", "01"), Some(true)),
            (valid("00", "00"), Some(false)),
            // Unknown flags are ignored.
            (valid("00", "ff"), Some(true)),
            (valid("00", "02"), Some(false)),
            // Of a later version, the part that is known.
            (valid("01", "01"), Some(true)),
            (valid("cc", "01-what-the-future-will-be-like"), Some(true)),
            (
                valid("cc", &format!("00-{}", "x".repeat(10_000))),
                Some(false),
            ),
            (valid("cc", "01.what"), None),
            (valid("00", "01-more"), None),
            (valid("00", &"0".repeat(10_000)), None),
            (valid("ff", "01"), None),
            (valid("0", "01"), None),
            (valid("00", "1"), None),
            (valid("00", "0g"), None),
            (valid("00", "01").to_uppercase(), None),
            (format!("00-{zero_trace}-{SPAN}-01"), None),
            (format!("00-{TRACE}-{zero_span}-01"), None),
            (format!("00-{TRACE}-{SPAN}"), None),
            (format!("00_{TRACE}-{SPAN}-01"), None),
            (format!("00-{TRACE}_{SPAN}-01"), None),
            (format!("00-{TRACE}-{SPAN}_01"), None),
            (format!(" 00-{TRACE}-{SPAN}-01"), None),
            (String::new(), None),
        ] {
            let context = TraceContext::parse(text.as_bytes());
            assert_eq!(context.map(|it| it.sampled), sampled, "{text:.80}");
            if let Some(context) = context {
                assert_eq!(context.trace_id.to_string(), TRACE);
                assert_eq!(context.span_id.to_string(), SPAN);
            }
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let mut headers = HeaderMap::new();
        let value = format!("00-{TRACE}-{SPAN}-01");
        headers.append(TRACEPARENT, value.parse().unwrap());
        assert!(TraceContext::of(&headers).is_some());
        headers.append(TRACEPARENT, value.parse().unwrap());
        assert_eq!(TraceContext::of(&headers), None);
    }

    #[tokio::test]
    async fn a_context_is_current_within_its_scope() {
        let context = TraceContext::root();
        let found = context.scope(async { TraceContext::current() });
        assert_eq!(found.await, Some(context));
        assert_eq!(TraceContext::current(), None);
        let found = context.sync_scope(TraceContext::current);
        assert_eq!(found, Some(context));

        // What came with it goes on below it, and in no other trace.
        let mut headers = HeaderMap::new();
        headers.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        let state = async |headers: &HeaderMap, within: TraceContext| {
            let state = within.scope(async { TraceContext::current_state() });
            TraceScope::of(context, headers).run(state).await
        };
        let below = context.below(new_span_id());
        let alone = state(&headers, below).await;
        assert_eq!(alone, None, "without a traceparent it means nothing");
        let parent = HeaderValue::from_bytes(&context.traceparent()).unwrap();
        headers.insert(TRACEPARENT, parent);
        let vendor = HeaderValue::from_static("vendor=1");
        let found = async { TraceContext::current_state() };
        let found = TraceScope::of(context, &headers).run(found).await;
        assert_eq!(found, Some(vendor));
        assert_eq!(state(&headers, TraceContext::root()).await, None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(trace in 1_u128.., span in 1_u64.., sampled: bool) {
            let (trace_id, span_id) = (TraceId::from(trace), SpanId::from(span));
            let context = TraceContext { trace_id, span_id, sampled };
            prop_assert_eq!(TraceContext::parse(&context.traceparent()), Some(context));
        }

        #[test]
        fn no_bytes_break_the_parser(bytes: Vec<u8>, keep in 0_usize..60) {
            // Half a traceparent, then anything.
            let mut text = format!("00-{TRACE}-{SPAN}-01").into_bytes();
            text.truncate(keep);
            text.extend(bytes);
            if let Some(context) = TraceContext::parse(&text) {
                let same = TraceContext::parse(&context.traceparent());
                prop_assert_eq!(same, Some(context));
                prop_assert!(context.trace_id != TraceId::INVALID && context.span_id != SpanId::INVALID);
            }
        }
    }
}
