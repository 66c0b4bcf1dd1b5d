//! What the embedded store finds after a crash.

mod support;

use std::{fs, path::Path, time::Duration};

use mesh_jobs::{
    Completion, Error, JobCounts, JobEvent, JobFilter, JobId, JobOutcome, JobStatus, Jobs, NewJob,
    Payload, Schedule, StoreOptions, Timer, open,
};
use support::{call, claim_one, done, options};

fn load(folder: &Path) -> Result<Jobs, Error> {
    let address = format!("file://{}", folder.display());
    Ok(Jobs::new(
        open(&address, &StoreOptions::default())?,
        options(),
    ))
}

/// What the default queue counts and tells, but for the time.
async fn story(jobs: &Jobs) -> (JobCounts, Vec<JobEvent>) {
    let mut counts = jobs.queues().await.expect("the store answers")[0]
        .counts
        .clone();
    counts.now = 0;
    let page = jobs.events("default", "", 1_000, Duration::ZERO).await;
    (counts, page.expect("the store answers").events)
}

#[tokio::test]
async fn what_was_said_to_be_done_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = load(folder.path()).unwrap();
    let keyed = || NewJob {
        idempotency_key: Some("k".to_owned()),
        ..call("done")
    };
    let finished = jobs.submit(keyed()).await.unwrap().id;
    let claimed = claim_one(&jobs, "default").await;
    assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
    let running = jobs.submit(call("running")).await.unwrap().id;
    let stale = claim_one(&jobs, "default").await;
    let queued = jobs.submit(call("queued")).await.unwrap().id;
    let timer = Timer::new("t", Schedule::Every(60_000), "call", 1.into());
    jobs.set_timer(timer).await.unwrap();
    let before = story(&jobs).await;
    assert!(
        matches!(load(folder.path()), Err(Error::Broken { .. })),
        "only one may have it open"
    );
    drop(jobs);

    let jobs = load(folder.path()).unwrap();
    assert_eq!(story(&jobs).await, before);
    assert_eq!(jobs.timers().await.unwrap().len(), 1);
    assert_eq!(jobs.submit(keyed()).await.unwrap().id, finished);
    // Whoever ran it is gone with its process: it need not wait for the lease.
    assert_eq!(jobs.recover("default").await.unwrap(), 1);
    assert!(matches!(
        jobs.settle(&[(stale, done())]).await[0],
        Err(Error::Stale { .. })
    ));
    let ids = [
        claim_one(&jobs, "default").await,
        claim_one(&jobs, "default").await,
    ];
    let ids = ids.map(|claimed| claimed.job.id);
    assert!(ids.contains(&running) && ids.contains(&queued));
}

#[tokio::test]
async fn a_log_that_ends_anywhere_holds_everything_before_its_last_write() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = load(folder.path()).unwrap();
    let mut ends = vec![0];
    let mut ids = Vec::new();
    let log = folder.path().join("jobs.log");
    for number in 0..4 {
        ids.push(jobs.submit(call(&number.to_string())).await.unwrap().id);
        ends.push(fs::metadata(&log).unwrap().len());
    }
    drop(jobs);
    let whole = fs::read(&log).unwrap();
    for length in (0..=whole.len()).step_by(7).chain([whole.len()]) {
        let crashed = tempfile::tempdir().unwrap();
        fs::write(crashed.path().join("jobs.log"), &whole[..length]).unwrap();
        let jobs = load(crashed.path()).unwrap();
        let written = ends.iter().filter(|end| **end <= length as u64).count() - 1;
        for (number, id) in ids.iter().enumerate() {
            assert_eq!(
                jobs.get(id).await.is_ok(),
                number < written,
                "cut at {length}"
            );
        }
        // And it goes on from there.
        let id = jobs.submit(call("more")).await.unwrap().id;
        drop(jobs);
        let jobs = load(crashed.path()).unwrap();
        assert_eq!(jobs.get(&id).await.unwrap().status, JobStatus::Queued);
        assert_eq!(
            jobs.queues().await.unwrap()[0].counts.queued,
            written as u64 + 1
        );
    }
}

#[tokio::test]
async fn a_spoilt_last_write_is_cut_off_and_spoilt_earlier_ones_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = load(folder.path()).unwrap();
    let first = jobs.submit(call("first")).await.unwrap().id;
    let log = folder.path().join("jobs.log");
    let end = usize::try_from(fs::metadata(&log).unwrap().len()).unwrap();
    let second = jobs.submit(call("second")).await.unwrap().id;
    drop(jobs);
    let whole = fs::read(&log).unwrap();

    let mut spoilt = whole.clone();
    spoilt[end + 20] ^= 1;
    fs::write(&log, &spoilt).unwrap();
    let jobs = load(folder.path()).unwrap();
    assert!(jobs.get(&first).await.is_ok() && jobs.get(&second).await.is_err());
    drop(jobs);

    let mut spoilt = whole;
    spoilt[20] ^= 1;
    fs::write(&log, &spoilt).unwrap();
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("damaged at byte 0"), "{error}");
}

#[tokio::test]
async fn the_log_is_written_anew_when_it_has_grown_and_keeps_what_counts() {
    let folder = tempfile::tempdir().unwrap();
    let jobs = load(folder.path()).unwrap();
    let kept = jobs
        .submit(NewJob {
            priority: 1,
            ..call("kept")
        })
        .await
        .unwrap()
        .id;
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        jobs.submit(call(&large)).await.unwrap();
        let claimed = jobs
            .claim("default", "w", 1, Duration::ZERO)
            .await
            .unwrap()
            .remove(0);
        if claimed.job.id == kept {
            assert!(jobs.settle(&[(claimed, JobOutcome::Released)]).await[0].is_ok());
        } else {
            assert!(jobs.settle(&[(claimed, done())]).await[0].is_ok());
        }
    }
    let size = fs::metadata(folder.path().join("jobs.log")).unwrap().len();
    assert!(size < 10 << 20, "{size} bytes");
    let before = story(&jobs).await;
    drop(jobs);
    let jobs = load(folder.path()).unwrap();
    assert_eq!(story(&jobs).await, before);
    assert_eq!(jobs.get(&kept).await.unwrap().status, JobStatus::Queued);
}

#[tokio::test]
async fn completions_outlive_restarts_and_new_logs_until_they_are_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let mut jobs = load(folder.path()).unwrap();
    let read = async |jobs: &Jobs| {
        let after = [("t".to_owned(), String::new())];
        let read = jobs.completions("default", &after, 1_000, Duration::ZERO);
        read.await.unwrap()
    };
    let keys = |read: &[Completion]| -> Vec<String> {
        read.iter().filter_map(|it| it.key.clone()).collect()
    };
    let tagged = |seed: &str| NewJob {
        seed: Some(seed.to_owned()),
        completion: Some("t".to_owned()),
        ..call(seed)
    };
    let mut order = Vec::new();
    for seed in ["one", "two", "dead", "three"] {
        order.insert(0, jobs.submit(tagged(seed)).await.unwrap().id);
        let claimed = claim_one(&jobs, "default").await;
        let outcome = match seed {
            "dead" => JobOutcome::Failed {
                error: "no".to_owned(),
                retry: None,
                metrics: None,
            },
            _ => JobOutcome::Succeeded {
                result: Some(Payload::Json(format!("{seed:?}").into())),
                metrics: None,
            },
        };
        jobs.settle(&[(claimed, outcome)]).await.remove(0).unwrap();
    }
    let first = read(&jobs).await;
    let acknowledged = [("t".to_owned(), vec![first[0].cursor.clone()])];
    jobs.acknowledge("default", &acknowledged).await.unwrap();
    // A log of twenty times what it must hold: it is written anew.
    let large = "x".repeat(1 << 20);
    for _ in 0..20 {
        jobs.submit(call(&large)).await.unwrap();
        let claimed = claim_one(&jobs, "default").await;
        jobs.settle(&[(claimed, done())]).await.remove(0).unwrap();
    }
    let size = fs::metadata(folder.path().join("jobs.log")).unwrap().len();
    assert!(size < 10 << 20, "{size} bytes");
    for round in 0..2 {
        let here = read(&jobs).await;
        assert_eq!(keys(&here), ["two", "dead", "three"], "{round}");
        let cursors = |read: &[Completion]| -> Vec<String> {
            read.iter().map(|it| it.cursor.clone()).collect()
        };
        assert_eq!(cursors(&here), cursors(&first[1..]), "{round}");
        assert_eq!(here[0].result, Some(Payload::Json("\"two\"".into())));
        assert_eq!(here[1].status, JobStatus::Dead);
        // Ids without a time are listed as they came, after the later ones.
        let listed = jobs.list(&JobFilter::default(), 1_000, None).await.unwrap();
        let listed: Vec<JobId> = listed.jobs.into_iter().map(|it| it.id).collect();
        assert_eq!(listed[listed.len() - 4..], order, "{round}");
        drop(jobs);
        jobs = load(folder.path()).unwrap();
    }
    assert!(jobs.submit(tagged("one")).await.unwrap().existing);
}
