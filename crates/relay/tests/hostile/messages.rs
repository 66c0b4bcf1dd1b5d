//! Header blocks that are no messages, or too large.

use mesh_relay::{
    Cause, Ended,
    frame::{self},
};

use crate::{
    bench,
    support::{answer, data, fields, request, reset_code},
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

/// A literal that enters the peer's table, and one that does not.
fn literal(out: &mut Vec<u8>, indexed: bool, name: &str, length: usize) {
    out.push(if indexed { 0x40 } else { 0 });
    out.push(name.len() as u8);
    out.extend(name.as_bytes());
    // An integer with a prefix of 7 bits.
    let mut rest = length - 127;
    out.push(0x7f);
    while rest >= 128 {
        out.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    out.push(rest as u8);
    out.extend(std::iter::repeat_n(b'x', length));
}

#[test]
fn a_header_list_over_the_limit_ends_its_call_and_no_other() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"small"));
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    // The last of each enters the table, and is named by the call that follows.
    let blocks: [fn(&mut Vec<u8>); 5] = [
        |out| literal(out, false, "a", 70_000),
        |out| literal(out, true, "a", 70_000),
        |out| literal(out, false, "a", 3_000_000),
        |out| (0..100).for_each(|_| literal(out, true, "a", 1000)),
        // A bomb: one field of 4,000 bytes enters the table, and is named again and again.
        |out| {
            literal(out, true, "a", 4000);
            out.extend([0xbe; 10_000]);
        },
    ];
    for (number, write) in (1..).zip(blocks) {
        let stream = 4 * number + 1;
        bench.say(&client, |out| {
            let mut block = vec![0x83, 0x86, 0x84];
            write(&mut block);
            block.extend(b"\x40\x03new\x04");
            block.extend(format!("{number:04}").bytes());
            frame::headers(out, stream, &block, true, 1 << 14);
        });
        let seen = bench.of_stream(&mut client, stream);
        let got = client.fields(&seen[0]);
        assert!(got.contains(&("grpc-status".to_owned(), "8".to_owned())));
        assert!(bench.hear(&mut instance).is_empty());
        bench.say(&client, |out| {
            let mut block = vec![0x83, 0x86, 0x84];
            block.extend(b"\x01\x01a\xbe");
            frame::headers(out, stream + 2, &block, true, 1 << 14);
        });
        let seen = bench.hear(&mut instance);
        let got = instance.fields(&seen[0]);
        assert!(
            got.contains(&("new".to_owned(), format!("{number:04}"))),
            "{number}: {got:?}"
        );
        bench.say(&instance, |out| answer(out, seen[0].stream, b"a"));
        assert_eq!(bench.of_stream(&mut client, stream + 2).len(), 3);
    }
    bench.say(&instance, |out| answer(out, 1, b"a"));
    assert_eq!(bench.of_stream(&mut client, 1).len(), 3);
}

#[test]
fn an_answer_with_too_large_fields_ends_its_call_and_no_other() {
    for (length, trailers) in [
        (70_000, false),
        (70_000, true),
        (3_000_000, false),
        (3_000_000, true),
    ] {
        let mut bench = bench();
        let mut client = bench.client();
        bench.request(&client, 1, Some(b"one"));
        bench.request(&client, 3, Some(b"other"));
        let mut instance = bench.instance();
        bench.hear(&mut instance);
        let ok = [(":status", "200"), ("content-type", "application/grpc")];
        bench.say(&instance, |out| {
            let mut block = vec![0x88];
            if trailers {
                fields(out, 1, &ok, false);
                data(out, 1, b"part", false);
                block.clear();
            }
            literal(&mut block, true, "a", length);
            frame::headers(out, 1, &block, true, 1 << 14);
        });
        let seen = bench.of_stream(&mut client, 1);
        let got = client.fields(seen.last().unwrap());
        assert!(
            got.contains(&("grpc-status".to_owned(), "14".to_owned())),
            "{got:?}"
        );
        let log = bench.log.lock();
        if trailers {
            assert_eq!(log.ended, [Ended::Broken(Cause::LargeAnswer)]);
        } else {
            assert_eq!(log.failures[0].cause, Cause::LargeAnswer);
        }
        drop(log);
        // Its connection goes on, for the calls that it has and for others.
        bench.request(&client, 5, Some(b"next"));
        let next = bench.hear(&mut instance);
        assert_eq!(next.first().map(|seen| seen.stream), Some(5), "{next:?}");
        for stream in [3, 5] {
            bench.say(&instance, |out| answer(out, stream, b"a"));
            assert_eq!(bench.of_stream(&mut client, stream).len(), 3);
        }
    }
}

#[test]
fn an_answer_larger_than_its_client_takes_is_not_sent() {
    for trailers in [false, true] {
        let mut bench = bench();
        let mut client = bench.client();
        bench.say(&client, |out| frame::settings(out, &[(6, 1000)]));
        bench.request(&client, 1, Some(b"one"));
        let mut instance = bench.instance();
        bench.hear(&mut instance);
        let large = "x".repeat(1000);
        bench.say(&instance, |out| {
            let ok = [(":status", "200"), ("content-type", "application/grpc")];
            if trailers {
                fields(out, 1, &ok, false);
                fields(out, 1, &[("grpc-message", &large)], true);
            } else {
                fields(out, 1, &[ok[0], ok[1], ("grpc-message", &large)], true);
            }
        });
        let seen = bench.of_stream(&mut client, 1);
        let got = client.fields(seen.last().unwrap());
        let large = got.iter().find(|(_, value)| value.len() > 500);
        assert_eq!(large, None, "what the client says is believed");
        let cause = Cause::LargeForClient(1000);
        let log = bench.log.lock();
        if trailers {
            assert_eq!(log.ended, [Ended::Broken(cause)]);
        } else {
            assert_eq!(log.failures[0].cause, cause);
        }
    }
}

#[test]
fn trailers_of_a_request_that_are_too_large_end_its_call_only() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"other"));
    let mut instance = bench.instance();
    bench.say(&client, |out| {
        request(out, 3, &[], false);
        data(out, 3, b"body", false);
        let mut block = Vec::new();
        literal(&mut block, true, "a", 100_000);
        frame::headers(out, 3, &block, true, 1 << 14);
    });
    assert_eq!(bench.log.lock().failures[0].cause, Cause::LargeRequest);
    let seen = bench.of_stream(&mut client, 3);
    assert_eq!(reset_code(&seen), None);
    bench.hear(&mut instance);
    bench.say(&instance, |out| answer(out, 1, b"a"));
    assert_eq!(bench.of_stream(&mut client, 1).len(), 3);
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
