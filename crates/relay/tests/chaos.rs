//! Anything may come from anywhere, in any pieces: nothing panics, nothing is left, no window is
//! overdrawn, and `h2` takes every byte that an instance is sent.

mod support;

use std::{collections::HashMap, time::Duration};

use mesh_relay::{
    Config, Id, Verdict,
    frame::{self, ErrorCode, FrameType, HEADER_BYTES, Head, PREFACE},
    settings::Settings,
};
use proptest::prelude::*;
use support::{Bench, Plain, data, fields, request};

#[derive(Clone, Debug)]
enum Act {
    Open {
        client: usize,
        end: bool,
        timeout: bool,
        bad: bool,
    },
    Body {
        client: usize,
        stream: u32,
        length: usize,
        end: bool,
    },
    Frame {
        client: bool,
        conn: usize,
        stream: u32,
        what: u8,
        value: u32,
    },
    Answer {
        conn: usize,
        stream: u32,
        what: u8,
        length: usize,
    },
    Garbage {
        client: bool,
        conn: usize,
        bytes: Vec<u8>,
    },
    Close {
        client: bool,
        conn: usize,
    },
    Accept,
    Dial {
        well: bool,
    },
    Read {
        client: bool,
        conn: usize,
        most: usize,
    },
    Tick(u64),
    Resume {
        at: usize,
    },
    Retire(u64),
    Drain,
}

fn act() -> impl Strategy<Value = Act> {
    let stream = || (0u32..8).prop_map(|n| 2 * n + 1);
    prop_oneof![
        8 => (0usize..3, any::<bool>(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(client, end, timeout, bad)| Act::Open { client, end, timeout, bad }),
        6 => (0usize..3, stream(), 0usize..3000, prop::bool::weighted(0.3))
            .prop_map(|(client, stream, length, end)| Act::Body { client, stream, length, end }),
        5 => (any::<bool>(), 0usize..3, stream(), 0u8..9, 0u32..3000)
            .prop_map(|(client, conn, stream, what, value)| Act::Frame { client, conn, stream, what, value }),
        12 => (0usize..3, stream(), 0u8..6, 0usize..3000)
            .prop_map(|(conn, stream, what, length)| Act::Answer { conn, stream, what, length }),
        1 => (any::<bool>(), 0usize..3, prop::collection::vec(any::<u8>(), 0..40))
            .prop_map(|(client, conn, bytes)| Act::Garbage { client, conn, bytes }),
        1 => (any::<bool>(), 0usize..3).prop_map(|(client, conn)| Act::Close { client, conn }),
        2 => Just(Act::Accept),
        6 => prop::bool::weighted(0.8).prop_map(|well| Act::Dial { well }),
        8 => (any::<bool>(), 0usize..3, 0usize..5000)
            .prop_map(|(client, conn, most)| Act::Read { client, conn, most }),
        1 => (0u64..2000).prop_map(Act::Tick),
        1 => (0usize..5).prop_map(|at| Act::Resume { at }),
        1 => (0u64..3).prop_map(Act::Retire),
        1 => prop::bool::weighted(0.1).prop_map(|drain| if drain { Act::Drain } else { Act::Accept }),
    ]
}

/// What a peer made by hand has granted and heard.
struct Side {
    id: Id,
    heard: Vec<u8>,
    next: u32,
    window: i64,
    largest: i64,
    credit: HashMap<u32, i64>,
}

struct Chaos {
    bench: Bench,
    clients: Vec<Side>,
    instances: Vec<Side>,
    /// Everything that instances heard whose connections are gone.
    gone: Vec<Vec<u8>>,
    piece: usize,
}

impl Side {
    fn new(id: Id) -> Self {
        Self {
            id,
            heard: Vec::new(),
            next: 1,
            window: 65_535,
            largest: 65_535,
            credit: HashMap::new(),
        }
    }

    /// No frame is cut, and no window was overdrawn.
    fn check(&self) {
        if PREFACE.starts_with(&self.heard) {
            return;
        }
        let mut rest = self.heard.strip_prefix(&PREFACE[..]).unwrap_or(&self.heard);
        let (mut total, mut streams) = (0, HashMap::new());
        while let Some(head) = Head::read(rest) {
            if head.kind == FrameType::Data {
                total += head.length as i64;
                *streams.entry(head.stream).or_insert(0) += head.length as i64;
            }
            assert!(head.length <= 16_384);
            let Some(tail) = rest.get(HEADER_BYTES + head.length..) else {
                break;
            };
            rest = tail;
        }
        assert!(total <= self.window, "{total} bytes of {}", self.window);
        for (stream, bytes) in streams {
            let credit = self.credit.get(&stream).copied().unwrap_or(0);
            assert!(
                bytes <= self.largest + credit,
                "stream {stream}: {bytes} bytes"
            );
        }
    }
}

impl Chaos {
    fn say(&mut self, id: Id, bytes: &[u8]) {
        for piece in bytes.chunks(self.piece) {
            self.bench.engine.received(id, piece);
        }
    }

    fn read(&mut self, client: bool, conn: usize, most: usize) {
        let sides = if client {
            &mut self.clients
        } else {
            &mut self.instances
        };
        let Some(side) = sides.get_mut(conn) else {
            return;
        };
        let output = self.bench.engine.output(side.id);
        let n = most.min(output.len());
        side.heard.extend_from_slice(&output[..n]);
        self.bench.engine.wrote(side.id, n);
        if self.bench.engine.is_closed(side.id) && self.bench.engine.output(side.id).is_empty() {
            self.close(client, conn);
        }
    }

    fn close(&mut self, client: bool, conn: usize) {
        let sides = if client {
            &mut self.clients
        } else {
            &mut self.instances
        };
        if conn < sides.len() {
            let side = sides.remove(conn);
            side.check();
            self.bench.engine.closed(side.id);
            if !client {
                self.gone.push(side.heard);
            }
        }
    }

    fn act(&mut self, act: Act) {
        let mut out = Vec::new();
        match act {
            Act::Accept => {
                if self.clients.len() < 3 {
                    let id = self.bench.engine.accept();
                    out.extend_from_slice(PREFACE);
                    frame::settings(&mut out, &[]);
                    self.say(id, &out);
                    self.clients.push(Side::new(id));
                }
            }
            Act::Dial { well } => {
                for to in self.bench.engine.take_wanted() {
                    if well {
                        let id = self.bench.engine.connected(to);
                        frame::settings(&mut out, &[]);
                        self.say(id, &out);
                        self.instances.push(Side::new(id));
                    } else {
                        self.bench.engine.unreachable(to);
                    }
                }
            }
            Act::Open {
                client,
                end,
                timeout,
                bad,
            } => {
                if let Some(side) = self.clients.get_mut(client) {
                    let more: &[_] = match (timeout, bad) {
                        (_, true) => &[("connection", "close")],
                        (true, false) => &[("grpc-timeout", "500m")],
                        _ => &[],
                    };
                    request(&mut out, side.next, more, end);
                    side.next += 2;
                    let id = side.id;
                    self.say(id, &out);
                }
            }
            Act::Body {
                client,
                stream,
                length,
                end,
            } => {
                if let Some(side) = self.clients.get(client) {
                    data(&mut out, stream, &vec![1; length], end);
                    self.say(side.id, &out);
                }
            }
            Act::Frame {
                client,
                conn,
                stream,
                what,
                value,
            } => self.frame(client, conn, stream, what, value),
            Act::Answer {
                conn,
                stream,
                what,
                length,
            } => {
                if let Some(side) = self.instances.get(conn) {
                    match what {
                        0 => fields(
                            &mut out,
                            stream,
                            &[(":status", "200"), ("grpc-status", "1")],
                            true,
                        ),
                        1 => fields(&mut out, stream, &[(":status", "200")], false),
                        2 => fields(&mut out, stream, &[("grpc-status", "0")], true),
                        3 => data(&mut out, stream, &vec![2; length], true),
                        _ => data(&mut out, stream, &vec![2; length], false),
                    }
                    self.say(side.id, &out);
                }
            }
            Act::Garbage {
                client,
                conn,
                bytes,
            } => {
                let sides = if client {
                    &self.clients
                } else {
                    &self.instances
                };
                if let Some(id) = sides.get(conn).map(|side| side.id) {
                    self.say(id, &bytes);
                }
            }
            Act::Close { client, conn } => self.close(client, conn),
            Act::Read { client, conn, most } => self.read(client, conn, most),
            Act::Tick(ms) => {
                self.bench.now += Duration::from_millis(ms);
                self.bench.engine.tick(self.bench.now);
            }
            Act::Resume { at } => {
                if let Some(call) = self.bench.engine.host().calls.get(at).copied() {
                    self.bench.engine.resume(call, |_, _| Verdict::To(1));
                }
            }
            Act::Retire(to) => self.bench.engine.retire(to),
            Act::Drain => self.bench.engine.drain(),
        }
    }

    fn frame(&mut self, client: bool, conn: usize, stream: u32, what: u8, value: u32) {
        let sides = if client {
            &mut self.clients
        } else {
            &mut self.instances
        };
        let Some(side) = sides.get_mut(conn) else {
            return;
        };
        let mut out = Vec::new();
        match what {
            0 => frame::ping(&mut out, [1; 8]),
            1 => frame::pong(&mut out, [1; 8]),
            2 => frame::reset(&mut out, stream, ErrorCode::Cancel),
            3 => frame::reset(&mut out, stream, ErrorCode::RefusedStream),
            4 => {
                frame::window_update(&mut out, stream, value);
                *side.credit.entry(stream).or_default() += i64::from(value);
            }
            5 => {
                frame::window_update(&mut out, 0, value + 1);
                side.window += i64::from(value + 1);
            }
            6 => {
                let settings = [(4, value * 40), (3, value % 5)];
                frame::settings(&mut out, &settings);
                side.largest = side.largest.max(i64::from(value * 40));
            }
            7 => frame::go_away(&mut out, stream, ErrorCode::NoError, ""),
            _ => fields(&mut out, stream, &[("x", "trailer")], true),
        }
        let id = side.id;
        self.say(id, &out);
    }
}

/// What was heard, but the answers to SETTINGS that `h2` has not sent.
fn without_answers(heard: &[u8]) -> Vec<u8> {
    let mut rest = heard.strip_prefix(&PREFACE[..]).unwrap_or(heard);
    let mut kept = heard[..heard.len() - rest.len()].to_vec();
    while let Some(head) = Head::read(rest) {
        let Some((whole, tail)) = rest.split_at_checked(HEADER_BYTES + head.length) else {
            break;
        };
        rest = tail;
        if head.kind != FrameType::Settings || head.flags & 1 == 0 {
            kept.extend_from_slice(whole);
        }
    }
    kept
}

/// Whether `h2` as the instance takes everything it was sent.
fn h2_takes(heard: &[u8]) {
    let heard = without_answers(heard);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::io::join(&heard[..], tokio::io::sink());
        let served = h2::server::Builder::new()
            .initial_window_size(1 << 30)
            .initial_connection_window_size(1 << 30)
            .max_concurrent_streams(1 << 20)
            .max_concurrent_reset_streams(1 << 20)
            .max_pending_accept_reset_streams(1 << 20)
            .max_local_error_reset_streams(None)
            .handshake::<_, bytes::Bytes>(stream)
            .await;
        let mut connection = match served {
            Ok(connection) => connection,
            Err(error) => return assert!(error.is_io() || error.is_remote(), "{error:?}"),
        };
        let mut calls = Vec::new();
        while let Some(call) = connection.accept().await {
            match call {
                Ok(call) => calls.push(call),
                Err(error) => return assert!(error.is_io() || error.is_remote(), "{error:?}"),
            }
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn nothing_breaks_it(
        acts in prop::collection::vec(act(), 1..150),
        piece in prop_oneof![Just(1usize), 2usize..30, Just(100_000)],
        peek in prop_oneof![Just(0usize), 1usize..2000],
    ) {
        let settings = Settings { window: 4000, max_streams: 6, ..Config::default().clients };
        let config = Config {
            clients: settings,
            instances: settings,
            connection_window: 70_000,
            max_output: 2000,
            replay: 1500,
            client_memory: 20_000,
            memory: 40_000,
            max_connections: 2,
            ..Config::default()
        };
        let mut host = Plain::new(&[0, 1]);
        host.peek = peek;
        host.script.extend([Verdict::Park, Verdict::More, Verdict::Park]);
        let bench = Bench::new(config, host);
        let mut chaos = Chaos { bench, clients: Vec::new(), instances: Vec::new(), gone: Vec::new(), piece };
        chaos.act(Act::Accept);
        for act in acts {
            chaos.act(act);
            prop_assert!(chaos.bench.engine.memory() < 400_000);
        }
        // Whoever is left reads all, and leaves.
        for client in [true, false] {
            for conn in (0..6).rev() {
                chaos.read(client, conn, usize::MAX);
                chaos.close(client, conn);
            }
        }
        let engine = &chaos.bench.engine;
        let log = chaos.bench.log.lock();
        let parked = log.begun - log.ended.len();
        prop_assert_eq!((engine.calls(), parked), (0, 0));
        prop_assert_eq!((engine.memory(), engine.connections()), (0, 0));
        for heard in &chaos.gone {
            h2_takes(heard);
        }
    }
}
