//! Calls that end before they are answered: deadlines, cancels, clients that leave.

use std::time::Duration;

use mesh_relay::{
    Cause, Ended, Verdict,
    frame::{self, ErrorCode, FrameType},
};

use crate::{
    bench,
    support::{Seen, answer, data, fields, goaway_code, request, reset_code, status},
    value,
};

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
    bench.say(&client, |out| frame::reset(out, 1, ErrorCode::Cancel));
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
    let count = |seen: &[Seen]| {
        let resets = seen.iter().filter(|s| s.kind == FrameType::RstStream);
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
        .resume(call, |_, _| Verdict::Refuse(status(1, "not parked")));
    assert_eq!(bench.of_stream(&mut client, 1).len(), 1);
}
