//! Calls through the engine, frame by frame: the ordinary ones, and every way they can fail.

mod support;

use std::time::Duration;

use mesh_relay::{
    Cause, Config, Ended, Verdict,
    frame::{self, Code, Kind},
};
use support::{Bench, Plain, answer, data, fields, goaway_code, request, reset_code, status};

fn bench() -> Bench {
    Bench::new(Config::default(), Plain::new(&[7]))
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(n, _)| n == name);
    found.map(|(_, value)| value.as_str())
}

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
fn request_trailers_reach_the_instance_on_every_attempt() {
    let mut bench = bench();
    let client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    let mut instance = bench.instance();
    bench.say(&client, |out| data(out, 1, b"body", false));
    bench.say(&client, |out| fields(out, 1, &[("x-end", "1")], true));
    for stream in [1, 3] {
        let seen = bench.of_stream(&mut instance, stream);
        assert_eq!(seen[1].payload, b"body");
        assert_eq!((seen[2].kind, seen[2].flags & 1), (Kind::Headers, 1));
        bench.say(&instance, |out| {
            frame::reset(out, stream, Code::RefusedStream)
        });
    }
    assert_eq!(bench.log.lock().failures.len(), 2);
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
fn a_stream_more_than_allowed_is_refused_and_leaves_the_others_alone() {
    let mut config = Config::default();
    config.clients.max_streams = 2;
    let mut bench = Bench::new(config, Plain::new(&[7]));
    let mut client = bench.client();
    for stream in [1, 3, 5] {
        bench.request(&client, stream, Some(b"q"));
    }
    let refused = bench.of_stream(&mut client, 5);
    assert_eq!(reset_code(&refused), Some(Code::RefusedStream as u32));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200"), ("grpc-status", "0")], true)
    });
    // One has ended: there is room for one more.
    bench.request(&client, 7, Some(b"q"));
    assert_eq!(bench.engine.calls(), 2);
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
    bench.engine.resume(call, Verdict::To(9));
    let mut instance = bench.instance();
    assert_eq!(bench.of_stream(&mut instance, 1)[1].payload, b"late");
    bench.engine.resume(call, Verdict::To(9));
    assert!(bench.of_stream(&mut instance, 3).is_empty(), "only once");
}

#[test]
fn a_refused_stream_is_sent_again_and_a_cancelled_one_is_not() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let mut instance = bench.instance();
    bench.say(&instance, |out| frame::reset(out, 1, Code::RefusedStream));
    let again = bench.of_stream(&mut instance, 3);
    assert_eq!(again[1].payload, b"q");
    bench.say(&instance, |out| frame::reset(out, 3, Code::Cancel));
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(value(&client.fields(&seen[0]), "grpc-status"), Some("14"));
    let log = bench.log.lock();
    assert_eq!(
        (log.failures[0].unsent, log.failures[1].unsent),
        (true, false)
    );
    assert_eq!(log.failures[1].cause, Cause::Reset(8));
    assert_eq!(log.ended, [Ended::Refused]);
}

#[test]
fn a_going_instance_finishes_what_it_has_and_the_rest_is_sent_again() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"one"));
    let old = bench.instance();
    bench.request(&client, 3, Some(b"two"));
    bench.say(&old, |out| frame::go_away(out, 1, Code::NoError, ""));
    let mut new = bench.instance();
    assert_eq!(bench.of_stream(&mut new, 1)[1].payload, b"two");
    assert!(!bench.engine.is_closed(old.id));
    bench.say(&old, |out| answer(out, 1, b"1"));
    bench.say(&new, |out| answer(out, 1, b"2"));
    let seen = bench.hear(&mut client);
    let bodies: Vec<_> = seen.iter().filter(|s| s.kind == Kind::Data).collect();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bench.log.lock().ended, [Ended::Answered(Some(0)); 2]);
    assert!(bench.engine.is_closed(old.id), "it has nothing left to do");
}

#[test]
fn a_lost_connection_before_the_answer_is_the_hosts_to_judge() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.engine.closed(instance.id);
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(value(&client.fields(&seen[0]), "grpc-status"), Some("14"));
    let failure = bench.log.lock().failures[0];
    assert!(!failure.unsent && failure.repeatable);
    assert_eq!(failure.cause, Cause::Lost);
}

#[test]
fn a_lost_connection_after_the_answer_began_ends_it_with_trailers() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200")], false);
        data(out, 1, b"half", false);
    });
    bench.engine.closed(instance.id);
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(seen[1].payload, b"half");
    assert_eq!(value(&client.fields(&seen[2]), "grpc-status"), Some("14"));
    assert_eq!(bench.log.lock().ended, [Ended::Broken(Cause::Lost)]);
}

#[test]
fn an_unreachable_endpoint_fails_what_waits_for_it() {
    let mut bench = Bench::new(Config::default(), Plain::new(&[7, 8]));
    let client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let first = bench.engine.take_wanted()[0];
    bench.engine.unreachable(first);
    let second = bench.engine.take_wanted();
    assert_eq!(second.len(), 1);
    assert_ne!(second[0], first);
    assert!(bench.log.lock().failures[0].unsent);
}

#[test]
fn a_deadline_is_forwarded_shortened_and_kept() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| {
        request(out, 1, &[("grpc-timeout", "100m")], true)
    });
    bench.engine.tick(bench.now + Duration::from_millis(40));
    let mut instance = bench.instance();
    let seen = bench.of_stream(&mut instance, 1);
    let sent = instance.fields(&seen[0]);
    assert_eq!(value(&sent, "grpc-timeout"), Some("60000000n"));
    assert_eq!(
        bench.engine.next_timer(),
        Some(bench.now + Duration::from_millis(100))
    );
    bench.engine.tick(bench.now + Duration::from_millis(100));
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(value(&client.fields(&seen[0]), "grpc-status"), Some("4"));
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 1)), Some(8));
    assert_eq!(bench.log.lock().ended, [Ended::Refused]);
}

#[test]
fn a_deadline_in_the_middle_of_an_answer_ends_it_with_trailers() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| {
        request(out, 1, &[("grpc-timeout", "1S")], true)
    });
    let mut instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200")], false)
    });
    bench.hear(&mut instance);
    bench.engine.tick(bench.now + Duration::from_secs(1));
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!(value(&client.fields(&seen[1]), "grpc-status"), Some("4"));
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 1)), Some(8));
    assert_eq!(bench.log.lock().ended, [Ended::Broken(Cause::Deadline)]);
}

#[test]
fn deadlines_of_calls_that_are_over_are_forgotten() {
    let mut bench = bench();
    let mut client = bench.client();
    let mut instance = None;
    for call in 0..1000 {
        let stream = 1 + 2 * call;
        bench.say(&client, |out| {
            request(out, stream, &[("grpc-timeout", "1H")], true)
        });
        let instance = instance.get_or_insert_with(|| bench.instance());
        bench.say(instance, |out| answer(out, stream, b"a"));
        bench.hear(instance);
        bench.hear(&mut client);
    }
    assert_eq!(bench.log.lock().ended.len(), 1000);
    let text = format!("{:?}", bench.engine);
    let timers = text.split("timers: [").nth(1).unwrap().split("],").next();
    assert!(timers.unwrap().matches("Reverse").count() <= 66);
}

#[test]
fn an_early_answer_stops_the_request_on_both_sides() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    let mut instance = bench.instance();
    bench.say(&client, |out| data(out, 1, b"some", false));
    bench.hear(&mut instance);
    bench.say(&instance, |out| answer(out, 1, b"enough"));
    assert_eq!(reset_code(&bench.of_stream(&mut client, 1)), Some(0));
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 1)), Some(8));
    bench.say(&client, |out| data(out, 1, b"on its way", true));
    let after = bench.hear(&mut client);
    assert_eq!((reset_code(&after), goaway_code(&after)), (None, None));
    assert_eq!(bench.log.lock().ended, [Ended::Answered(Some(0))]);
}

#[test]
fn a_cancelled_call_is_cancelled_at_the_instance() {
    let mut bench = bench();
    let client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    bench.say(&client, |out| frame::reset(out, 1, Code::Cancel));
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 1)), Some(8));
    bench.say(&instance, |out| answer(out, 1, b"too late"));
    assert_eq!(goaway_code(&bench.hear(&mut instance)), None);
    assert_eq!(bench.log.lock().ended, [Ended::Cancelled]);
}

#[test]
fn a_client_that_leaves_cancels_all_of_its_calls() {
    let mut bench = bench();
    let client = bench.client();
    for stream in [1, 3, 5] {
        bench.request(&client, stream, Some(b"q"));
    }
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    bench.engine.closed(client.id);
    let resets = bench.hear(&mut instance);
    let count = |seen: &[support::Seen]| {
        let resets = seen.iter().filter(|s| s.kind == Kind::RstStream);
        resets.count()
    };
    assert_eq!(count(&resets), 1, "one at a time");
    for _ in 0..2 {
        bench.say(&instance, frame::settings_ack);
        assert_eq!(count(&bench.hear(&mut instance)), 1);
    }
    assert_eq!(bench.log.lock().ended, [Ended::Cancelled; 3]);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

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
    let heads = |seen: &[support::Seen]| seen.iter().filter(|s| s.kind == Kind::Headers).count();
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
        .filter(|s| s.kind == Kind::Data)
        .map(|s| s.payload.len())
        .sum();
    assert_eq!((body, bench.engine.calls()), (100, 1));
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
        assert_eq!(cause, Cause::Malformed(Code::ProtocolError));
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
    assert!(seen.iter().any(|s| s.kind == Kind::Ping));
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
fn an_answer_of_the_hosts_ends_a_call_it_has_begun_to_answer() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    let instance = bench.instance();
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200")], false)
    });
    let call = bench.engine.host().calls[0];
    bench
        .engine
        .resume(call, Verdict::Refuse(status(1, "not parked")));
    assert_eq!(bench.of_stream(&mut client, 1).len(), 1);
}

#[test]
fn calls_on_connections_that_are_severed_fail_and_others_open_a_new_one() {
    let mut bench = Bench::new(Config::default(), Plain::new(&[7]));
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"waits"));
    let dead = bench.instance();
    bench.engine.sever(7);
    assert!(bench.engine.is_closed(dead.id));
    let seen = bench.of_stream(&mut client, 1);
    let fields = client.fields(&seen[0]);
    assert!(fields.contains(&("grpc-message".to_owned(), "Lost".to_owned())));
    bench.engine.closed(dead.id);
    bench.request(&client, 3, Some(b"goes on"));
    let alive = bench.instance();
    bench.say(&alive, |out| answer(out, 1, b"a"));
    assert_eq!(bench.of_stream(&mut client, 3).len(), 3);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}
