//! What the runner says of a queue that answers, but badly.

use testkit::until;

use crate::support::{PATIENCE, Stage};
use work::Kind;

#[tokio::test]
async fn a_runner_is_unready_and_ill_while_the_queue_refuses_writes_and_then_goes_on() {
    let stage = Stage::set("0s").await;
    let runner = stage.runner(&[]).await;
    let status = async |path: &str, expected: u16| {
        let what = format!("{path} is {expected}");
        until(&what, PATIENCE, async || {
            let (status, text) = runner.get(path).await;
            (status == expected).then_some(text)
        })
        .await
    };
    status("/readyz", 200).await;
    status("/health", 200).await;
    assert_eq!(stage.redis.say("REPLICAOF 127.0.0.1 1"), "+OK");
    for path in ["/health", "/readyz"] {
        let told = status(path, 503).await;
        assert!(told.contains("it is a replica"), "{told}");
    }
    assert_eq!(stage.redis.say("REPLICAOF NO ONE"), "+OK");
    for path in ["/health", "/readyz"] {
        status(path, 200).await;
    }
    let id = stage
        .submit(Kind::Call, &crate::support::echo("later"))
        .await;
    stage.ended(&id).await;
    // Five loops met it, each five times a second.
    let log = runner.process.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("does not do what it is asked"));
    let count = lines.count();
    assert!((1..=6).contains(&count), "{count} lines");
    assert!(log.contains("works again"));
}
