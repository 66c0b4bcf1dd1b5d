//! The states of streams, and their windows.

use mesh_relay::frame::{self, ErrorCode, FrameType};

use crate::{
    bench,
    support::{Seen, data, fields, goaway_code, request, reset_code},
    with_call,
};

#[test]
fn streams_keep_their_states() {
    let request_one: fn(&mut Vec<u8>) = |out| request(out, 1, &[], true);
    type Break = (fn(&mut Vec<u8>), Option<ErrorCode>, Option<ErrorCode>);
    let cases: [Break; 12] = [
        (
            |out| data(out, 1, b"x", false),
            None,
            Some(ErrorCode::StreamClosed),
        ),
        (
            |out| fields(out, 1, &[("x", "y")], true),
            None,
            Some(ErrorCode::StreamClosed),
        ),
        (
            |out| data(out, 9, b"x", false),
            Some(ErrorCode::ProtocolError),
            None,
        ),
        (
            |out| frame::reset(out, 9, ErrorCode::Cancel),
            Some(ErrorCode::ProtocolError),
            None,
        ),
        (
            |out| frame::window_update(out, 9, 1),
            Some(ErrorCode::ProtocolError),
            None,
        ),
        (
            |out| frame::window_update(out, 0, 0),
            Some(ErrorCode::ProtocolError),
            None,
        ),
        (
            |out| frame::window_update(out, 1, 0),
            None,
            Some(ErrorCode::ProtocolError),
        ),
        (
            |out| frame::window_update(out, 0, (1 << 31) - 1),
            Some(ErrorCode::FlowControlError),
            None,
        ),
        (
            |out| frame::window_update(out, 1, (1 << 31) - 1),
            None,
            Some(ErrorCode::FlowControlError),
        ),
        (
            |out| request(out, 2, &[], true),
            Some(ErrorCode::ProtocolError),
            None,
        ),
        (
            |out| {
                request(out, 7, &[], true);
                request(out, 5, &[], true);
            },
            Some(ErrorCode::ProtocolError),
            None,
        ),
        (
            |out| {
                frame::window_update(out, 1, 1 << 20);
                frame::settings(out, &[(4, (1 << 31) - 1)]);
            },
            Some(ErrorCode::FlowControlError),
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
    let quiet = |seen: &[Seen]| !seen.iter().any(|s| s.kind == FrameType::Data);
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
