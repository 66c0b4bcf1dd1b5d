//! A log of calls with taps and without.

use std::{
    future::poll_fn,
    time::{Duration, Instant},
};

use serde_json::Value;
use telemetry::MetricsRegistry;

use super::{
    tap::{MOST_TAPS, OpenTap},
    *,
};

const FIELDS: [(&[u8], &[u8]); 4] = [
    (b"user-agent", b"grpc-go"),
    (b"authorization", b"Bearer secret"),
    (b"x-tenant", b"blue"),
    (b"x-url", b"redis://me:hunter2@host/"),
];

fn log() -> (CallLog, Arc<Taps>) {
    let taps = Arc::<Taps>::default();
    (CallLog::new(None, Arc::clone(&taps)), taps)
}

fn query(parameters: &[(&str, &str)]) -> TapQuery {
    let mut query = TapQuery::default();
    for (key, value) in parameters {
        query.set(key, value).unwrap();
    }
    query
}

fn call(log: &CallLog, status: i32) {
    let head = log.begin(None, FIELDS.into_iter());
    let call = FinishedCall {
        method: "t.S/M",
        status,
        ..FinishedCall::default()
    };
    log.end(head.as_deref(), &call);
}

async fn next(tap: &mut OpenTap) -> Value {
    let line = poll_fn(|cx| tap.poll_line(cx)).await.unwrap();
    serde_json::from_slice(&line).unwrap()
}

#[tokio::test]
async fn a_tap_shows_calls_as_they_end_until_it_is_closed() {
    let (log, taps) = log();
    assert!(!log.is_on());
    assert!(log.begin(None, FIELDS.into_iter()).is_none());
    let mut tap = taps.open(query(&[("status", "UNAVAILABLE")])).unwrap();
    assert!(log.is_on());
    call(&log, 0);
    call(&log, 14);
    let line = next(&mut tap).await;
    assert_eq!(line["status"], "UNAVAILABLE", "{line}");
    assert_eq!(line["caller"], "grpc-go");
    let names = ["user-agent", "authorization", "x-tenant", "x-url"];
    assert_eq!(line["metadata"], Value::from(names.to_vec()));
    assert!(line.get("headers").is_none() && line.get("skipped").is_none());
    drop(tap);
    assert!(!log.is_on());
}

#[tokio::test]
async fn values_are_shown_where_their_names_are_asked_for_and_secrets_never() {
    let (log, taps) = log();
    let names = "x-tenant,x-url,x-none,authorization";
    let mut tap = taps.open(query(&[("header", names)])).unwrap();
    // Another's names are no business of this one's.
    let mut other = taps.open(query(&[("header", "user-agent")])).unwrap();
    call(&log, 0);
    let line = next(&mut tap).await;
    let expected = serde_json::json!({
        "x-tenant": "blue",
        "x-url": "redis://***@host/",
        "x-none": null,
        "authorization": "***",
    });
    assert_eq!(line["headers"], expected);
    let line = next(&mut other).await;
    assert_eq!(
        line["headers"],
        serde_json::json!({ "user-agent": "grpc-go" })
    );
}

#[tokio::test]
async fn a_tap_shows_at_most_a_hundred_calls_a_second_and_tells_of_the_rest() {
    let (log, taps) = log();
    let mut tap = taps.open(TapQuery::default()).unwrap();
    let began = Instant::now();
    let mut ended = 0;
    let mut shown = 0;
    while began.elapsed() < Duration::from_millis(900) {
        call(&log, 0);
        ended += 1;
        tokio::task::yield_now().await;
    }
    while tap
        .poll_line(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        .is_ready()
    {
        shown += 1;
    }
    assert!(ended > PER_SECOND, "{ended}");
    assert_eq!(shown, PER_SECOND);
    tokio::time::sleep(Duration::from_millis(200)).await;
    call(&log, 0);
    let line = next(&mut tap).await;
    assert_eq!(line["skipped"], ended - PER_SECOND, "{line}");
    assert!(line["metadata"].is_array(), "{line}");
}

#[tokio::test]
async fn nothing_is_kept_of_calls_while_a_tap_has_shown_enough() {
    let (log, taps) = log();
    let mut tap = taps.open(TapQuery::default()).unwrap();
    for _ in 0..=PER_SECOND {
        call(&log, 0);
    }
    let (began, head) = (Instant::now(), log.begin(None, FIELDS.into_iter()));
    assert!(head.is_none());
    // Another that has shown nothing yet wants them.
    let other = taps.open(TapQuery::default()).unwrap();
    assert!(log.begin(None, FIELDS.into_iter()).is_some());
    drop(other);
    for _ in 0..PER_SECOND {
        next(&mut tap).await;
    }
    tokio::time::sleep(Duration::from_millis(1050)).await;
    // Calls that began meanwhile are skipped; those that begin now are shown whole.
    let late = FinishedCall {
        method: "t.S/Late",
        duration: began.elapsed(),
        ..FinishedCall::default()
    };
    log.end(None, &late);
    call(&log, 0);
    let line = next(&mut tap).await;
    assert_eq!(
        (&line["method"], &line["skipped"]),
        (&"t.S/M".into(), &2.into())
    );
    assert!(line["metadata"].is_array(), "{line}");
}

#[tokio::test]
async fn a_reader_that_does_not_read_delays_nobody() {
    let (log, taps) = log();
    let _tap = taps.open(TapQuery::default()).unwrap();
    let began = Instant::now();
    for _ in 0..10_000 {
        call(&log, 0);
    }
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn few_taps_are_open_at_once() {
    let (_, taps) = log();
    let mut open: Vec<_> = (0..MOST_TAPS)
        .map(|_| taps.open(TapQuery::default()).unwrap())
        .collect();
    assert!(taps.open(TapQuery::default()).is_none());
    open.pop();
    assert!(taps.open(TapQuery::default()).is_some());
}

#[tokio::test]
async fn a_call_that_began_before_the_tap_is_shown_without_its_metadata() {
    let (log, taps) = log();
    let head = log.begin(None, FIELDS.into_iter());
    let mut tap = taps.open(TapQuery::default()).unwrap();
    let call = FinishedCall {
        method: "t.S/M",
        ..FinishedCall::default()
    };
    log.end(head.as_deref(), &call);
    let line = next(&mut tap).await;
    assert_eq!(line["method"], "t.S/M");
    assert!(line["caller"].is_null() && line.get("metadata").is_none());
}

#[test]
fn a_sample_is_drawn_before_anything_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let registry = MetricsRegistry::new();
    for (part, expected) in [("sample:0", false), ("sample:1", true)] {
        let filter = LogFilter::parse(part).unwrap();
        let access = AccessLog::open(path.to_str(), filter, &registry).unwrap();
        let log = CallLog::new(access, Arc::default());
        assert_eq!(log.begin(None, FIELDS.into_iter()).is_some(), expected);
    }
}
