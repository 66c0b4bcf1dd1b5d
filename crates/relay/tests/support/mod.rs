//! What the relay's tests share: a simple host, and frames by hand.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "every test takes what it needs"
)]

use std::{collections::VecDeque, sync::Arc, time::Instant};

use mesh_relay::{
    Cause, Config, Ended, Endpoint, Engine, Failure, Host, Id, Verdict,
    frame::{self, FrameType, Head},
    hpack::{Block, Decoder, Token},
};
use parking_lot::Mutex;

/// What happened to the calls of a [`Plain`] host.
#[derive(Debug, Default)]
pub struct Log {
    pub begun: usize,
    pub ended: Vec<Ended>,
    pub failures: Vec<Failure>,
    pub bytes: usize,
}

/// Round robin over endpoints; retries what is safe, up to three times.
#[derive(Debug)]
pub struct Plain {
    pub endpoints: Vec<Endpoint>,
    pub next: usize,
    /// The call ids, to resume those that are parked.
    pub calls: Vec<Id>,
    /// Verdicts for the next `begin`s and `failed`s, before the usual ones.
    pub script: VecDeque<Verdict>,
    pub log: Arc<Mutex<Log>>,
    /// Bytes to be read before the call is sent.
    pub peek: usize,
    /// So many answers are not accepted.
    pub declines: usize,
}

#[derive(Debug)]
pub struct Kept {
    id: Id,
    read: usize,
    attempts: usize,
    routed: bool,
}

impl Plain {
    pub fn new(endpoints: &[Endpoint]) -> Self {
        Self {
            endpoints: endpoints.to_vec(),
            next: 0,
            calls: Vec::new(),
            script: VecDeque::new(),
            log: Arc::default(),
            peek: 0,
            declines: 0,
        }
    }

    fn pick(&mut self) -> Verdict {
        if let Some(verdict) = self.script.pop_front() {
            return verdict;
        }
        self.next += 1;
        match self.endpoints.get(self.next % self.endpoints.len().max(1)) {
            Some(to) => Verdict::To(*to),
            None => Verdict::Refuse(status(14, "no instance")),
        }
    }
}

/// A trailers-only answer.
pub fn status(code: u32, message: &str) -> Block {
    let mut block = Block::new();
    block.push(b":status", b"200");
    block.push(b"content-type", b"application/grpc");
    block.push(b"grpc-status", code.to_string().as_bytes());
    block.push(b"grpc-message", message.as_bytes());
    block
}

impl Host for Plain {
    type Call = Kept;

    fn on_request(&mut self, id: Id, _client: Id, request: &Block, end: bool) -> (Kept, Verdict) {
        self.log.lock().begun += 1;
        self.calls.push(id);
        let path = request.get(Token::Path).map_or(&b""[..], |f| f.value);
        let known = !path.starts_with(b"/unknown");
        let routed = end || self.peek == 0 || !known;
        let verdict = match (known, routed) {
            (false, _) => Verdict::Refuse(status(12, "unknown service")),
            (true, true) => self.pick(),
            (true, false) => Verdict::More,
        };
        let kept = Kept {
            id,
            read: 0,
            attempts: 1,
            routed,
        };
        (kept, verdict)
    }

    fn on_request_data(&mut self, call: &mut Kept, bytes: &[u8], end: bool) -> Verdict {
        call.read += bytes.len();
        self.log.lock().bytes += bytes.len();
        if !call.routed && (end || call.read >= self.peek) {
            call.routed = true;
            return self.pick();
        }
        Verdict::More
    }

    fn on_send(&mut self, call: &mut Kept, _to: Endpoint, extra: &mut Block) {
        extra.push(b"x-attempt", call.attempts.to_string().as_bytes());
    }

    fn accepts_response(
        &mut self,
        _call: &mut Kept,
        _response: &Block,
        _end: bool,
        _again: bool,
    ) -> bool {
        let declined = self.declines > 0;
        self.declines = self.declines.saturating_sub(1);
        !declined
    }

    fn on_response(&mut self, _call: &mut Kept, _response: &Block, extra: &mut Block) {
        extra.push(b"x-relayed", b"yes");
    }

    fn on_attempt_failed(&mut self, call: &mut Kept, failure: Failure) -> Verdict {
        self.log.lock().failures.push(failure);
        call.attempts += 1;
        let too_large = failure.cause == Cause::HeaderList;
        if failure.unsent && failure.repeatable && call.attempts <= 3 && !too_large {
            return self.pick();
        }
        match failure.cause {
            Cause::Deadline => Verdict::Refuse(status(4, "deadline")),
            cause => Verdict::Refuse(status(14, &format!("{cause:?}"))),
        }
    }

    fn response_aborted(&mut self, _call: &mut Kept, cause: Cause) -> Block {
        let mut block = Block::new();
        let code: &[u8] = if cause == Cause::Deadline {
            b"4"
        } else {
            b"14"
        };
        block.push(b"grpc-status", code);
        block
    }

    fn on_end(&mut self, call: Kept, ended: Ended) {
        let at = self.calls.iter().position(|id| *id == call.id);
        self.calls.remove(at.expect("a call ends once"));
        self.log.lock().ended.push(ended);
    }
}

/// A frame as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: FrameType,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A peer made by hand: writes frames, and reads the frames that come.
pub struct Peer {
    pub id: Id,
    decoder: Decoder,
}

/// An engine with peers made by hand.
pub struct Bench {
    pub engine: Engine<Plain>,
    pub log: Arc<Mutex<Log>>,
    pub now: Instant,
}

impl Bench {
    pub fn new(config: Config, host: Plain) -> Self {
        let now = Instant::now();
        let log = Arc::clone(&host.log);
        Self {
            engine: Engine::new(config, host, now),
            log,
            now,
        }
    }

    /// A client that has said its preface and SETTINGS.
    pub fn client(&mut self) -> Peer {
        let id = self.engine.accept();
        let mut preface = frame::PREFACE.to_vec();
        frame::settings(&mut preface, &[]);
        frame::settings_ack(&mut preface);
        self.engine.received(id, &preface);
        let mut peer = Peer::new(id);
        peer.read(&mut self.engine);
        peer
    }

    /// The instance to which a connection is wanted.
    pub fn instance(&mut self) -> Peer {
        self.instance_with(&[])
    }

    pub fn instance_with(&mut self, settings: &[(u16, u32)]) -> Peer {
        let wanted = self.engine.take_wanted();
        let to = *wanted.first().expect("a connection is wanted");
        let id = self.engine.connected(to);
        let mut preface = Vec::new();
        frame::settings(&mut preface, settings);
        frame::settings_ack(&mut preface);
        self.engine.received(id, &preface);
        Peer::new(id)
    }

    pub fn say(&mut self, peer: &Peer, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.engine.received(peer.id, &bytes);
    }

    /// A request with a body of its own, or none.
    pub fn request(&mut self, peer: &Peer, stream: u32, body: Option<&[u8]>) {
        self.say(peer, |out| {
            request(out, stream, &[], body.is_none());
            if let Some(body) = body {
                data(out, stream, body, true);
            }
        });
    }

    pub fn hear(&mut self, peer: &mut Peer) -> Vec<Seen> {
        peer.read(&mut self.engine)
    }

    /// What a peer hears of one stream, without what it hears of the connection.
    pub fn of_stream(&mut self, peer: &mut Peer, stream: u32) -> Vec<Seen> {
        let mut all = self.hear(peer);
        all.retain(|seen| seen.stream == stream);
        all
    }
}

impl Peer {
    fn new(id: Id) -> Self {
        Self {
            id,
            decoder: Decoder::new(4096),
        }
    }

    fn read(&mut self, engine: &mut Engine<Plain>) -> Vec<Seen> {
        let mut out = Vec::new();
        loop {
            let bytes = engine.output(self.id).to_vec();
            if bytes.is_empty() {
                break;
            }
            engine.wrote(self.id, bytes.len());
            out.extend(bytes);
        }
        let mut rest = out.strip_prefix(&frame::PREFACE[..]).unwrap_or(&out);
        let mut seen = Vec::new();
        while let Some(head) = Head::read(rest) {
            let (payload, tail) = rest[9..].split_at(head.length);
            rest = tail;
            seen.push(Seen {
                kind: head.kind,
                flags: head.flags,
                stream: head.stream,
                payload: payload.to_vec(),
            });
        }
        assert!(rest.is_empty(), "a frame is cut");
        seen
    }

    /// The fields of a HEADERS frame.
    pub fn fields(&mut self, seen: &Seen) -> Vec<(String, String)> {
        assert_eq!(seen.kind, FrameType::Headers);
        let mut block = Block::new();
        self.decoder
            .decode(&seen.payload, 1 << 20, &mut block)
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        block
            .fields()
            .map(|f| (text(f.name), text(f.value)))
            .collect()
    }
}

pub fn request(out: &mut Vec<u8>, stream: u32, more: &[(&str, &str)], end: bool) {
    let mut block = Block::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/test.Service/Method"),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    .iter()
    .chain(more)
    {
        block.push(name.as_bytes(), value.as_bytes());
    }
    frame::headers(out, stream, block.wire(), end, 1 << 14);
}

pub fn fields(out: &mut Vec<u8>, stream: u32, fields: &[(&str, &str)], end: bool) {
    let mut block = Block::new();
    for (name, value) in fields {
        block.push(name.as_bytes(), value.as_bytes());
    }
    frame::headers(out, stream, block.wire(), end, 1 << 14);
}

pub fn data(out: &mut Vec<u8>, stream: u32, bytes: &[u8], end: bool) {
    frame::head(out, bytes.len(), 0, u8::from(end), stream);
    out.extend_from_slice(bytes);
}

/// An answer: headers, a body, trailers.
pub fn answer(out: &mut Vec<u8>, stream: u32, body: &[u8]) {
    fields(
        out,
        stream,
        &[(":status", "200"), ("content-type", "application/grpc")],
        false,
    );
    data(out, stream, body, false);
    fields(out, stream, &[("grpc-status", "0")], true);
}

/// The code of the RST_STREAM, if that is what was seen.
pub fn reset_code(seen: &[Seen]) -> Option<u32> {
    let reset = seen.iter().find(|s| s.kind == FrameType::RstStream)?;
    Some(u32::from_be_bytes(reset.payload[..4].try_into().unwrap()))
}

/// The code of the GOAWAY, if one was seen.
pub fn goaway_code(seen: &[Seen]) -> Option<u32> {
    let last = seen.iter().rev().find(|s| s.kind == FrameType::GoAway)?;
    Some(u32::from_be_bytes(last.payload[4..8].try_into().unwrap()))
}
