//! How many streams a connection has, and when it ends.

use mesh_relay::{
    Cause, Config,
    frame::{self, FrameType},
};

use crate::{
    bench,
    support::{Bench, Plain, Seen, answer, data, fields, goaway_code, reset_code},
};

#[test]
fn the_instances_limit_of_streams_is_respected() {
    let config = Config {
        max_connections: 2,
        ..Config::default()
    };
    let mut bench = Bench::new(config, Plain::new(&[7]));
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let mut first = bench.instance_with(&[(3, 2)]);
    for stream in [3, 5, 7, 9, 11] {
        bench.request(&client, stream, Some(b"q"));
    }
    let heads = |seen: &[Seen]| seen.iter().filter(|s| s.kind == FrameType::Headers).count();
    assert_eq!(heads(&bench.hear(&mut first)), 2);
    let mut second = bench.instance_with(&[(3, 2)]);
    bench.hear(&mut second);
    assert!(bench.engine.take_wanted().is_empty(), "two are the most");
    bench.say(&first, |out| answer(out, 1, b"a"));
    assert_eq!(
        heads(&bench.hear(&mut first)),
        1,
        "its slot is taken at once"
    );
    bench.hear(&mut client);
    bench.engine.closed(first.id);
    assert_eq!(
        bench.engine.take_wanted(),
        [7],
        "one is lost, another is wanted"
    );
}

#[test]
fn the_slot_is_free_when_the_instance_is_through_however_slow_the_client() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| frame::settings(out, &[(4, 10)]));
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance_with(&[(3, 1)]);
    bench.request(&client, 3, Some(b"q"));
    bench.say(&instance, |out| answer(out, 1, &[1; 100]));
    let mut instance = instance;
    let second = bench.of_stream(&mut instance, 3);
    assert!(!second.is_empty());
    assert_eq!(bench.engine.calls(), 2, "the first is not delivered");
    bench.say(&client, |out| frame::window_update(out, 1, 90));
    let body: usize = bench
        .of_stream(&mut client, 1)
        .iter()
        .filter(|s| s.kind == FrameType::Data)
        .map(|s| s.payload.len())
        .sum();
    assert_eq!((body, bench.engine.calls()), (100, 1));
}

#[test]
fn a_retired_endpoint_ends_its_connections_after_their_last_call() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.engine.retire(7);
    assert!(!bench.engine.is_closed(instance.id));
    bench.say(&instance, |out| answer(out, 1, b"a"));
    assert_eq!(bench.of_stream(&mut client, 1).len(), 3);
    assert!(bench.engine.is_closed(instance.id));
    let late = bench.engine.connected(7);
    assert!(bench.engine.is_closed(late), "opened for nobody");
}

#[test]
fn a_drain_lets_what_is_under_way_end_and_refuses_the_rest() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.engine.drain();
    let seen = bench.hear(&mut client);
    assert_eq!(goaway_code(&seen), Some(0));
    assert!(seen.iter().any(|s| s.kind == FrameType::Ping));
    bench.request(&client, 3, Some(b"was under way"));
    bench.say(&client, |out| frame::pong(out, [0; 8]));
    let seen = bench.hear(&mut client);
    assert_eq!(seen.last().unwrap().payload[..4], [0, 0, 0, 3]);
    bench.request(&client, 5, Some(b"too late"));
    assert_eq!(reset_code(&bench.of_stream(&mut client, 5)), Some(7));
    bench.say(&instance, |out| {
        answer(out, 1, b"a");
        answer(out, 3, b"b");
    });
    assert_eq!(bench.log.lock().ended.len(), 2);
    assert!(bench.engine.is_closed(client.id));
}

#[test]
fn an_instance_is_read_however_many_requests_wait_for_it() {
    let config = Config {
        max_output: 1000,
        client_memory: 1_000_000,
        ..Config::default()
    };
    let mut bench = Bench::new(config, Plain::new(&[7]));
    let client = bench.client();
    bench.request(&client, 1, None);
    let instance = bench.instance();
    for n in 1..100 {
        bench.request(&client, 2 * n + 1, None);
    }
    // It may be waiting for us to read before it reads itself.
    assert!(bench.engine.output(instance.id).len() > 5000);
    assert!(bench.engine.wants_input(instance.id));
    while bench.engine.wants_input(instance.id) {
        bench.say(&instance, |out| frame::ping(out, [0; 8]));
        assert!(bench.engine.output(instance.id).len() < 1_100_000);
    }
}

#[test]
fn what_a_peer_has_that_never_sent_settings_was_not_begun() {
    for settled in [false, true] {
        let mut bench = bench();
        let client = bench.client();
        bench.request(&client, 1, Some(b"q"));
        let to = bench.engine.take_wanted();
        let id = bench.engine.connected(to[0]);
        if settled {
            let mut preface = Vec::new();
            frame::settings(&mut preface, &[]);
            bench.engine.received(id, &preface);
        }
        bench.engine.closed(id);
        let failure = bench.log.lock().failures[0];
        assert_eq!((failure.cause, failure.unsent), (Cause::Lost, !settled));
    }
}

#[test]
fn a_call_is_put_on_a_connection_that_was_greeted_and_has_answered() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let to = bench.engine.take_wanted();
    let mut preface = Vec::new();
    frame::settings(&mut preface, &[(3, 1)]);
    let id = bench.engine.connected_after_handshake(to[0], &preface);
    let out = bench.engine.output(id);
    assert!(!out.starts_with(frame::PREFACE), "that was said");
    let heads = |out: &[u8]| {
        let mut rest = out;
        let mut kinds = Vec::new();
        while let Some(head) = frame::Head::read(rest) {
            kinds.push(head.kind);
            rest = &rest[frame::HEADER_BYTES + head.length..];
        }
        kinds
    };
    assert_eq!(
        heads(out),
        [FrameType::Settings, FrameType::Headers, FrameType::Data]
    );
    let mut back = Vec::new();
    answer(&mut back, 1, b"a");
    bench.engine.received(id, &back);
    assert_eq!(bench.of_stream(&mut client, 1).len(), 3);
}

#[test]
fn who_connects_is_told_nothing_before_its_preface() {
    let mut bench = bench();
    let id = bench.engine.accept();
    assert!(bench.engine.output(id).is_empty());
    bench.engine.received(id, &frame::PREFACE[..10]);
    assert!(bench.engine.output(id).is_empty());
    bench.engine.received(id, &frame::PREFACE[10..]);
    let head = frame::Head::read(bench.engine.output(id)).unwrap();
    assert_eq!(head.kind, FrameType::Settings);
    // What is no preface of HTTP/2 nor anything else known is answered in HTTP/2.
    let id = bench.engine.accept();
    bench.engine.received(id, b"\x00\x01\x02");
    let out = bench.engine.output(id);
    let head = frame::Head::read(out).unwrap();
    assert_eq!(head.kind, FrameType::Settings);
    assert!(bench.engine.is_closed(id));
    // The host has words for a client of HTTP/1, or none as here.
    let id = bench.engine.accept();
    bench.engine.received(id, b"GET / HTTP/1.1\r\n\r\n");
    assert!(bench.engine.output(id).is_empty() && bench.engine.is_closed(id));
}

#[test]
fn an_answer_of_http_to_a_call_of_grpc_is_none() {
    for (fields_of, http) in [
        (
            &[(":status", "503"), ("content-type", "text/html")][..],
            503,
        ),
        (&[(":status", "200"), ("content-type", "text/html")], 200),
        (&[(":status", "404")], 404),
    ] {
        let mut bench = bench();
        let client = bench.client();
        bench.request(&client, 1, Some(b"q"));
        let instance = bench.instance();
        bench.say(&instance, |out| {
            fields(out, 1, fields_of, false);
            data(out, 1, b"<html>", true);
        });
        let failure = bench.log.lock().failures[0];
        assert_eq!((failure.cause, failure.unsent), (Cause::Http(http), false));
    }
}
