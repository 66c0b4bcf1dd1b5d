//! PostgreSQL that is killed, is away, or says nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mesh_runs::{
    CommitOutcome, Error, EventCursor, EventFilter, Interest, RunStore, StoreOptions, open,
};
use support::{change, commit, commit_of, create, ended, events, lease, lease_of, new_run};
use testkit::{Certificate, Postgres, Signal, until};

const SOON: Duration = Duration::from_secs(20);
/// What "at once" is on a busy machine.
const AT_ONCE: Duration = Duration::from_millis(500);

fn options() -> StoreOptions {
    StoreOptions {
        timeout: Duration::from_secs(2),
        ..StoreOptions::default()
    }
}

async fn store(server: &Postgres) -> Arc<dyn RunStore> {
    open(&server.database().await, &options()).unwrap()
}

async fn is_away(store: &dyn RunStore) {
    until("the store is away", SOON, async || {
        store.check().await.err()
    })
    .await;
}

async fn is_back(store: &dyn RunStore) {
    until("the store is back", SOON, async || store.check().await.ok()).await;
}

#[tokio::test]
async fn while_postgres_is_away_every_answer_is_that_at_once_and_it_comes_back_by_itself() {
    let mut server = Postgres::start().await;
    let store = &*store(&server).await;
    let run = create(store, &new_run("ann")).await;
    let leases = lease(store, "r").await;
    server.kill();
    is_away(store).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(10) {
        let asked = Instant::now();
        let answers = [
            store.run(&run).await.err(),
            store.create_run(&new_run("ann"), 0).await.err(),
            store
                .commit(&[commit_of(&leases[0], change(&run))])
                .await
                .err(),
            store.lease_shards("r", SOON).await.err(),
        ];
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
        for answer in answers {
            assert!(matches!(answer, Some(Error::Unavailable(_))), "{answer:?}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    server.restart().await;
    let begun = Instant::now();
    is_back(store).await;
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    // The lease is still held.
    commit(store, &lease_of(&leases, &run), ended(&run, 1)).await;
    assert_eq!(store.run(&run).await.unwrap().summary.status, "COMPLETED");
}

#[tokio::test]
async fn no_commit_is_lost_or_counted_twice_when_postgres_is_killed_in_between() {
    let mut server = Postgres::start().await;
    let store = store(&server).await;
    let run = create(&*store, &new_run("ann")).await;
    let held = lease_of(&lease(&*store, "r").await, &run);
    let (stop, mut stopped) = tokio::sync::watch::channel(false);
    let (committer, run_id) = (store.clone(), run.clone());
    let mut committing = tokio::task::JoinSet::new();
    committing.spawn(async move {
        let mut seq = 0;
        while !*stopped.borrow_and_update() {
            seq += 1;
            let mut next = change(&run_id);
            next.events = events([seq]);
            next.nodes = vec![("n".to_owned(), seq.to_string().into_bytes())];
            let next = [commit_of(&held, next)];
            // The same again, until it is known that it was stored.
            while committer.commit(&next).await != Ok(vec![CommitOutcome::Stored]) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        seq
    });
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        server.restart().await;
        is_back(&*store).await;
    }
    stop.send(true).unwrap();
    let last = committing.join_next().await.unwrap().unwrap();
    assert!(last > 30, "{last} commits");
    let found = store.run(&run).await.unwrap();
    assert_eq!(found.nodes[0].1, last.to_string().into_bytes());
    let filter = EventFilter::default();
    let page = store
        .events(&filter, &EventCursor::default(), 10_000)
        .await
        .unwrap();
    let seqs: Vec<u64> = page.events.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_postgres_that_says_nothing_is_given_up_in_time_and_used_again() {
    let mut server = Postgres::start().await;
    let store = &*store(&server).await;
    store.check().await.unwrap();
    server.signal_all(Signal::Stop);
    let begun = Instant::now();
    let answer = store.check().await;
    assert!(matches!(answer, Err(Error::Unavailable(_))), "{answer:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
    // The connection that listens has noticed too.
    until("answers come at once", SOON, async || {
        let begun = Instant::now();
        store.check().await.unwrap_err();
        (begun.elapsed() < AT_ONCE).then_some(())
    })
    .await;
    server.signal_all(Signal::Continue);
    is_back(store).await;
}

#[tokio::test]
async fn who_waits_for_changes_hears_that_there_may_be_some_after_an_outage() {
    let mut server = Postgres::start().await;
    let store = &*store(&server).await;
    store.check().await.unwrap();
    let interests = [Interest::Events, Interest::Inbox(1), Interest::Answers];
    let quiet = Duration::from_millis(300);
    while !store
        .changes("w", &interests, quiet)
        .await
        .unwrap()
        .is_empty()
    {}
    server.restart().await;
    let changes = store.changes("w", &interests, SOON).await.unwrap();
    assert_eq!(
        (changes.inbox, changes.events, changes.answers),
        (1, u64::MAX, true)
    );
}

#[tokio::test]
async fn many_that_open_an_empty_database_at_once_make_its_tables_once() {
    let server = Postgres::start().await;
    let address = server.database().await;
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let store = open(&address, &options()).unwrap();
        opening.spawn(async move { store.check().await });
    }
    for opened in opening.join_all().await {
        opened.unwrap();
    }
    // One that a newer program has changed is left alone.
    let url = address.clone();
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls)
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { connection.await.unwrap() });
    client
        .batch_execute("INSERT INTO mesh_runs_form VALUES (999)")
        .await
        .unwrap();
    let refused = open(&address, &options()).unwrap().check().await;
    let Err(Error::Damaged(reason)) = refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("999"), "{reason}");
}

#[tokio::test]
async fn events_have_a_partition_of_their_week_and_empty_ones_of_the_past_go() {
    let server = Postgres::start().await;
    let address = server.database().await;
    let store = &*open(&address, &options()).unwrap();
    let run = create(store, &new_run("ann")).await;
    let held = lease_of(&lease(store, "r").await, &run);
    let mut next = change(&run);
    next.events = events([1]);
    commit(store, &held, next).await;
    let (client, connection) = tokio_postgres::connect(&address, tokio_postgres::NoTls)
        .await
        .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { connection.await.unwrap() });
    let count = async |sql: &str| client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(count("SELECT count(*) FROM event_default").await, 0);
    assert_eq!(count("SELECT count(*) FROM event").await, 1);
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'event'::regclass";
    let before = count(partitions).await;
    assert!(before > 4, "{before}");
    // One of long ago, without events.
    let old =
        "CREATE TABLE event_w100 PARTITION OF event FOR VALUES FROM (60480000000) TO (61084800000)";
    client.batch_execute(old).await.unwrap();
    store.sweep(1).await.unwrap();
    assert_eq!(
        count(partitions).await,
        before + 1,
        "it is kept while the clock says so"
    );
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_millis()
        .try_into()
        .unwrap();
    store.sweep(now).await.unwrap();
    assert_eq!(count(partitions).await, before);
    // Without partitions, events go to the default.
    client
        .batch_execute(
            "DO $$ DECLARE part regclass; BEGIN
                FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'event'::regclass
                    AND inhrelid <> 'event_default'::regclass LOOP
                    EXECUTE 'DROP TABLE ' || part;
                END LOOP; END $$",
        )
        .await
        .unwrap();
    let mut next = change(&run);
    next.events = events([2]);
    commit(store, &held, next).await;
    assert_eq!(count("SELECT count(*) FROM event_default").await, 1);
    // Partitions that cannot be made beside them are left out, the others made.
    store.sweep(now).await.unwrap();
    assert_eq!(count(partitions).await, before - 1);
}

#[tokio::test]
async fn a_postgres_over_tls_is_trusted_by_its_authority_and_not_by_another() {
    let (own, other) = (
        Certificate::for_host("127.0.0.1"),
        Certificate::for_host("127.0.0.1"),
    );
    let server = Postgres::over_tls(&own).await;
    let plain = server.database().await;
    let folder = tempfile::tempdir().unwrap();
    let check = async |address: &str, authority: &Certificate, name| {
        let [authority, _] = authority.write(folder.path(), name);
        let options = StoreOptions {
            authority: Some(authority),
            ..options()
        };
        open(address, &options).unwrap().check().await
    };
    let over_tls = format!("{plain}?sslmode=require");
    check(&over_tls, &own, "own").await.unwrap();
    let refused = check(&over_tls, &other, "other").await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    check(&plain, &other, "other").await.unwrap();
    let wrong = StoreOptions {
        authority: Some(folder.path().join("none.pem")),
        ..options()
    };
    assert!(matches!(open(&plain, &wrong), Err(Error::Invalid(_))));
}

#[tokio::test]
async fn nothing_to_do_is_a_few_statements_a_second() {
    let server = Postgres::start().await;
    let address = server.database().await;
    let store = &*open(&address, &options()).unwrap();
    store.check().await.unwrap();
    let (client, connection) =
        tokio_postgres::connect(&server.url("postgres"), tokio_postgres::NoTls)
            .await
            .unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { connection.await.unwrap() });
    let database = address.rsplit('/').next().unwrap();
    let transactions = async || {
        let sql = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
        client
            .query_one(sql, &[&database])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = transactions().await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = transactions().await;
    assert!(after - before <= 12, "{} in 6 s", after - before);
}
