//! One clock counts, the store's: what this machine's says is not asked, and a jump does no harm.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail like tests")]

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use mesh_jobs::{
    Clock, JobStatus, Jobs, NewJob, Renewal, Schedule, ScheduleEntries, StoreOptions, Timer, open,
};
use support::{call, claim_one, done, jumping::Jumping, options, recovered, store, until};

const HOUR: i64 = 3_600_000;
const NOW: Duration = Duration::ZERO;

fn system() -> i64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A store on disk whose clock is so much ahead of this machine's, in ms.
fn skewed(folder: &Path, ahead: &Arc<AtomicI64>) -> Jobs {
    let ahead = ahead.clone();
    let clock = Clock::new(move || {
        u64::try_from(system() + ahead.load(Ordering::SeqCst)).unwrap_or_default()
    });
    let settings = StoreOptions {
        clock,
        ..StoreOptions::default()
    };
    let address = format!("file://{}", folder.display());
    Jobs::new(open(&address, &settings).unwrap(), options())
}

#[tokio::test]
async fn times_are_the_stores_however_wrong_this_machines_clock_is() {
    for hours in [-24, -1, 1, 24] {
        let folder = tempfile::tempdir().unwrap();
        let ahead = Arc::new(AtomicI64::new(hours * HOUR));
        let jobs = skewed(folder.path(), &ahead);
        let near = |reported: u64| {
            let there = system() + hours * HOUR;
            (i64::try_from(reported).unwrap() - there).abs() < 10_000
        };
        let id = jobs.submit(call("x")).await.unwrap().id;
        assert!(near(id.made_at()), "{hours}");
        let claimed = claim_one(&jobs, "default").await;
        let header = &claimed.job.header;
        let waited = header.started_at.unwrap().checked_sub(header.enqueued_at);
        assert!(waited.is_some_and(|ms| ms < 10_000), "{hours}: {waited:?}");
        assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
        let header = jobs.get(&id).await.unwrap().header;
        assert!(near(header.ended_at.unwrap()), "{hours}");
        let page = jobs.job_events(&id, "", 100, NOW).await.unwrap();
        let names: Vec<_> = page
            .events
            .iter()
            .map(|event| event.name.as_str())
            .collect();
        assert_eq!(names, ["queued", "running", "succeeded"], "{hours}");

        let timer = Timer::new("t", Schedule::Every(100), "call", 1.into());
        let set = jobs.set_timer(timer).await.unwrap();
        assert!(near(set.next_at.unwrap()), "{hours}");
        until("it fires", || async { jobs.fire().await.unwrap() == 1 }).await;
    }
}

#[tokio::test]
async fn a_deadline_is_one_by_the_stores_clock() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(-HOUR));
    let jobs = skewed(folder.path(), &ahead);
    let deadline = u64::try_from(system() - HOUR / 2).unwrap();
    let new = NewJob {
        deadline: Some(deadline),
        ..call("x")
    };
    let id = jobs.submit(new).await.unwrap().id;
    let handler = support::Counting::new(|_| Ok(NOW));
    let worker = mesh_jobs::Worker::new(jobs.clone(), "default", "w", 1, handler);
    let stop = tokio_util::sync::CancellationToken::new();
    let ended = async {
        until("it is done", || async {
            jobs.get(&id).await.unwrap().status == JobStatus::Succeeded
        })
        .await;
        stop.cancel();
    };
    tokio::join!(worker.run(stop.clone(), NOW), ended);
}

#[tokio::test]
async fn what_waits_comes_after_its_time_though_the_clock_was_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(0));
    let jobs = skewed(folder.path(), &ahead);
    let later = || NewJob {
        delay: Duration::from_millis(200),
        ..call("x")
    };
    jobs.submit(later()).await.unwrap();
    ahead.store(-24 * HOUR, Ordering::SeqCst);
    let claimed = claim_one(&jobs, "default").await;
    assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
    // The same while no process ran.
    jobs.submit(later()).await.unwrap();
    drop(jobs);
    ahead.store(-48 * HOUR, Ordering::SeqCst);
    let jobs = skewed(folder.path(), &ahead);
    claim_one(&jobs, "default").await;
}

#[tokio::test]
async fn results_are_kept_though_the_clock_was_days_ahead_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(0));
    let jobs = skewed(folder.path(), &ahead);
    let id = jobs.submit(call("x")).await.unwrap().id;
    let claimed = claim_one(&jobs, "default").await;
    assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
    for hours in [30 * 24, 0] {
        ahead.store(hours * HOUR, Ordering::SeqCst);
        jobs.recover("default").await.unwrap();
        assert!(jobs.get(&id).await.is_ok(), "{hours}");
    }
}

#[tokio::test]
async fn what_happens_to_a_job_is_told_from_its_beginning_when_the_clock_was_just_set_back() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(HOUR));
    let jobs = skewed(folder.path(), &ahead);
    jobs.submit(call("x")).await.unwrap();
    ahead.store(0, Ordering::SeqCst);
    let id = jobs.submit(call("y")).await.unwrap().id;
    let events = jobs.job_events(&id, "", 100, NOW).await.unwrap().events;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].name, "queued");
}

#[tokio::test]
async fn a_lease_lasts_as_long_as_it_should_whatever_the_wall_clock_does() {
    let folder = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicI64::new(0));
    let jobs = skewed(folder.path(), &ahead);
    jobs.submit(call("x")).await.unwrap();
    let claimed = claim_one(&jobs, "default").await;
    for hours in [1, -5] {
        ahead.store(hours * HOUR, Ordering::SeqCst);
        assert_eq!(jobs.recover("default").await.unwrap(), 0, "{hours}");
        let lease = std::slice::from_ref(&claimed.lease);
        assert_eq!(jobs.renew(lease).await.unwrap(), [Renewal::Held]);
    }
    assert_eq!(recovered(&jobs).await, 1);
}

#[tokio::test]
async fn leases_start_anew_when_the_clock_of_a_redis_jumps() {
    let fixture = store("redis").await;
    let jumping = Arc::new(Jumping::new(fixture.store()));
    let jobs = Jobs::new(jumping.clone(), options());
    jobs.submit(call("x")).await.unwrap();
    let claimed = claim_one(&jobs, "default").await;
    assert_eq!(jobs.recover("default").await.unwrap(), 0);
    for hours in [1, -1] {
        tokio::time::sleep(Duration::from_millis(700)).await;
        jumping.by.store(hours * HOUR, Ordering::SeqCst);
        // By what it was last renewed it is over; but that was another clock.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(jobs.recover("default").await.unwrap(), 0, "{hours}");
    }
    assert_eq!(recovered(&jobs).await, 1);
    drop(claimed);
}

#[tokio::test]
async fn a_timer_that_was_set_by_a_clock_ahead_fires_by_the_right_one() {
    let whens = [
        Schedule::Every(300),
        Schedule::Cron("* * * * * *".to_owned()),
    ];
    for when in whens {
        let folder = tempfile::tempdir().unwrap();
        let ahead = Arc::new(AtomicI64::new(300 * 24 * HOUR));
        let jobs = skewed(folder.path(), &ahead);
        let mut entries = ScheduleEntries::new(&["file/"]);
        entries.replace(vec![Timer::new("file/t", when.clone(), "call", 1.into())]);
        let make = |timer: &Timer, _: &str| Ok(timer.job());
        jobs.reconcile_timers(&mut entries, &make).await.unwrap();
        ahead.store(0, Ordering::SeqCst);
        let mut made = 0;
        let end = tokio::time::Instant::now() + Duration::from_secs(20);
        while made < 2 {
            assert!(tokio::time::Instant::now() < end, "{when:?}");
            made += jobs
                .reconcile_timers(&mut entries, &make)
                .await
                .unwrap()
                .made;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            jobs.timers().await.unwrap()[0].next_at.unwrap()
                < u64::try_from(system()).unwrap() + 2_000
        );
    }
}
