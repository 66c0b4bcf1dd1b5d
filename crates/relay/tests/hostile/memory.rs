//! What is kept for clients is counted and bounded.

use mesh_relay::{
    Cause, Config, Ended, Verdict,
    frame::{self, Code},
};

use crate::support::{Bench, Plain, data, fields, goaway_code, request, reset_code};

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
