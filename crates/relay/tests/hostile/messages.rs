//! Header blocks that are no messages, or too large.

use mesh_relay::frame::{self};

use crate::{
    bench,
    support::{answer, goaway_code, request, reset_code},
    with_call,
};

#[test]
fn messages_that_are_none_lose_their_stream_and_reach_no_instance() {
    let bad: [&[(&str, &str)]; 8] = [
        &[("connection", "close")],
        &[("te", "gzip")],
        &[("x", "a\u{1}b")],
        &[("X-Caps", "x")],
        &[(":path", "/twice")],
        &[(":unknown", "x")],
        &[("content-length", "5")],
        &[("content-length", "1"), ("content-length", "2")],
    ];
    for more in bad {
        let mut bench = bench();
        let (_good, mut instance) = with_call(&mut bench);
        bench.hear(&mut instance);
        let mut client = bench.client();
        bench.say(&client, |out| request(out, 1, more, true));
        assert_eq!(
            reset_code(&bench.of_stream(&mut client, 1)),
            Some(1),
            "{more:?}"
        );
        assert!(bench.hear(&mut instance).is_empty(), "{more:?}");
    }
}

#[test]
fn a_header_list_over_the_limit_is_answered_and_far_over_ends_the_connection() {
    let mut bench = bench();
    let mut client = bench.client();
    let large = "x".repeat(40_000);
    bench.say(&client, |out| {
        request(out, 1, &[("a", &large), ("b", &large)], true)
    });
    let seen = bench.of_stream(&mut client, 1);
    let got = client.fields(&seen[0]);
    assert!(got.contains(&("grpc-status".to_owned(), "8".to_owned())));
    // A bomb: one field of 4,000 bytes enters the table, and is named again and again.
    bench.say(&client, |out| {
        let mut block = vec![0x40, 1, b'a', 0x7f, 0xa1, 0x1e];
        block.extend([b'x'; 4000]);
        block.extend([0xbe; 10_000]);
        frame::headers(out, 3, &block, true, 1 << 14);
    });
    assert_eq!(goaway_code(&bench.hear(&mut client)), Some(11));
}

#[test]
fn a_header_list_that_an_instance_does_not_take_is_not_sent() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"small"));
    let mut instance = bench.instance_with(&[(6, 1000)]);
    bench.hear(&mut instance);
    let large = "x".repeat(1000);
    bench.say(&client, |out| request(out, 3, &[("x", &large)], true));
    let seen = bench.of_stream(&mut client, 3);
    let got = client.fields(&seen[0]);
    assert!(got.contains(&("grpc-message".to_owned(), "HeaderList".to_owned())));
    assert!(bench.hear(&mut instance).is_empty());
    bench.say(&instance, |out| answer(out, 1, b"a"));
    assert_eq!(bench.of_stream(&mut client, 1).len(), 3);
    // A further connection is not tried with it either, before it has said its limit.
    bench.engine.closed(instance.id);
    bench.request(&client, 5, Some(b"small"));
    let to = bench.engine.take_wanted();
    let id = bench.engine.connected(to[0]);
    bench.engine.wrote(id, bench.engine.output(id).len());
    bench.say(&client, |out| request(out, 7, &[("x", &large)], true));
    assert!(bench.engine.output(id).is_empty());
}
