//! Stores that are killed, away and emptied.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::sleep;

use crate::{audit::audit, fleet::Fleet, load};

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_once_though_postgresql_is_killed_three_times_and_away_for_ten_seconds() {
    let mut fleet = Fleet::start().await;
    let (store, done) = (Arc::clone(&fleet.store), AtomicBool::new(false));
    let killing = async {
        for _ in 0..3 {
            sleep(Duration::from_secs(2)).await;
            fleet.postgres.restart().await;
        }
        sleep(Duration::from_secs(1)).await;
        fleet.postgres.kill();
        sleep(Duration::from_secs(10)).await;
        fleet.postgres.restart().await;
    };
    let (created, ()) = tokio::join!(load::create_all(store, &done), killing);
    let what = "PostgreSQL killed 3 times and away for 10 s";
    audit(&*fleet.store, &created, what).await;
    assert!(done.load(Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_once_though_redis_is_killed_and_emptied() {
    let mut fleet = Fleet::start().await;
    let (store, done) = (Arc::clone(&fleet.store), AtomicBool::new(false));
    let killing = async {
        sleep(Duration::from_secs(2)).await;
        fleet.redis.restart().await;
        sleep(Duration::from_secs(3)).await;
        assert_eq!(fleet.redis.command("FLUSHALL"), "+OK");
    };
    let (created, ()) = tokio::join!(load::create_all(store, &done), killing);
    audit(&*fleet.store, &created, "Redis killed, then emptied").await;
}
