//! Clients' connections that are silent: in the middle of something, or with nothing to do.

mod support;

use std::time::Duration;

use mesh_relay::{
    Config,
    frame::{self, flag},
};
use support::{Bench, Plain, answer, goaway_code};

const HANDSHAKE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(75);

fn bench() -> Bench {
    let config = Config {
        handshake_timeout: Some(HANDSHAKE),
        body_timeout: Some(SILENCE),
        keep_alive: Some(KEEP_ALIVE),
        ..Config::default()
    };
    Bench::new(config, Plain::new(&[7]))
}

/// Lets time pass in steps, as the driver does.
fn wait(bench: &mut Bench, time: Duration) {
    let end = bench.now + time;
    while let Some(at) = bench.engine.next_timer().filter(|at| *at <= end) {
        bench.engine.tick(at);
    }
    bench.engine.tick(end);
    bench.now = end;
}

#[test]
fn a_client_that_never_speaks_is_ended_after_the_handshake_time() {
    let mut bench = bench();
    let id = bench.engine.accept();
    wait(&mut bench, HANDSHAKE.mul_f64(0.9));
    assert!(!bench.engine.is_closed(id));
    wait(&mut bench, HANDSHAKE);
    assert!(bench.engine.is_closed(id));
}

#[test]
fn a_header_block_that_does_not_end_is_ended_though_it_goes_on() {
    let mut bench = bench();
    let client = bench.client();
    let fragment = |out: &mut Vec<u8>, kind: u8| {
        out.extend([0, 0, 1, kind, 0, 0, 0, 0, 1, 0x82]);
    };
    bench.say(&client, |out| fragment(out, 1));
    for second in 0.. {
        if bench.engine.is_closed(client.id) {
            assert!((10..=20).contains(&second), "{second}");
            return;
        }
        wait(&mut bench, Duration::from_secs(1));
        bench.say(&client, |out| fragment(out, 9));
    }
}

#[test]
fn a_frame_that_does_not_go_on_ends_its_connection_and_a_quiet_call_does_not() {
    let mut bench = bench();
    let (quiet, stuck) = (bench.client(), bench.client());
    for client in [&quiet, &stuck] {
        bench.request(client, 1, None);
    }
    // Five bytes of ten.
    bench.say(&stuck, |out| {
        out.extend([0, 0, 10, 0, flag::END_STREAM, 0, 0, 0, 1, 1, 2, 3, 4, 5])
    });
    wait(&mut bench, SILENCE.mul_f64(0.9));
    assert!(!bench.engine.is_closed(stuck.id));
    wait(&mut bench, SILENCE);
    assert!(bench.engine.is_closed(stuck.id));
    wait(&mut bench, 100 * KEEP_ALIVE);
    assert!(!bench.engine.is_closed(quiet.id));
}

#[test]
fn a_connection_with_nothing_to_do_is_told_to_go_away_and_ends() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    wait(&mut bench, 2 * KEEP_ALIVE);
    bench.say(&instance, |out| answer(out, 1, b"a"));
    wait(&mut bench, KEEP_ALIVE.mul_f64(0.9));
    assert_eq!(goaway_code(&bench.hear(&mut client)), None, "it was busy");
    // PING is no call.
    bench.say(&client, |out| frame::ping(out, [0; 8]));
    wait(&mut bench, KEEP_ALIVE.mul_f64(0.4));
    assert_eq!(goaway_code(&bench.hear(&mut client)), Some(0));
    wait(&mut bench, KEEP_ALIVE);
    assert!(bench.engine.is_closed(client.id));
}
