//! Clients that break the rules, or keep them only to do harm: each loses its stream or its
//! connection, and nobody else loses anything.

mod floods;
mod memory;
mod messages;
mod mistaken;
mod pseudo;
mod streams;
#[path = "../support/mod.rs"]
mod support;

use mesh_relay::Config;
use support::{Bench, Peer, Plain};

fn bench() -> Bench {
    Bench::new(Config::default(), Plain::new(&[7]))
}

/// A client with a call under way, and the instance that has it.
fn with_call(bench: &mut Bench) -> (Peer, Peer) {
    let client = bench.client();
    bench.request(&client, 1, Some(b"good"));
    let instance = bench.instance();
    (client, instance)
}
