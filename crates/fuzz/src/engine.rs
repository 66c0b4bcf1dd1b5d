//! The relay's engine between bytes of clients and bytes of instances.

use std::time::Duration;

use mesh_relay::{
    Config, Id,
    frame::{self, PREFACE},
};

use crate::support::{Bench, Plain, answer, data, request};

/// What the engine may keep for the two connections of each side.
const MEMORY: usize = 200_000;

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut client = Vec::new();
    request(&mut client, 1, &[("grpc-timeout", "1S")], false);
    data(&mut client, 1, b"hello", true);
    frame::reset(&mut client, 1, frame::ErrorCode::Cancel);
    let mut instance = Vec::new();
    frame::settings(&mut instance, &[]);
    answer(&mut instance, 1, b"hello");
    frame::go_away(&mut instance, 1, frame::ErrorCode::NoError, "");
    let mut both = Vec::new();
    for (who, bytes) in [(0, &client), (2, &instance)] {
        for piece in bytes.chunks(255) {
            both.extend_from_slice(&[who, piece.len() as u8]);
            both.extend_from_slice(piece);
        }
    }
    vec![both.clone(), [&both[..], &both[..]].concat()]
}

/// Records of who speaks, how many bytes, and the bytes: clients 0 and 1, instances 2 and 3; any
/// other is time that passes, or a connection that ends.
pub(crate) fn run(bytes: &[u8]) {
    let config = Config {
        max_output: 2000,
        replay: 1500,
        client_memory: 20_000,
        memory: 40_000,
        max_connections: 2,
        ..Config::default()
    };
    let mut bench = Bench::new(config, Plain::new(&[0, 1]));
    let mut clients = Vec::new();
    for _ in 0..2 {
        let id = bench.engine.accept();
        let mut hello = PREFACE.to_vec();
        frame::settings(&mut hello, &[]);
        bench.engine.received(id, &hello);
        clients.push(id);
    }
    let mut instances: Vec<Id> = Vec::new();
    let mut rest = bytes;
    while let [who, length, tail @ ..] = rest {
        let (said, tail) = tail.split_at(tail.len().min(usize::from(*length)));
        rest = tail;
        let side = match who {
            0 | 1 => clients.get(usize::from(*who)),
            2 | 3 => instances.get(usize::from(*who - 2)),
            4 => clients.first(),
            5 => instances.first(),
            _ => {
                bench.now += Duration::from_millis(u64::from(*length) * 10);
                bench.engine.tick(bench.now);
                None
            }
        };
        if let Some(id) = side.copied() {
            if *who < 4 {
                bench.engine.received(id, said);
            } else {
                bench.engine.closed(id);
                clients.retain(|client| *client != id);
                instances.retain(|instance| *instance != id);
            }
        }
        for to in bench.engine.take_wanted() {
            instances.push(bench.engine.connected(to));
        }
        assert!(bench.engine.memory() < MEMORY, "{bytes:x?}");
        // Everybody reads half of what there is.
        for id in clients.iter().chain(&instances) {
            let count = bench.engine.output(*id).len().div_ceil(2);
            bench.engine.wrote(*id, count);
        }
    }
    for id in clients.into_iter().chain(instances) {
        bench.engine.closed(id);
    }
    for to in bench.engine.take_wanted() {
        bench.engine.unreachable(to);
    }
    let engine = &bench.engine;
    assert_eq!((engine.calls(), engine.connections()), (0, 0), "{bytes:x?}");
    assert_eq!(engine.memory(), 0, "{bytes:x?}");
}
