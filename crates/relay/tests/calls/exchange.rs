//! What passes between a client and its instance when nothing goes wrong.

use mesh_relay::{Cause, Config, Ended, Verdict, frame::ErrorCode};

use crate::{
    bench,
    support::{Bench, Plain, answer, data, fields, request, reset_code},
    value,
};

#[test]
fn a_unary_call_goes_there_and_back() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"question"));
    let mut instance = bench.instance();
    let seen = bench.of_stream(&mut instance, 1);
    let sent = instance.fields(&seen[0]);
    assert_eq!(value(&sent, ":path"), Some("/test.Service/Method"));
    assert_eq!(value(&sent, "x-attempt"), Some("1"));
    assert_eq!(
        (seen[1].payload.as_slice(), seen[1].flags),
        (&b"question"[..], 1)
    );
    bench.say(&instance, |out| answer(out, 1, b"answer"));
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(seen.len(), 3);
    let got = client.fields(&seen[0]);
    assert_eq!(value(&got, "x-relayed"), Some("yes"));
    assert_eq!(seen[1].payload, b"answer");
    assert_eq!(seen[2].flags & 1, 1);
    assert_eq!(bench.log.lock().ended, [Ended::Answered(Some(0))]);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

#[test]
fn a_trailers_only_answer_ends_the_call() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200"), ("grpc-status", "5")], true)
    });
    assert_eq!(bench.of_stream(&mut client, 1).len(), 1);
    assert_eq!(bench.log.lock().ended, [Ended::Answered(Some(5))]);
}

#[test]
fn the_host_may_read_before_it_decides() {
    let mut host = Plain::new(&[7]);
    host.peek = 4;
    let mut bench = Bench::new(Config::default(), host);
    let client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    bench.say(&client, |out| data(out, 1, b"ab", false));
    assert!(bench.engine.take_wanted().is_empty());
    bench.say(&client, |out| data(out, 1, b"cd", false));
    let mut instance = bench.instance();
    bench.say(&client, |out| data(out, 1, b"ef", true));
    let seen = bench.of_stream(&mut instance, 1);
    let body: Vec<u8> = seen[1..].iter().flat_map(|s| s.payload.clone()).collect();
    assert_eq!(body, b"abcdef");
}

#[test]
fn a_parked_call_goes_on_when_it_is_resumed() {
    let mut host = Plain::new(&[7]);
    host.script.push_back(Verdict::Park);
    let mut bench = Bench::new(Config::default(), host);
    let client = bench.client();
    bench.request(&client, 1, Some(b"late"));
    assert!(bench.engine.take_wanted().is_empty());
    let call = bench.engine.host().calls[0];
    bench.engine.resume(call, |_, _| Verdict::To(9));
    let mut instance = bench.instance();
    assert_eq!(bench.of_stream(&mut instance, 1)[1].payload, b"late");
    bench.engine.resume(call, |_, _| Verdict::To(9));
    assert!(bench.of_stream(&mut instance, 3).is_empty(), "only once");
}

#[test]
fn interim_answers_are_left_out() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "103"), ("link", "x")], false);
        answer(out, 1, b"a");
    });
    assert_eq!(bench.of_stream(&mut client, 1).len(), 3);
}

#[test]
fn an_unknown_service_is_refused_without_an_instance() {
    let mut bench = bench();
    let mut client = bench.client();
    let fields_of = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/unknown/x"),
    ];
    bench.say(&client, |out| fields(out, 1, &fields_of, false));
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(value(&client.fields(&seen[0]), "grpc-status"), Some("12"));
    assert_eq!(reset_code(&seen), Some(0), "the rest is not wanted");
    assert_eq!(bench.log.lock().ended, [Ended::Refused]);
}

#[test]
fn a_stream_more_than_allowed_is_refused_and_leaves_the_others_alone() {
    let mut config = Config::default();
    config.clients.max_streams = 2;
    let mut bench = Bench::new(config, Plain::new(&[7]));
    let mut client = bench.client();
    for stream in [1, 3, 5] {
        bench.request(&client, stream, Some(b"q"));
    }
    let refused = bench.of_stream(&mut client, 5);
    assert_eq!(reset_code(&refused), Some(ErrorCode::RefusedStream as u32));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200"), ("grpc-status", "0")], true)
    });
    // One has ended: there is room for one more.
    bench.request(&client, 7, Some(b"q"));
    assert_eq!(bench.engine.calls(), 2);
}

#[test]
fn an_answer_that_is_no_http_fails_only_its_call() {
    let bad: [&[(&str, &str)]; 4] = [
        &[("no-status", "x")],
        &[(":status", "20")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), (":path", "/")],
    ];
    for fields_of in bad {
        let mut bench = bench();
        let client = bench.client();
        bench.request(&client, 1, Some(b"q"));
        let mut instance = bench.instance();
        bench.hear(&mut instance);
        bench.say(&instance, |out| fields(out, 1, fields_of, false));
        assert_eq!(reset_code(&bench.of_stream(&mut instance, 1)), Some(1));
        let cause = bench.log.lock().failures[0].cause;
        assert_eq!(cause, Cause::Malformed(ErrorCode::ProtocolError));
        assert!(!bench.engine.is_closed(instance.id));
    }
}

#[test]
fn an_answer_shorter_than_its_length_is_broken() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(
            out,
            1,
            &[(":status", "200"), ("content-length", "5")],
            false,
        );
        data(out, 1, b"four", true);
    });
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(
        value(&client.fields(seen.last().unwrap()), "grpc-status"),
        Some("14")
    );
}

#[test]
fn spaces_around_a_value_are_taken_off() {
    let mut bench = bench();
    let mut client = bench.client();
    let request = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/a.S/M"),
        ("x-padded", "\t two words "),
    ];
    bench.say(&client, |out| fields(out, 1, &request, true));
    let mut instance = bench.instance();
    let seen = bench.of_stream(&mut instance, 1);
    let sent = instance.fields(&seen[0]);
    assert_eq!(value(&sent, "x-padded"), Some("two words"));
    // gRPC libraries leave a space at the end of a message as it is.
    let answer = [
        (":status", "200"),
        ("grpc-status", "5"),
        ("grpc-message", "why: "),
    ];
    bench.say(&instance, |out| fields(out, 1, &answer, true));
    let seen = bench.of_stream(&mut client, 1);
    let got = client.fields(&seen[0]);
    assert_eq!(value(&got, "grpc-message"), Some("why:"));
    assert_eq!(bench.log.lock().ended, [Ended::Answered(Some(5))]);
}

#[test]
fn a_body_that_comes_in_crumbs_goes_on_in_few_frames() {
    let mut bench = bench();
    let client = bench.client();
    bench.say(&client, |out| {
        request(out, 1, &[], false);
        request(out, 3, &[], false);
    });
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    let crumbs = |bench: &mut Bench, stream, last| {
        for n in 0..1000 {
            bench.say(&client, |out| data(out, stream, &[7], last && n == 999));
        }
    };
    let mut bodies = Vec::new();
    for (stream, last) in [(1, false), (3, false), (1, false), (1, true), (3, false)] {
        crumbs(&mut bench, stream, last);
    }
    bodies.extend(bench.hear(&mut instance));
    // What has been written does not grow any more.
    crumbs(&mut bench, 3, true);
    bodies.extend(bench.hear(&mut instance));
    bodies.retain(|seen| seen.stream != 0);
    let received: Vec<_> = bodies
        .iter()
        .map(|s| (s.stream, s.payload.len(), s.flags))
        .collect();
    assert_eq!(
        received,
        [
            (1, 1000, 0),
            (3, 1000, 0),
            (1, 2000, 1),
            (3, 1000, 0),
            (3, 1000, 1)
        ]
    );
    assert!(
        bodies
            .iter()
            .all(|seen| seen.payload.iter().all(|byte| *byte == 7))
    );
}

#[test]
fn frames_that_grow_keep_to_the_peers_limit() {
    let mut bench = bench();
    let client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    for _ in 0..40 {
        bench.say(&client, |out| data(out, 1, &[7; 1000], false));
    }
    bench.say(&client, |out| data(out, 1, &[], true));
    let seen = bench.of_stream(&mut instance, 1);
    let received: Vec<_> = seen.iter().map(|s| (s.payload.len(), s.flags)).collect();
    assert_eq!(received, [(16_000, 0), (16_000, 0), (8000, 1)]);
}
