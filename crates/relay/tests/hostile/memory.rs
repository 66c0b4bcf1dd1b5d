//! What is kept for clients is counted and bounded.

use mesh_relay::{
    Cause, Config, Ended, Verdict,
    frame::{self, ErrorCode, FrameType},
};

use crate::support::{Bench, Plain, answer, data, fields, goaway_code, request, reset_code};

/// An engine that keeps so much for a client, and whose host parks so many calls.
fn keeping(client_memory: usize, parked: usize) -> Bench {
    let config = Config {
        client_memory,
        ..Config::default()
    };
    let mut host = Plain::new(&[7]);
    host.script.extend((0..parked).map(|_| Verdict::Park));
    Bench::new(config, host)
}

#[test]
fn a_client_that_keeps_too_much_loses_its_calls() {
    let mut bench = keeping(100_000, 0);
    let mut client = bench.client();
    bench.say(&client, |out| frame::settings(out, &[(4, 0)]));
    for call in 0..3 {
        bench.say(&client, |out| request(out, 2 * call + 1, &[], true));
    }
    let mut instance = bench.instance();
    for call in 0..3 {
        bench.say(&instance, |out| {
            fields(out, 2 * call + 1, &[(":status", "200")], false);
            for _ in 0..4 {
                data(out, 2 * call + 1, &[0; 15_000], false);
            }
        });
    }
    let log = bench.log.lock().ended.clone();
    assert_eq!(log, [Ended::Broken(Cause::Memory); 2]);
    assert!(bench.engine.memory() <= 100_000);
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 3)), Some(8));
    assert_eq!(goaway_code(&bench.hear(&mut client)), None);
}

#[test]
fn heads_that_are_kept_count_as_memory() {
    let mut bench = keeping(100_000, 2);
    let mut client = bench.client();
    let large = "x".repeat(60_000);
    for stream in [1, 3] {
        bench.say(&client, |out| request(out, stream, &[("x", &large)], true));
    }
    assert_eq!(bench.log.lock().ended, [Ended::Refused]);
    assert_eq!(bench.log.lock().failures[0].cause, Cause::Memory);
    assert!((60_000..100_000).contains(&bench.engine.memory()));
    let seen = bench.of_stream(&mut client, 3);
    assert!(
        client
            .fields(&seen[0])
            .contains(&("grpc-status".to_owned(), "14".to_owned()))
    );
    bench.say(&client, |out| frame::reset(out, 1, ErrorCode::Cancel));
    assert_eq!(goaway_code(&bench.hear(&mut client)), None);
    bench.engine.closed(client.id);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

#[test]
fn trailers_that_wait_count_as_memory() {
    let mut bench = keeping(100_000, 2);
    let client = bench.client();
    let large = "x".repeat(60_000);
    for stream in [1, 3] {
        bench.say(&client, |out| {
            request(out, stream, &[], false);
            fields(out, stream, &[("x", &large)], true);
        });
    }
    assert_eq!(bench.log.lock().ended, [Ended::Refused]);
    assert!((60_000..100_000).contains(&bench.engine.memory()));
    bench.engine.closed(client.id);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

#[test]
fn calls_count_though_they_bring_nothing() {
    let mut bench = keeping(100_000, 5000);
    let mut client = bench.client();
    for n in 0..5000 {
        bench.say(&client, |out| request(out, 2 * n + 1, &[], false));
        bench.hear(&mut client);
    }
    assert!(
        (50..1000).contains(&bench.engine.calls()),
        "{}",
        bench.engine.calls()
    );
    assert!(bench.engine.memory() <= 100_000);
    bench.engine.closed(client.id);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

#[test]
fn those_who_keep_much_leave_room_for_the_others() {
    let config = Config {
        client_memory: 400_000,
        memory: 1_000_000,
        ..Config::default()
    };
    let mut bench = Bench::new(config, Plain::new(&[7]));
    let mut instance = None;
    let mut stream = 1;
    let mut hoarders: Vec<_> = (0..8).map(|_| bench.client()).collect();
    for hoarder in &mut hoarders {
        bench.say(hoarder, |out| frame::settings(out, &[(4, 0)]));
        for n in 0..100 {
            bench.say(hoarder, |out| request(out, 2 * n + 1, &[], true));
            let instance = instance.get_or_insert_with(|| bench.instance());
            bench.say(instance, |out| {
                fields(out, stream, &[(":status", "200")], false);
                data(out, stream, &[0; 5000], false);
            });
            bench.hear(instance);
            stream += 2;
        }
        bench.hear(hoarder);
    }
    let Some(mut instance) = instance else { return };
    assert!(bench.engine.memory() > 700_000, "much is kept");
    // Calls that have to wait need memory: nobody takes them yet.
    let mut decent = bench.client();
    bench
        .engine
        .host()
        .script
        .extend((0..5).map(|_| Verdict::Park));
    for n in 0..5 {
        bench.request(&decent, 2 * n + 1, Some(&[1; 5000]));
    }
    assert!(bench.engine.memory() <= 1_000_000);
    let calls = bench.engine.host().calls.clone();
    for call in calls.into_iter().rev().take(5) {
        bench.engine.resume(call, |_, _| Verdict::To(7));
    }
    let heads = bench.hear(&mut instance);
    for head in heads.iter().filter(|seen| seen.kind == FrameType::Headers) {
        bench.say(&instance, |out| answer(out, head.stream, b"a"));
    }
    let seen = bench.hear(&mut decent);
    assert_eq!(seen.iter().filter(|seen| seen.payload == b"a").count(), 5);
}

#[test]
fn who_does_not_read_what_needs_no_window_loses_the_connection() {
    let mut bench = keeping(200_000, 0);
    let client = bench.client();
    for n in 0..100 {
        bench.say(&client, |out| request(out, 2 * n + 1, &[], true));
    }
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    let large = "x".repeat(10_000);
    for n in 0..100 {
        let trailers_only = [(":status", "200"), ("grpc-status", "0"), ("x", &large)];
        bench.say(&instance, |out| {
            fields(out, 2 * n + 1, &trailers_only, true)
        });
        bench.engine.take_dirty(&mut Vec::new());
    }
    assert!(bench.engine.is_closed(client.id));
    assert!(bench.engine.memory() < 300_000);
    assert_eq!(bench.engine.calls(), 0);
}

#[test]
fn many_calls_that_cannot_be_kept_end_one_after_the_other() {
    let mut bench = keeping(20_000_000, 0);
    let client = bench.client();
    // They wait for a connection, until no more can be kept.
    let mut calls = 0;
    while bench.log.lock().ended.is_empty() {
        bench.request(&client, 2 * calls + 1, Some(&[0; 3000]));
        calls += 1;
    }
    assert!(calls > 5000);
    // What its windows do not let through would be kept a second time.
    let instance = bench.instance();
    bench.engine.closed(client.id);
    bench.engine.closed(instance.id);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
    assert_eq!(bench.log.lock().ended.len(), calls as usize);
}
