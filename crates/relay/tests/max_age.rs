//! Clients' connections that grow old, and those that are not wanted.

mod support;

use std::time::Duration;

use mesh_relay::{
    Config, Ended,
    frame::{self, ErrorCode, FrameType},
};
use support::{Bench, Plain, answer, goaway_code, reset_code};

const AGE: Duration = Duration::from_secs(100);
const GRACE: Duration = Duration::from_secs(20);

fn bench(grace: Option<Duration>) -> Bench {
    let config = Config {
        max_age: Some(AGE),
        age_grace: grace,
        ..Config::default()
    };
    Bench::new(config, Plain::new(&[7]))
}

#[test]
fn an_old_connection_is_told_to_go_and_its_calls_end_as_they_would() {
    let mut bench = bench(None);
    let mut client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let instance = bench.instance();
    bench.engine.tick(bench.now + AGE.mul_f64(0.89));
    assert_eq!(goaway_code(&bench.hear(&mut client)), None, "not yet");
    let then = bench.now + AGE.mul_f64(1.11);
    bench.engine.tick(then);
    assert_eq!(goaway_code(&bench.hear(&mut client)), Some(0));
    bench.request(&client, 3, Some(b"was under way"));
    bench.say(&client, |out| frame::pong(out, [0; 8]));
    let seen = bench.hear(&mut client);
    assert_eq!(seen.last().unwrap().payload[..4], [0, 0, 0, 3]);
    // However long the calls take.
    bench.engine.tick(then + 100 * AGE);
    assert!(!bench.engine.is_closed(client.id));
    bench.say(&instance, |out| {
        answer(out, 1, b"a");
        answer(out, 3, b"b");
    });
    assert_eq!(bench.log.lock().ended, [Ended::Answered(Some(0)); 2]);
    assert!(bench.engine.is_closed(client.id));
}

#[test]
fn a_client_that_does_not_answer_the_first_word_is_told_the_last_a_second_later() {
    let mut bench = bench(None);
    let mut client = bench.client();
    let then = bench.now + AGE.mul_f64(1.11);
    bench.engine.tick(then);
    bench.hear(&mut client);
    let due = bench.engine.next_timer().unwrap();
    assert_eq!(due, then + Duration::from_secs(1));
    assert!(!bench.engine.is_closed(client.id));
    bench.engine.tick(due);
    assert_eq!(goaway_code(&bench.hear(&mut client)), Some(0));
    assert!(bench.engine.is_closed(client.id));
}

#[test]
fn calls_are_cut_when_the_grace_is_over() {
    let mut bench = bench(Some(GRACE));
    let client = bench.client();
    bench.request(&client, 1, Some(b"q"));
    let mut instance = bench.instance();
    let then = bench.now + AGE.mul_f64(1.11);
    bench.engine.tick(then);
    bench.say(&client, |out| frame::pong(out, [0; 8]));
    bench.engine.tick(then + GRACE - Duration::from_secs(1));
    assert_eq!(bench.log.lock().ended, []);
    bench.hear(&mut instance);
    bench.engine.tick(then + GRACE);
    assert_eq!(bench.log.lock().ended, [Ended::Cancelled]);
    assert_eq!(reset_code(&bench.of_stream(&mut instance, 1)), Some(8));
    assert!(bench.engine.is_closed(client.id));
}

#[test]
fn connections_that_were_opened_together_do_not_grow_old_together() {
    let mut bench = bench(None);
    let mut clients: Vec<_> = (0..10).map(|_| bench.client()).collect();
    bench.engine.tick(bench.now + AGE);
    let closing = clients
        .iter_mut()
        .filter_map(|client| goaway_code(&bench.hear(client)));
    let closing = closing.count();
    assert!((3..=7).contains(&closing), "{closing} of 10 at the mean");
}

#[test]
fn ages_of_connections_that_are_gone_are_forgotten() {
    let mut bench = bench(None);
    for _ in 0..1000 {
        let client = bench.client();
        bench.engine.closed(client.id);
    }
    let text = format!("{:?}", bench.engine);
    let ages = text.split("due: [").nth(1).unwrap().split("] }").next();
    assert!(ages.unwrap().matches("Reverse").count() <= 70);
}

#[test]
fn a_client_that_is_not_wanted_hears_why() {
    let mut bench = bench(None);
    let mut client = bench.client();
    bench.engine.reject(client.id, "port_max_connections");
    bench.request(&client, 1, None);
    let seen = bench.hear(&mut client);
    assert_eq!(goaway_code(&seen), Some(ErrorCode::EnhanceYourCalm as u32));
    let last = seen
        .iter()
        .find(|seen| seen.kind == FrameType::GoAway)
        .unwrap();
    assert!(last.payload.ends_with(b"port_max_connections"));
    assert!(bench.engine.is_closed(client.id));
    assert_eq!(bench.log.lock().begun, 0);
}
