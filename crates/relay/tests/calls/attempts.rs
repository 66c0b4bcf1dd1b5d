//! What is sent again, and what is not.

use mesh_relay::{
    Cause, Config, Ended,
    frame::{self, ErrorCode, FrameType},
};

use crate::{
    bench,
    support::{Bench, Plain, answer, data, fields, request, reset_code},
    value,
};

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
        assert_eq!((seen[2].kind, seen[2].flags & 1), (FrameType::Headers, 1));
        bench.say(&instance, |out| {
            frame::reset(out, stream, ErrorCode::RefusedStream)
        });
    }
    assert_eq!(bench.log.lock().failures.len(), 2);
}

#[test]
fn a_refused_stream_is_sent_again_and_a_cancelled_one_is_not() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let mut instance = bench.instance();
    bench.say(&instance, |out| {
        frame::reset(out, 1, ErrorCode::RefusedStream)
    });
    let again = bench.of_stream(&mut instance, 3);
    assert_eq!(again[1].payload, b"q");
    bench.say(&instance, |out| frame::reset(out, 3, ErrorCode::Cancel));
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
    bench.say(&old, |out| frame::go_away(out, 1, ErrorCode::NoError, ""));
    let mut new = bench.instance();
    assert_eq!(bench.of_stream(&mut new, 1)[1].payload, b"two");
    assert!(!bench.engine.is_closed(old.id));
    bench.say(&old, |out| answer(out, 1, b"1"));
    bench.say(&new, |out| answer(out, 1, b"2"));
    let seen = bench.hear(&mut client);
    let bodies: Vec<_> = seen.iter().filter(|s| s.kind == FrameType::Data).collect();
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
fn calls_on_connections_that_are_severed_fail_and_others_open_a_new_one() {
    let mut bench = Bench::new(Config::default(), Plain::new(&[7]));
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"waits"));
    let dead = bench.instance();
    bench.engine.abort(7);
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

#[test]
fn an_answer_that_is_declined_has_ended_and_needs_no_reset() {
    let mut host = Plain::new(&[7]);
    host.declines = 1;
    let mut bench = Bench::new(Config::default(), host);
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let mut instance = bench.instance();
    bench.hear(&mut instance);
    let unavailable = [(":status", "200"), ("grpc-status", "14")];
    bench.say(&instance, |out| fields(out, 1, &unavailable, true));
    assert_eq!(bench.log.lock().failures[0].cause, Cause::Declined);
    assert!(bench.hear(&mut instance).is_empty());
    assert_eq!(bench.of_stream(&mut client, 1).len(), 1);
    // Of a request that has not ended, no more is wanted.
    bench.engine.host().declines = 1;
    bench.say(&client, |out| request(out, 3, &[], false));
    bench.hear(&mut instance);
    bench.say(&instance, |out| fields(out, 3, &unavailable, true));
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 3)), Some(8));
}
