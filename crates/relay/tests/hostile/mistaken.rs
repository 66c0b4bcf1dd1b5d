//! What looks like a flood, and is the ordinary life of a decent client.

use mesh_relay::frame;

use crate::{
    bench,
    support::{answer, data, fields, goaway_code, request, reset_code},
};

#[test]
fn bytes_under_way_when_their_call_was_answered_early_are_no_flood() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    let instance = bench.instance();
    bench.say(&instance, |out| answer(out, 1, b"enough"));
    assert_eq!(reset_code(&bench.of_stream(&mut client, 1)), Some(0));
    // As many small messages as its window had room for.
    for _ in 0..3000 {
        bench.say(&client, |out| data(out, 1, &[0; 80], false));
    }
    let seen = bench.hear(&mut client);
    assert_eq!((goaway_code(&seen), reset_code(&seen)), (None, None));
}

#[test]
fn bytes_of_many_calls_that_were_refused_at_once_are_no_flood() {
    let mut bench = bench();
    let mut client = bench.client();
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/unknown/x"),
    ];
    let streams = || (0..2000).map(|n| 2 * n + 1);
    for stream in streams() {
        bench.say(&client, |out| fields(out, stream, &head, false));
    }
    bench.hear(&mut client);
    for stream in streams() {
        bench.say(&client, |out| data(out, stream, b"under way", false));
    }
    let seen = bench.hear(&mut client);
    assert_eq!((goaway_code(&seen), reset_code(&seen)), (None, None));
}

#[test]
fn calls_that_end_without_bytes_are_no_flood() {
    let mut bench = bench();
    let mut client = bench.client();
    let streams = || (0..2000).map(|n| 2 * n + 1);
    for stream in streams() {
        bench.say(&client, |out| request(out, stream, &[], false));
    }
    for stream in streams() {
        bench.say(&client, |out| data(out, stream, b"", true));
    }
    assert_eq!(goaway_code(&bench.hear(&mut client)), None);
}

#[test]
fn a_window_that_grows_with_the_calls_under_way_is_no_flood() {
    let mut bench = bench();
    let mut client = bench.client();
    for n in 0..2000 {
        bench.say(&client, |out| request(out, 2 * n + 1, &[], false));
    }
    // gRPC libraries that measure bandwidth and delay double it up to 16 MiB.
    for doubled in 17..=24 {
        bench.say(&client, |out| frame::settings(out, &[(4, 1 << doubled)]));
    }
    assert_eq!(goaway_code(&bench.hear(&mut client)), None);
}
