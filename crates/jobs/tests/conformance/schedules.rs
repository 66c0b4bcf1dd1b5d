//! Entries of schedules: whose they are, who fires them, and when they go.

use std::time::Duration;

use mesh_jobs::{Error, Jobs, NewJob, Schedule, ScheduleEntries, Scheduler, Timer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    counts,
    support::{call, stores, until},
};

const NAMES: &[&str] = &["file/"];

fn make(timer: &Timer, _: &str) -> Result<NewJob, Error> {
    Ok(timer.job())
}

fn entry(name: &str, every: u64) -> Timer {
    Timer::new(
        &format!("file/{name}"),
        Schedule::Every(every),
        "call",
        name.into(),
    )
}

fn entries(timers: Vec<Timer>) -> ScheduleEntries {
    let mut entries = ScheduleEntries::new(NAMES);
    entries.replace(timers);
    entries
}

async fn names(jobs: &Jobs) -> Vec<String> {
    let timers = jobs.timers().await.unwrap().into_iter();
    let mut names: Vec<String> = timers.map(|timer| timer.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn an_entry_is_fired_by_schedulers_that_have_it_and_by_no_other() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut with = entries(vec![entry("a", 100)]);
        jobs.reconcile_timers(&mut with, &make).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        // It has been restarted without the entry, or is another one beside it.
        for mut without in [entries(vec![]), entries(vec![entry("b", 3_600_000)])] {
            assert_eq!(
                jobs.reconcile_timers(&mut without, &make)
                    .await
                    .unwrap()
                    .made,
                0
            );
        }
        assert_eq!(names(&jobs).await, ["file/a", "file/b"], "{}", store.scheme);
        assert_eq!(
            jobs.reconcile_timers(&mut with, &make).await.unwrap().made,
            1
        );
        // What is taken out of a file goes at once.
        with.replace(vec![]);
        jobs.reconcile_timers(&mut with, &make).await.unwrap();
        assert_eq!(names(&jobs).await, ["file/b"], "{}", store.scheme);
    }
}

#[tokio::test]
async fn an_entry_that_the_store_has_lost_is_put_back() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut mine = entries(vec![entry("a", 3_600_000), entry("b", 3_600_000)]);
        jobs.reconcile_timers(&mut mine, &make).await.unwrap();
        assert!(jobs.remove_timer("file/a").await.unwrap());
        jobs.reconcile_timers(&mut mine, &make).await.unwrap();
        assert_eq!(names(&jobs).await, ["file/a", "file/b"], "{}", store.scheme);
    }
}

#[tokio::test]
async fn what_an_older_scheduler_left_behind_fires_no_more() {
    for store in stores().await {
        let jobs = store.jobs();
        jobs.set_timer(entry("left", 100)).await.unwrap();
        jobs.set_timer(Timer::new("mine", Schedule::Every(100), "call", 1.into()))
            .await
            .unwrap();
        let (mut none, mut made) = (entries(vec![]), 0);
        // Every scheduler fires the one that a program set itself.
        until("it fires", async || {
            made = jobs.reconcile_timers(&mut none, &make).await.unwrap().made;
            made > 0
        })
        .await;
        assert_eq!(made, 1);
        assert!(jobs.timers().await.unwrap()[0].ownership.is_some());
    }
}

#[tokio::test]
async fn an_entry_that_cannot_fire_leaves_the_others_alone() {
    for store in stores().await {
        let jobs = store.jobs();
        let never = |name: &str, pattern: &str| Timer {
            when: Schedule::Cron(pattern.to_owned()),
            ..entry(name, 100)
        };
        // Alone in each place of the order; one has no further time, one makes no job, one is of
        // an unknown form.
        let (sender, receiver) = watch::channel(vec![
            never("a-spent", "0 0 0 1 1 * 2020"),
            never("b-never", "0 0 30 2 *"),
            entry("c-jobless", 100),
            entry("d-good", 100),
            never("z-spent", "0 0 0 1 1 * 2020"),
        ]);
        let scheduler = Scheduler::new(jobs.clone(), Duration::from_millis(50))
            .with_entries(NAMES, receiver)
            .with_factory(|timer, key| match timer.name.ends_with("jobless") {
                true => Err(Error::Invalid {
                    field: "payload",
                    reason: "no".to_owned(),
                }),
                false => make(timer, key),
            });
        let stop = CancellationToken::new();
        let watched = async {
            until("the good one fired thrice", || async {
                counts(&jobs).await[0] >= 3
            })
            .await;
            stop.cancel();
        };
        tokio::join!(scheduler.run(stop.clone()), watched);
        let timers = jobs.timers().await.unwrap();
        for timer in timers {
            let is_spent = !timer.name.ends_with("good") && !timer.name.ends_with("jobless");
            assert_eq!(timer.next_at.is_none(), is_spent, "{timer:?}");
            let said = timer.last.and_then(|last| last.error);
            assert_eq!(said.is_some(), timer.name.ends_with("jobless"));
        }
        drop(sender);
    }
}

#[tokio::test]
async fn nobody_suppresses_a_timer_or_a_part_by_submitting_its_key_first() {
    for store in stores().await {
        let jobs = store.jobs();
        let timer = Timer::new("t", Schedule::Every(100), "call", "x".into());
        let set = jobs.set_timer(timer).await.unwrap();
        let time = set.next_at.unwrap();
        for key in [format!("timer/t/{time}/0"), "task/x/sub".to_owned()] {
            let first = NewJob {
                idempotency_key: Some(key.clone()),
                ..call("first")
            };
            jobs.submit(first).await.unwrap();
            let ours = NewJob {
                internal_key: Some(key),
                ..call("ours")
            };
            let submitted = jobs.submit(ours).await.unwrap();
            assert!(!submitted.existing, "{}", store.scheme);
        }
        let spoofed = NewJob {
            idempotency_key: Some(format!("\u{1}timer/t/{}", time + 100)),
            ..call("x")
        };
        assert!(matches!(
            jobs.submit(spoofed).await,
            Err(Error::Invalid {
                field: "idempotency_key",
                ..
            })
        ));
    }
}

#[tokio::test]
async fn what_somebody_removes_fires_no_more_though_its_scheduler_has_it() {
    for store in stores().await {
        let jobs = store.jobs();
        let mut mine = entries(vec![entry("a", 100)]);
        jobs.reconcile_timers(&mut mine, &make).await.unwrap();
        let ended = jobs.end_timer("file/a").await.unwrap().unwrap();
        assert!(ended.removed && jobs.end_timer("none").await.unwrap().is_none());
        tokio::time::sleep(Duration::from_millis(250)).await;
        // Neither does a scheduler that starts now bring it back.
        for mut mine in [mine.clone(), entries(vec![entry("a", 100)])] {
            assert_eq!(
                jobs.reconcile_timers(&mut mine, &make).await.unwrap().made,
                0
            );
        }
        let ran = jobs.run_timer("file/a", &make).await.unwrap();
        assert!(!ran.existing, "by hand it runs");
        let mut changed = entries(vec![entry("a", 200)]);
        jobs.reconcile_timers(&mut changed, &make).await.unwrap();
        assert!(!jobs.timers().await.unwrap()[0].removed);
        // One that nobody has configured goes.
        jobs.set_timer(Timer::new("own", Schedule::Every(100), "call", 1.into()))
            .await
            .unwrap();
        jobs.end_timer("own").await.unwrap().unwrap();
        assert_eq!(names(&jobs).await, ["file/a"], "{}", store.scheme);
    }
}
