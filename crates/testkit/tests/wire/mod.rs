//! HTTP/2 frames by hand, for clients that no library would make.

use mesh_testkit::raw::frame;

/// A frame that brings no call further.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Data,
    Priority,
    Settings,
    Ping,
    WindowUpdate,
}

/// Frames in a row.
#[derive(Debug, Default)]
pub(crate) struct Frames(Vec<u8>);

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

impl Frames {
    /// What a client says first.
    pub(crate) fn preface() -> Self {
        Self(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("it is short");
        self.0.extend_from_slice(&length.to_be_bytes()[1..]);
        self.0.extend_from_slice(&[kind, flags]);
        self.0.extend_from_slice(&stream.to_be_bytes());
        self.0.extend_from_slice(payload);
    }

    pub(crate) fn settings(&mut self, settings: &[(u16, u32)]) {
        let each = settings.iter().map(|(key, value)| {
            let (key, value) = (key.to_be_bytes(), value.to_be_bytes());
            [&key[..], &value[..]].concat()
        });
        let payload: Vec<u8> = each.flatten().collect();
        self.frame(4, 0, 0, &payload);
    }

    pub(crate) fn idle(&mut self, kind: Kind) {
        match kind {
            Kind::Data => self.frame(0, 0, 1, &[]),
            Kind::Priority => self.frame(2, 0, 1, &[0, 0, 0, 3, 7]),
            Kind::Settings => self.settings(&[(4, 65_535)]),
            Kind::Ping => self.frame(6, 0, 0, &[1; 8]),
            Kind::WindowUpdate => self.frame(8, 0, 0, &[0, 0, 0, 1]),
        }
    }

    pub(crate) fn reset(&mut self, stream: u32) {
        self.frame(3, 0, stream, &[0, 0, 0, 8]);
    }

    /// A call whose message is still to come.
    pub(crate) fn open_call(&mut self, stream: u32) {
        self.headers(stream, &[], END_HEADERS);
    }

    /// A header block that goes on.
    pub(crate) fn open_headers(&mut self, stream: u32) {
        self.headers(stream, &[], 0);
    }

    /// And on.
    pub(crate) fn continuation(&mut self, stream: u32) {
        let mut block = Vec::new();
        field(&mut block, "x-more", &"v".repeat(100));
        self.frame(9, 0, stream, &block);
    }

    /// `ExecuteTask` with one small message.
    pub(crate) fn call(&mut self, stream: u32, metadata: &[(&str, &str)], agent: &str) {
        self.headers(stream, metadata, END_HEADERS);
        self.frame(0, END_STREAM, stream, &frame(&task(agent, 5)));
    }

    /// The same with a message of some KiB, and so its answer.
    pub(crate) fn large_call(&mut self, stream: u32, agent: &str) {
        self.headers(stream, &[], END_HEADERS);
        self.frame(0, END_STREAM, stream, &frame(&task(agent, 2000)));
    }

    fn headers(&mut self, stream: u32, metadata: &[(&str, &str)], end: u8) {
        let mut block = Vec::new();
        for (name, value) in [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/agentplatform.AgentService/ExecuteTask"),
            (":authority", "mesh.test"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ] {
            field(&mut block, name, value);
        }
        for (name, value) in metadata {
            field(&mut block, name, value);
        }
        // Longer blocks go on in CONTINUATION.
        let mut pieces = block.chunks(16_384).peekable();
        let mut kind = 1;
        while let Some(piece) = pieces.next() {
            let flags = if pieces.peek().is_none() { end } else { 0 };
            self.frame(kind, flags, stream, piece);
            kind = 9;
        }
    }
}

/// A literal field without indexing.
fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        assert!(text.len() < 127, "a longer one takes more bytes");
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}

/// A `TaskRequest` with an input of so many bytes, under 16,384.
fn task(agent: &str, input: usize) -> Vec<u8> {
    let mut bytes = vec![2 << 3 | 2, agent.len() as u8];
    bytes.extend_from_slice(agent.as_bytes());
    bytes.extend_from_slice(&[3 << 3 | 2, (input & 0x7f) as u8 | 0x80, (input >> 7) as u8]);
    bytes.resize(bytes.len() + input, b'x');
    bytes
}

/// Whether the last words of a stream are among what was heard, which may be cut anywhere.
pub(crate) fn has_trailers(mut heard: &[u8], stream: u32) -> bool {
    while let [a, b, c, kind, flags, rest @ ..] = heard {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((id, rest)) = rest.split_first_chunk() else {
            return false;
        };
        if *kind == 1 && flags & END_STREAM != 0 && u32::from_be_bytes(*id) == stream {
            return rest.len() >= length;
        }
        let Some(next) = rest.get(length..) else {
            return false;
        };
        heard = next;
    }
    false
}
