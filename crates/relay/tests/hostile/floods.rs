//! Floods end the connection of whoever sends them, and what only looks like one does not.

use std::time::Duration;

use mesh_relay::frame::{self, ErrorCode};

use crate::{
    bench,
    support::{answer, data, goaway_code, request},
    with_call,
};

/// An attack, and the code of the GOAWAY that answers it.
type Attack = (&'static str, fn(&mut Vec<u8>, u32), ErrorCode);

#[test]
fn floods_end_the_connection_of_whoever_sends_them() {
    let floods: [Attack; 9] = [
        (
            "PING",
            |out, _| frame::ping(out, [0; 8]),
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "SETTINGS",
            |out, _| frame::settings(out, &[]),
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "rapid resets",
            |out, n| {
                request(out, 2 * n + 1, &[], true);
                frame::reset(out, 2 * n + 1, ErrorCode::Cancel);
            },
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "rapid resets of calls with a message",
            |out, n| {
                request(out, 2 * n + 1, &[], false);
                data(out, 2 * n + 1, b"message", true);
                frame::reset(out, 2 * n + 1, ErrorCode::Cancel);
            },
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "calls that we are made to reset",
            |out, n| {
                request(out, 2 * n + 1, &[], false);
                data(out, 2 * n + 1, b"message", false);
                frame::window_update(out, 2 * n + 1, 0);
            },
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "refused requests",
            |out, n| request(out, 2 * n + 1, &[("connection", "close")], true),
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "empty DATA",
            |out, n| {
                if n == 0 {
                    request(out, 1, &[], false);
                }
                data(out, 1, b"", false);
            },
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "PRIORITY",
            |out, n| {
                frame::head(out, 5, 2, 0, 2 * n + 1);
                out.extend_from_slice(&[0, 0, 0, 0, 9]);
            },
            ErrorCode::EnhanceYourCalm,
        ),
        (
            "CONTINUATION",
            |out, n| {
                if n == 0 {
                    frame::head(out, 0, 1, 0, 1);
                }
                frame::head(out, 5000, 9, 0, 1);
                out.extend_from_slice(&[0x82; 5000]);
            },
            ErrorCode::EnhanceYourCalm,
        ),
    ];
    for (name, flood, code) in floods {
        let mut bench = bench();
        let (mut good, mut instance) = with_call(&mut bench);
        let mut bad = bench.client();
        let mut ended = None;
        for n in 0..1100 {
            bench.say(&bad, |out| flood(out, n));
            ended = ended.or(goaway_code(&bench.hear(&mut bad)));
        }
        assert_eq!(ended, Some(code as u32), "{name}");
        assert!(bench.engine.is_closed(bad.id), "{name}");
        assert_eq!(goaway_code(&bench.hear(&mut instance)), None, "{name}");
        bench.say(&instance, |out| answer(out, 1, b"a"));
        assert_eq!(bench.of_stream(&mut good, 1).len(), 3, "{name}");
    }
}

#[test]
fn a_client_that_gives_up_two_calls_of_three_is_no_attacker() {
    let mut bench = bench();
    let mut client = bench.client();
    let mut instance = None;
    for round in 0..1000 {
        for call in 0..3 {
            let stream = 6 * round + 2 * call + 1;
            bench.request(&client, stream, Some(b"hedged"));
            let instance = instance.get_or_insert_with(|| bench.instance());
            // The fastest of three is waited for.
            if call == 2 {
                bench.say(instance, |out| answer(out, stream, b"a"));
            }
        }
        for call in 0..2 {
            let stream = 6 * round + 2 * call + 1;
            bench.say(&client, |out| frame::reset(out, stream, ErrorCode::Cancel));
        }
        if let Some(instance) = &mut instance {
            bench.hear(instance);
            bench.say(instance, frame::settings_ack);
            bench.hear(instance);
            bench.say(instance, frame::settings_ack);
        }
        assert_eq!(goaway_code(&bench.hear(&mut client)), None, "{round}");
    }
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

#[test]
fn calls_given_up_at_their_deadlines_are_no_attack() {
    let mut bench = bench();
    let mut client = bench.client();
    for second in 0..5 {
        let at = bench.now + Duration::from_millis(1100 * second);
        bench.engine.tick(at);
        let streams = (0..400).map(|n| 800 * second as u32 + 2 * n + 1);
        for stream in streams.clone() {
            bench.request(&client, stream, Some(b"nobody answers"));
        }
        bench.engine.tick(at + Duration::from_secs(1));
        for stream in streams {
            bench.say(&client, |out| frame::reset(out, stream, ErrorCode::Cancel));
        }
        assert_eq!(goaway_code(&bench.hear(&mut client)), None, "{second}");
    }
    assert_eq!(bench.engine.calls(), 0);
}

#[test]
fn what_is_slow_is_no_flood() {
    let mut bench = bench();
    let mut client = bench.client();
    for second in 0..3000 {
        bench.engine.tick(bench.now + Duration::from_secs(second));
        bench.say(&client, |out| frame::ping(out, [0; 8]));
        assert_eq!(goaway_code(&bench.hear(&mut client)), None);
    }
}

#[test]
fn windows_that_change_again_and_again_under_many_calls_are_a_flood() {
    let mut bench = bench();
    let mut client = bench.client();
    for n in 0..5000 {
        bench.say(&client, |out| request(out, 2 * n + 1, &[], true));
    }
    let (mut changes, mut steps) = (0, 0);
    while goaway_code(&bench.hear(&mut client)).is_none() {
        let mut bytes = Vec::new();
        frame::settings(&mut bytes, &[(4, 1000 + changes)]);
        steps += bench.engine.received(client.id, &bytes);
        changes += 1;
        assert!(changes <= 100, "each costs as much as 5000 frames");
    }
    // The driver knows that it was much work for so few bytes.
    assert!(steps as u32 > 20 * changes, "{steps} of {changes}");
}
