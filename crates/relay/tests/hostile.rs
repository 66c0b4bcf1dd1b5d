//! Clients that break the rules, or keep them only to do harm: each loses its stream or its
//! connection, and nobody else loses anything.

mod support;

use std::time::Duration;

use mesh_relay::{
    Cause, Config, Ended, Verdict,
    frame::{self, Code, Kind},
};
use support::{Bench, Peer, Plain, answer, data, fields, goaway_code, request, reset_code};

/// An attack, and the code of the GOAWAY that answers it.
type Attack = (&'static str, fn(&mut Vec<u8>, u32), Code);

fn bench() -> Bench {
    Bench::new(Config::default(), Plain::new(&[7]))
}

/// A client with a call under way, and the instance that has it.
fn with_call(bench: &mut Bench) -> (Peer, Peer) {
    let client = bench.client();
    bench.request(&client, 1, Some(b"good"));
    let instance = bench.instance();
    (client, instance)
}

#[test]
fn floods_end_the_connection_of_whoever_sends_them() {
    let floods: [Attack; 9] = [
        (
            "PING",
            |out, _| frame::ping(out, [0; 8]),
            Code::EnhanceYourCalm,
        ),
        (
            "SETTINGS",
            |out, _| frame::settings(out, &[]),
            Code::EnhanceYourCalm,
        ),
        (
            "rapid resets",
            |out, n| {
                request(out, 2 * n + 1, &[], true);
                frame::reset(out, 2 * n + 1, Code::Cancel);
            },
            Code::EnhanceYourCalm,
        ),
        (
            "rapid resets of calls with a message",
            |out, n| {
                request(out, 2 * n + 1, &[], false);
                data(out, 2 * n + 1, b"message", true);
                frame::reset(out, 2 * n + 1, Code::Cancel);
            },
            Code::EnhanceYourCalm,
        ),
        (
            "calls that we are made to reset",
            |out, n| {
                request(out, 2 * n + 1, &[], false);
                data(out, 2 * n + 1, b"message", false);
                frame::window_update(out, 2 * n + 1, 0);
            },
            Code::EnhanceYourCalm,
        ),
        (
            "refused requests",
            |out, n| request(out, 2 * n + 1, &[("connection", "close")], true),
            Code::EnhanceYourCalm,
        ),
        (
            "empty DATA",
            |out, n| {
                if n == 0 {
                    request(out, 1, &[], false);
                }
                data(out, 1, b"", false);
            },
            Code::EnhanceYourCalm,
        ),
        (
            "PRIORITY",
            |out, n| {
                frame::head(out, 5, 2, 0, 2 * n + 1);
                out.extend_from_slice(&[0, 0, 0, 0, 9]);
            },
            Code::EnhanceYourCalm,
        ),
        (
            "CONTINUATION",
            |out, n| {
                if n == 0 {
                    frame::head(out, 0, 1, 0, 1);
                }
                frame::head(out, 1000, 9, 0, 1);
                out.extend_from_slice(&[0x82; 1000]);
            },
            Code::EnhanceYourCalm,
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
            bench.say(&client, |out| frame::reset(out, stream, Code::Cancel));
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
            bench.say(&client, |out| frame::reset(out, stream, Code::Cancel));
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

#[test]
fn streams_keep_their_states() {
    let request_one: fn(&mut Vec<u8>) = |out| request(out, 1, &[], true);
    type Break = (fn(&mut Vec<u8>), Option<Code>, Option<Code>);
    let cases: [Break; 12] = [
        (
            |out| data(out, 1, b"x", false),
            None,
            Some(Code::StreamClosed),
        ),
        (
            |out| fields(out, 1, &[("x", "y")], true),
            None,
            Some(Code::StreamClosed),
        ),
        (
            |out| data(out, 9, b"x", false),
            Some(Code::ProtocolError),
            None,
        ),
        (
            |out| frame::reset(out, 9, Code::Cancel),
            Some(Code::ProtocolError),
            None,
        ),
        (
            |out| frame::window_update(out, 9, 1),
            Some(Code::ProtocolError),
            None,
        ),
        (
            |out| frame::window_update(out, 0, 0),
            Some(Code::ProtocolError),
            None,
        ),
        (
            |out| frame::window_update(out, 1, 0),
            None,
            Some(Code::ProtocolError),
        ),
        (
            |out| frame::window_update(out, 0, (1 << 31) - 1),
            Some(Code::FlowControlError),
            None,
        ),
        (
            |out| frame::window_update(out, 1, (1 << 31) - 1),
            None,
            Some(Code::FlowControlError),
        ),
        (
            |out| request(out, 2, &[], true),
            Some(Code::ProtocolError),
            None,
        ),
        (
            |out| {
                request(out, 7, &[], true);
                request(out, 5, &[], true);
            },
            Some(Code::ProtocolError),
            None,
        ),
        (
            |out| {
                frame::window_update(out, 1, 1 << 20);
                frame::settings(out, &[(4, (1 << 31) - 1)]);
            },
            Some(Code::FlowControlError),
            None,
        ),
    ];
    for (number, (act, goaway, reset)) in cases.into_iter().enumerate() {
        let mut bench = bench();
        let mut client = bench.client();
        bench.say(&client, request_one);
        bench.hear(&mut client);
        bench.say(&client, act);
        let seen = bench.hear(&mut client);
        assert_eq!(
            goaway_code(&seen),
            goaway.map(|c| c as u32),
            "case {number}"
        );
        assert_eq!(reset_code(&seen), reset.map(|c| c as u32), "case {number}");
    }
}

#[test]
fn a_window_may_become_negative_and_recover() {
    let mut bench = bench();
    let (mut client, instance) = with_call(&mut bench);
    bench.say(&instance, |out| {
        fields(out, 1, &[(":status", "200")], false);
        data(out, 1, &[0; 1000], false);
    });
    bench.hear(&mut client);
    bench.say(&client, |out| frame::settings(out, &[(4, 400)]));
    bench.say(&instance, |out| data(out, 1, &[0; 100], true));
    bench.say(&client, |out| frame::window_update(out, 1, 600));
    let quiet = |seen: &[support::Seen]| !seen.iter().any(|s| s.kind == Kind::Data);
    assert!(quiet(&bench.hear(&mut client)), "it is at nothing");
    bench.say(&client, |out| frame::window_update(out, 1, 100));
    let seen = bench.of_stream(&mut client, 1);
    assert_eq!((seen[0].payload.len(), seen[0].flags), (100, 1));
}

#[test]
fn more_than_the_window_ends_the_stream() {
    let mut bench = bench();
    let mut client = bench.client();
    bench.say(&client, |out| request(out, 1, &[], false));
    // No instance is there: nothing is forwarded, so nothing is credited.
    for _ in 0..17 {
        bench.say(&client, |out| data(out, 1, &[0; 16_384], false));
    }
    assert_eq!(reset_code(&bench.of_stream(&mut client, 1)), Some(3));
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}

#[test]
fn a_client_that_keeps_too_much_loses_its_calls() {
    let config = Config {
        client_memory: 100_000,
        ..Config::default()
    };
    let mut bench = Bench::new(config, Plain::new(&[7]));
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
    let config = Config {
        client_memory: 100_000,
        ..Config::default()
    };
    let mut host = Plain::new(&[7]);
    host.script.extend([Verdict::Park, Verdict::Park]);
    let mut bench = Bench::new(config, host);
    let mut client = bench.client();
    let large = "x".repeat(60_000);
    for stream in [1, 3] {
        bench.say(&client, |out| request(out, stream, &[("x", &large)], true));
    }
    assert_eq!(bench.log.lock().ended, [Ended::Broken(Cause::Memory)]);
    assert!((60_000..100_000).contains(&bench.engine.memory()));
    bench.say(&client, |out| frame::reset(out, 1, Code::Cancel));
    assert_eq!(goaway_code(&bench.hear(&mut client)), None);
    bench.engine.closed(client.id);
    assert_eq!((bench.engine.calls(), bench.engine.memory()), (0, 0));
}
