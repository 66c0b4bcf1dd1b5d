//! Detects floods on a client's HTTP/2 connection, with the relay's limits: frames that advance no
//! call, calls that are cancelled at once, and calls that provoke our resets.
//!
//! The connection is closed when a limit is reached twice. The first time it gets GOAWAY and its
//! calls may finish: a router's connection carries calls of many clients, which must not suffer
//! from one of them.

use std::time::{Duration, Instant};

use mesh_relay::{
    Map,
    abuse_score::AbuseScore,
    frame::{FrameType, flag},
};

use super::frames::Frame;

/// Frames in ten seconds that advance no call, before the connection gets GOAWAY.
const MAX_IDLE_FRAMES: u32 = 1000;
/// How many of them one frame of a request offsets, and one of an answer: for each frame of an
/// answer some clients send two WINDOW_UPDATE and a PING.
const REQUEST_RELIEF: u32 = 2;
const ANSWER_RELIEF: u32 = 4;
/// How many cancelled calls one answered call offsets.
const CALL_RELIEF: u32 = 2;
/// Resets that may cross an answer on the wire, on either side.
const CROSSING: u32 = 2;
const MAX_CROSSING: u32 = 10_000;
/// A call cancelled later is an ordinary cancellation.
const RAPID: Duration = Duration::from_secs(1);
/// SETTINGS cost one frame more for each so many open calls, since they change each call's window.
const CALLS_A_FRAME: usize = 64;
/// Open calls at most: more than any limit of streams.
const MAX_OPEN_CALLS: usize = 1 << 20;

/// What to do with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    /// It gets GOAWAY, for this reason.
    GoAway(&'static str),
    /// It is closed, for this reason.
    Close(&'static str),
}

/// A call that has not ended.
#[derive(Clone, Copy, Debug)]
struct OpenCall {
    begun: Instant,
    answered: bool,
}

/// The account of one connection.
#[derive(Debug)]
pub(super) struct FloodDetector {
    /// Bytes of one header block on the wire.
    max_block: usize,
    open: Map<u32, OpenCall>,
    /// The highest stream that the client has opened.
    last: u32,
    idle: AbuseScore,
    wasted: AbuseScore,
    /// Resets that may still come for answered calls.
    crossing: u32,
    /// Our PINGs and SETTINGS that are not acknowledged yet.
    unanswered: u32,
    /// Bytes of the header block that has begun.
    block: Option<usize>,
    /// It has got GOAWAY.
    warned: bool,
}

impl FloodDetector {
    pub(super) fn new(wasted_calls: u32, max_block: usize, now: Instant) -> Self {
        Self {
            max_block,
            open: Map::default(),
            last: 0,
            idle: AbuseScore::new(MAX_IDLE_FRAMES, now),
            wasted: AbuseScore::new(wasted_calls, now),
            crossing: 0,
            unanswered: 0,
            block: None,
            warned: false,
        }
    }

    /// Calls that have not ended.
    pub(super) fn calls(&self) -> usize {
        self.open.len()
    }

    /// Whether a header block is incomplete.
    pub(super) fn in_block(&self) -> bool {
        self.block.is_some()
    }

    /// Counts a frame from the client.
    pub(super) fn received(&mut self, frame: Frame, now: Instant) -> Verdict {
        let head = frame.head;
        match head.kind {
            FrameType::Headers => {
                let ends = head.has(flag::END_HEADERS);
                self.block = (!ends).then_some(head.length);
                if head.stream > self.last {
                    self.last = head.stream;
                    let call = OpenCall {
                        begun: now,
                        answered: false,
                    };
                    self.open.insert(head.stream, call);
                    if self.open.len() > MAX_OPEN_CALLS {
                        return Verdict::Close("too many calls");
                    }
                } else if !self.open.contains_key(&head.stream) {
                    return self.idle(1, now);
                }
                Verdict::Ok
            }
            FrameType::Continuation => {
                let ends = head.has(flag::END_HEADERS);
                let bytes = self.block.unwrap_or(0) + head.length;
                self.block = (!ends).then_some(bytes);
                if (head.length == 0 && !ends) || bytes > self.max_block {
                    return Verdict::Close("a header block does not end");
                }
                Verdict::Ok
            }
            FrameType::Data if frame.empty && !head.has(flag::END_STREAM) => self.idle(1, now),
            FrameType::Data => {
                if !frame.empty && self.open.contains_key(&head.stream) {
                    self.idle.subtract(REQUEST_RELIEF);
                }
                Verdict::Ok
            }
            FrameType::RstStream => self.reset(head.stream, now),
            FrameType::Settings if head.has(flag::ACK) => self.acknowledged(now),
            FrameType::Ping if head.has(flag::ACK) => self.acknowledged(now),
            FrameType::Settings => {
                let calls = if head.length == 0 { 0 } else { self.open.len() };
                let cost = u32::try_from(1 + calls / CALLS_A_FRAME).unwrap_or(u32::MAX);
                self.idle(cost, now)
            }
            FrameType::Ping
            | FrameType::Priority
            | FrameType::PushPromise
            | FrameType::GoAway
            | FrameType::WindowUpdate
            | FrameType::Unknown => self.idle(1, now),
        }
    }

    /// Counts a frame of ours.
    pub(super) fn sent(&mut self, frame: Frame, now: Instant) -> Verdict {
        let head = frame.head;
        match head.kind {
            FrameType::Headers | FrameType::Data => {
                if head.kind == FrameType::Headers {
                    self.idle.subtract(REQUEST_RELIEF);
                    if let Some(call) = self.open.get_mut(&head.stream) {
                        call.answered = true;
                    }
                } else if !frame.empty {
                    self.idle.subtract(ANSWER_RELIEF);
                }
                if head.has(flag::END_STREAM) && self.open.remove(&head.stream).is_some() {
                    self.wasted.subtract(CALL_RELIEF);
                    self.crossing = (self.crossing + CROSSING).min(MAX_CROSSING);
                }
                Verdict::Ok
            }
            // A client that provokes our resets costs as much as one that resets itself.
            FrameType::RstStream => self.reset(head.stream, now),
            FrameType::Settings | FrameType::Ping if !head.has(flag::ACK) => {
                self.unanswered = self.unanswered.saturating_add(1);
                Verdict::Ok
            }
            _ => Verdict::Ok,
        }
    }

    fn reset(&mut self, stream: u32, now: Instant) -> Verdict {
        match self.open.remove(&stream) {
            Some(call) if !call.answered && now.duration_since(call.begun) < RAPID => {
                let fits = self.wasted.add(1, now);
                self.judge(fits, "wasted_calls", now)
            }
            Some(_) => Verdict::Ok,
            None if self.crossing > 0 => {
                self.crossing -= 1;
                Verdict::Ok
            }
            None => self.idle(1, now),
        }
    }

    fn acknowledged(&mut self, now: Instant) -> Verdict {
        match self.unanswered.checked_sub(1) {
            Some(less) => {
                self.unanswered = less;
                Verdict::Ok
            }
            None => self.idle(1, now),
        }
    }

    fn idle(&mut self, frames: u32, now: Instant) -> Verdict {
        let fits = self.idle.add(frames, now);
        self.judge(fits, "too many frames that do nothing", now)
    }

    fn judge(&mut self, fits: bool, reason: &'static str, now: Instant) -> Verdict {
        if fits {
            return Verdict::Ok;
        }
        if std::mem::replace(&mut self.warned, true) {
            return Verdict::Close(reason);
        }
        // As much again, for what is in flight until the client reads GOAWAY.
        self.idle.clear(now);
        self.wasted.clear(now);
        Verdict::GoAway(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_relay::frame::Head;

    fn frame(kind: FrameType, flags: u8, stream: u32, length: usize) -> Frame {
        let head = Head {
            length,
            kind,
            flags,
            stream,
        };
        Frame {
            head,
            empty: kind == FrameType::Data && length == 0,
        }
    }

    fn request(stream: u32) -> Frame {
        frame(
            FrameType::Headers,
            flag::END_HEADERS | flag::END_STREAM,
            stream,
            20,
        )
    }

    /// How often it may happen before GOAWAY, and before the connection is closed, where so many
    /// calls may be wasted.
    fn bears(
        limit: u32,
        mut happens: impl FnMut(&mut FloodDetector, u32, Instant) -> Verdict,
    ) -> (u32, u32) {
        let now = Instant::now();
        let mut flood = FloodDetector::new(limit, 1 << 16, now);
        let mut told = None;
        for n in 0..5000 {
            match happens(&mut flood, 2 * n + 1, now) {
                Verdict::Ok => {}
                Verdict::GoAway(_) => told = Some(n),
                Verdict::Close(_) => return (told.unwrap(), n),
            }
        }
        panic!("it is borne for ever; told at {told:?}");
    }

    #[test]
    fn calls_that_are_reset_by_the_client_or_made_to_be_reset_are_borne_up_to_the_limit() {
        let by_client = |flood: &mut FloodDetector, stream, now| {
            flood.received(request(stream), now);
            flood.received(frame(FrameType::RstStream, 0, stream, 4), now)
        };
        assert_eq!(bears(500, by_client), (500, 1001));
        assert_eq!(bears(7, by_client), (7, 15));
        let by_us = |flood: &mut FloodDetector, stream, now| {
            flood.received(request(stream), now);
            flood.sent(frame(FrameType::RstStream, 0, stream, 4), now)
        };
        assert_eq!(bears(500, by_us), (500, 1001));
    }

    #[test]
    fn every_kind_of_frame_that_does_nothing_is_borne_up_to_the_limit() {
        for idle in [
            frame(FrameType::Settings, 0, 0, 0),
            frame(FrameType::Settings, flag::ACK, 0, 0),
            frame(FrameType::Ping, 0, 0, 8),
            frame(FrameType::Ping, flag::ACK, 0, 8),
            frame(FrameType::Priority, 0, 1, 5),
            frame(FrameType::WindowUpdate, 0, 0, 4),
            frame(FrameType::GoAway, 0, 0, 8),
            frame(FrameType::Unknown, 0, 0, 0),
            frame(FrameType::Data, 0, 1, 0),
            frame(FrameType::RstStream, 0, 1, 4),
        ] {
            let borne = bears(500, |flood, _, now| flood.received(idle, now));
            assert_eq!(borne, (1000, 2001), "{idle:?}");
        }
    }

    #[test]
    fn answered_calls_make_up_for_cancelled_ones_and_their_resets_may_cross() {
        let now = Instant::now();
        let mut flood = FloodDetector::new(2, 1 << 16, now);
        let answer = |stream| frame(FrameType::Data, flag::END_STREAM, stream, 10);
        for n in 0..10_000u32 {
            let stream = 6 * n + 1;
            for stream in [stream, stream + 2, stream + 4] {
                assert_eq!(flood.received(request(stream), now), Verdict::Ok);
            }
            flood.sent(frame(FrameType::Headers, flag::END_HEADERS, stream, 9), now);
            flood.sent(answer(stream), now);
            for stream in [stream, stream + 2, stream + 4] {
                let reset = frame(FrameType::RstStream, 0, stream, 4);
                assert_eq!(flood.received(reset, now), Verdict::Ok, "{n}");
            }
        }
        assert_eq!(flood.calls(), 0);
    }

    #[test]
    fn what_a_client_that_measures_the_way_sends_with_each_answer_is_borne() {
        let now = Instant::now();
        let mut flood = FloodDetector::new(500, 1 << 16, now);
        flood.received(request(1), now);
        for _ in 0..10_000 {
            flood.sent(frame(FrameType::Data, 0, 1, 1000), now);
            for kind in [
                FrameType::WindowUpdate,
                FrameType::WindowUpdate,
                FrameType::Ping,
            ] {
                assert_eq!(flood.received(frame(kind, 0, 0, 8), now), Verdict::Ok);
            }
        }
    }

    #[test]
    fn a_header_block_without_end_is_cut_off_at_once() {
        let now = Instant::now();
        let mut flood = FloodDetector::new(500, 100, now);
        flood.received(frame(FrameType::Headers, 0, 1, 50), now);
        assert!(flood.in_block());
        let more = frame(FrameType::Continuation, 0, 1, 50);
        assert_eq!(flood.received(more, now), Verdict::Ok);
        assert!(matches!(flood.received(more, now), Verdict::Close(_)));
        let mut flood = FloodDetector::new(500, 100, now);
        flood.received(frame(FrameType::Headers, 0, 1, 50), now);
        let empty = frame(FrameType::Continuation, 0, 1, 0);
        assert!(matches!(flood.received(empty, now), Verdict::Close(_)));
    }
}
