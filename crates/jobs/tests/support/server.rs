//! A Redis that a test does something to, and what then goes on.

use mesh_jobs::{ClaimedJob, Error, JobStatus, Jobs, StoreOptions, open};
use testkit::Redis;

use super::{call, claim_one, done, options};

pub(crate) const LANE: &str = "mesh:jobs:{default:0}";

pub(crate) fn connect_to(url: &str) -> Jobs {
    Jobs::new(open(url, &StoreOptions::default()).unwrap(), options())
}

pub(crate) fn connect(redis: &Redis) -> Jobs {
    connect_to(&redis.url())
}

pub(crate) async fn ask<T: redis::FromRedisValue>(redis: &Redis, words: &[&str]) -> T {
    let client = redis::Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await.unwrap()
}

pub(crate) async fn say(redis: &Redis, words: &[&str]) {
    ask::<redis::Value>(redis, words).await;
}

pub(crate) async fn settle(jobs: &Jobs, claimed: ClaimedJob) -> Result<(), Error> {
    jobs.settle(&[(claimed, done())]).await.remove(0)
}

/// A job goes its whole way.
pub(crate) async fn goes_through(jobs: &Jobs) {
    let id = jobs.submit(call("through")).await.unwrap().id;
    loop {
        let claimed = claim_one(jobs, "default").await;
        let this = claimed.job.id == id;
        settle(jobs, claimed).await.unwrap();
        if this {
            break;
        }
    }
    assert_eq!(jobs.get(&id).await.unwrap().status, JobStatus::Succeeded);
}
