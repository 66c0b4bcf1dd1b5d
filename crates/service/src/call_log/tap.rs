//! Taps: whoever asks the admin listener's `/tap` sees calls as they end, a line of JSON each.
//!
//! A tap shows at most [`PER_SECOND`] calls a second. How many more there were, its next line tells.

mod query;

use std::{
    collections::VecDeque,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use arc_swap::{ArcSwapOption, Guard};
use bytes::Bytes;
use parking_lot::Mutex;
use telemetry::json_text;
use tokio::sync::mpsc;

use super::{
    CallHead, FinishedCall,
    head::Metadata,
    line::{self, LineCache},
};
pub use query::{InvalidQuery, TapQuery};

/// Calls that one tap shows in a second, at most.
pub const PER_SECOND: usize = 100;
/// Taps that may be open at once.
pub(crate) const MOST_TAPS: usize = 8;
/// Lines that a tap's reader may leave unread.
const UNREAD: usize = 2 * PER_SECOND;
/// How long a tap rests whose reader is slow.
const SLOW_READER: Duration = Duration::from_millis(10);
/// What times of taps count from.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);
/// Values of these are never shown.
const SECRET: [&[u8]; 3] = [b"authorization", b"cookie", b"proxy-authorization"];

/// The taps that are open. Calls pay one load of an atomic while there is none, and little more while
/// all of them have shown enough for now.
#[derive(Debug, Default)]
pub(crate) struct Taps {
    open: AtomicBool,
    /// The time until which no tap shows a call.
    blocked_until: AtomicU64,
    taps: Mutex<Vec<Arc<Tap>>>,
    /// Names of metadata whose values are shown by one of them; `None` while none is open.
    wanted: ArcSwapOption<Vec<Box<[u8]>>>,
}

#[derive(Debug)]
struct Tap {
    query: TapQuery,
    lines: mpsc::Sender<Bytes>,
    state: Mutex<TapState>,
    /// The time until which no call is shown, for there were enough, and that from which. Of calls that
    /// begin meanwhile nothing is kept.
    blocked_until: AtomicU64,
    blocked_since: AtomicU64,
    /// Calls since the last line that it would have shown.
    skipped: AtomicU64,
}

#[derive(Debug, Default)]
struct TapState {
    cache: LineCache,
    /// When the last [`PER_SECOND`] lines were written.
    shown: VecDeque<Instant>,
}

/// An open tap. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct OpenTap {
    taps: Arc<Taps>,
    tap: Arc<Tap>,
    lines: mpsc::Receiver<Bytes>,
}

impl Taps {
    /// Opens one more; `None` when [`MOST_TAPS`] are open.
    pub(crate) fn open(self: &Arc<Self>, query: TapQuery) -> Option<OpenTap> {
        let (sender, lines) = mpsc::channel(UNREAD);
        let tap = Arc::new(Tap {
            query,
            lines: sender,
            state: Mutex::default(),
            blocked_until: AtomicU64::new(0),
            blocked_since: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
        });
        let mut taps = self.taps.lock();
        if taps.len() == MOST_TAPS {
            return None;
        }
        taps.push(Arc::clone(&tap));
        self.changed(&taps);
        drop(taps);
        Some(OpenTap {
            taps: Arc::clone(self),
            tap,
            lines,
        })
    }

    fn close(&self, tap: &Arc<Tap>) {
        let mut taps = self.taps.lock();
        taps.retain(|it| !Arc::ptr_eq(it, tap));
        self.changed(&taps);
    }

    fn changed(&self, taps: &[Arc<Tap>]) {
        let headers = taps.iter().flat_map(|tap| tap.query.headers());
        let wanted = headers.map(|name| name.as_bytes().into()).collect();
        self.wanted
            .store((!taps.is_empty()).then(|| Arc::new(wanted)));
        self.note_blocked(taps);
        self.open.store(!taps.is_empty(), Relaxed);
    }

    fn note_blocked(&self, taps: &[Arc<Tap>]) {
        let until = taps.iter().map(|tap| tap.blocked_until.load(Relaxed)).min();
        self.blocked_until.store(until.unwrap_or(0), Relaxed);
    }

    /// Whether one is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Relaxed)
    }

    /// The metadata whose values are shown; `None` while no tap is open, or none shows a call now.
    pub(super) fn wanted(&self) -> Option<Arc<Vec<Box<[u8]>>>> {
        if !self.is_open() || micros(Instant::now()) < self.blocked_until.load(Relaxed) {
            return None;
        }
        Guard::into_inner(self.wanted.load())
    }

    /// Shows a call to every tap that wants it.
    pub(super) fn write(&self, head: Option<&CallHead>, call: &FinishedCall<'_>) {
        let taps = self.taps.lock();
        let wanting = taps.iter().filter(|tap| tap.query.matches(call));
        let now = Instant::now();
        let mut blocked = false;
        for tap in wanting {
            blocked |= tap.write(now, head, call);
        }
        if blocked {
            self.note_blocked(&taps);
        }
    }
}

impl Tap {
    /// Shows a call, unless there were enough. Says whether none is shown from now on for a while.
    fn write(&self, now: Instant, head: Option<&CallHead>, call: &FinishedCall<'_>) -> bool {
        let at = micros(now);
        let blocked_until = self.blocked_until.load(Relaxed);
        // A call that began while nothing was kept has no metadata to show.
        let began = at.saturating_sub(u64::try_from(call.duration.as_micros()).unwrap_or(u64::MAX));
        let began_blocked = (self.blocked_since.load(Relaxed)..blocked_until).contains(&began);
        let kept = head.is_some_and(|head| head.metadata.is_some());
        if at < blocked_until || began_blocked && !kept {
            self.skipped.fetch_add(1, Relaxed);
            return false;
        }
        let mut state = self.state.lock();
        let TapState { cache, shown } = &mut *state;
        if shown.len() == PER_SECOND {
            let again = shown[0] + Duration::from_secs(1);
            if now < again {
                self.skipped.fetch_add(1, Relaxed);
                self.block(now, again);
                return true;
            }
            shown.pop_front();
        }
        let Ok(place) = self.lines.try_reserve() else {
            // Its reader is slow, or gone.
            self.skipped.fetch_add(1, Relaxed);
            self.block(now, now + SLOW_READER);
            return true;
        };
        shown.push_back(now);
        let mut out = Vec::with_capacity(512);
        line::begin(&mut out, cache, head, call);
        if let Some(metadata) = head.and_then(|head| head.metadata.as_ref()) {
            self.metadata(&mut out, metadata);
        }
        let skipped = self.skipped.swap(0, Relaxed);
        if skipped > 0 {
            out.extend_from_slice(b",\"skipped\":");
            json_text::number(&mut out, skipped);
        }
        line::end(&mut out);
        place.send(out.into());
        false
    }

    fn block(&self, since: Instant, until: Instant) {
        self.blocked_since.store(micros(since), Relaxed);
        self.blocked_until.store(micros(until), Relaxed);
    }

    /// The names of metadata, and the values that were asked for.
    fn metadata(&self, out: &mut Vec<u8>, metadata: &Metadata) {
        out.extend_from_slice(b",\"metadata\":[");
        for (place, (name, _)) in metadata.fields().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            json_text::string(out, name);
        }
        out.push(b']');
        if self.query.headers().is_empty() {
            return;
        }
        out.extend_from_slice(b",\"headers\":{");
        for (place, wanted) in self.query.headers().iter().enumerate() {
            if place > 0 {
                out.push(b',');
            }
            json_text::string(out, wanted.as_bytes());
            out.push(b':');
            let values = metadata
                .fields()
                .filter(|(name, _)| *name == wanted.as_bytes());
            match values.filter_map(|(_, value)| value).next() {
                Some(_) if SECRET.contains(&wanted.as_bytes()) => {
                    out.extend_from_slice(b"\"***\"");
                }
                Some(value) => {
                    let shown = String::from_utf8_lossy(value);
                    json_text::string(out, telemetry::redact(&shown).as_bytes());
                }
                None => out.extend_from_slice(b"null"),
            }
        }
        out.push(b'}');
    }
}

fn micros(at: Instant) -> u64 {
    let since = at.saturating_duration_since(*START);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

impl OpenTap {
    /// The next line; cancel-safe.
    pub(crate) fn poll_line(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Bytes>> {
        self.lines.poll_recv(cx)
    }
}

impl Drop for OpenTap {
    fn drop(&mut self) {
        self.taps.close(&self.tap);
    }
}
