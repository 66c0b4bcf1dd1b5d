//! What the store does when its disk does not do what it is asked.

use std::{fs, path::Path, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{JobOutcome, Jobs, NewJob, Payload, QueueOptions, SyncPolicy};

fn load(folder: &Path) -> (Arc<Embedded>, Jobs) {
    let store = Arc::new(Embedded::open(folder, &StoreOptions::default()).unwrap());
    let jobs = Jobs::new(
        Arc::clone(&store) as Arc<dyn Store>,
        QueueOptions::default(),
    );
    (store, jobs)
}

fn job(text: &str) -> NewJob {
    NewJob::new("call", Payload::Json(format!("{text:?}").into()))
}

fn done() -> JobOutcome {
    JobOutcome::Succeeded {
        result: None,
        metrics: None,
    }
}

/// The number in a cursor of a queue's events.
fn number(cursor: &str) -> u64 {
    let digits = cursor.rsplit('=').next().unwrap();
    digits.parse().unwrap()
}

async fn claim(jobs: &Jobs) -> Result<Vec<crate::ClaimedJob>, Error> {
    jobs.claim("default", "w", 10, Duration::ZERO).await
}

/// The disk takes so many more bytes; `None` stands for enough.
async fn room(store: &Embedded, bytes: Option<u64>) {
    store.disk.lock().await.log().room = bytes;
    // What failed lately is not tried again at once.
    tokio::time::sleep(Duration::from_millis(120)).await;
}

#[tokio::test]
async fn what_is_synced_every_so_often_is_synced_though_nothing_more_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let settings = StoreOptions {
        sync: SyncPolicy::Every(Duration::from_secs(1)),
        ..StoreOptions::default()
    };
    let store = Embedded::open(folder.path(), &settings).unwrap();
    let timer = Bytes::from_static(b"x");
    let set = |old| store.swap_timer("t", old, Some(&timer));
    set(None).await.unwrap();
    // The first write of a process takes a block of numbers, and is synced for that.
    set(Some(&timer)).await.unwrap();
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while store.disk.lock().await.dirty() {
        assert!(tokio::time::Instant::now() < end, "never synced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (store, jobs) = load(folder.path());
    let first = jobs.submit(job("first")).await.unwrap().id;
    let runs = claim(&jobs).await.unwrap().remove(0);
    let waits = jobs.submit(job("waits")).await.unwrap().id;
    let log = folder.path().join("jobs.log");
    let whole = fs::metadata(&log).unwrap().len();
    // A frame is cut in its middle, again and again.
    room(&store, Some(17)).await;
    for _ in 0..3 {
        let refused = jobs.submit(job("refused")).await.unwrap_err();
        assert!(refused.is_unavailable(), "{refused}");
        assert!(refused.to_string().contains("make room"), "{refused}");
        assert!(claim(&jobs).await.unwrap_err().is_unavailable());
        assert!(jobs.check().await.unwrap_err().is_unavailable());
        assert_eq!(
            fs::metadata(&log).unwrap().len(),
            whole,
            "no half of a frame stays"
        );
        room(&store, Some(17)).await;
    }
    // Reading and renewing go on.
    assert!(jobs.get(&first).await.is_ok());
    let held = jobs.renew(std::slice::from_ref(&runs.lease)).await.unwrap();
    assert_eq!(held, [Renewal::Held]);
    assert!(
        jobs.settle(&[(runs.clone(), done())]).await[0]
            .as_ref()
            .unwrap_err()
            .is_unavailable()
    );
    room(&store, None).await;
    jobs.check().await.unwrap();
    // While it was full nothing was changed, so that the outcome may be told again.
    assert!(jobs.settle(&[(runs, done())]).await[0].is_ok());
    let claimed = claim(&jobs).await.unwrap();
    assert!(
        claimed.iter().any(|it| it.job.id == waits),
        "not stranded with a lease of nobody's"
    );
    assert!(claimed.iter().all(|it| it.job.header.attempt == 1));
    drop((store, jobs));
    let (_, jobs) = load(folder.path());
    assert_eq!(
        jobs.get(&first).await.unwrap().status,
        crate::JobStatus::Succeeded
    );
    assert_eq!(
        jobs.get(&waits).await.unwrap().status,
        crate::JobStatus::Running
    );
}

#[tokio::test]
async fn an_outcome_that_finds_the_disk_full_is_taken_when_it_is_told_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, jobs) = load(folder.path());
    let id = jobs.submit(job("x")).await.unwrap().id;
    let claimed = claim(&jobs).await.unwrap().remove(0);
    room(&store, Some(3)).await;
    let ends = [(claimed, done())];
    let refused = jobs.settle(&ends).await.remove(0).unwrap_err();
    assert!(refused.is_unavailable(), "{refused}");
    room(&store, None).await;
    assert!(jobs.settle(&ends).await[0].is_ok());
    let again = jobs.settle(&ends).await.remove(0).unwrap_err();
    assert!(matches!(again, Error::Stale { .. }), "once: {again}");
    drop((store, jobs));
    let (_, jobs) = load(folder.path());
    let record = jobs.get(&id).await.unwrap();
    assert_eq!(record.status, crate::JobStatus::Succeeded);
}

#[tokio::test]
async fn a_claim_that_finds_the_disk_full_leaves_its_job_to_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (store, jobs) = load(folder.path());
    let id = jobs.submit(job("x")).await.unwrap().id;
    room(&store, Some(3)).await;
    assert!(claim(&jobs).await.unwrap_err().is_unavailable());
    room(&store, None).await;
    let claimed = claim(&jobs).await.unwrap();
    assert_eq!(
        (&claimed[0].job.id, claimed[0].job.header.attempt),
        (&id, 1)
    );
    drop((store, jobs));
    let (_, jobs) = load(folder.path());
    assert_eq!(
        jobs.get(&id).await.unwrap().status,
        crate::JobStatus::Running
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_written_anew_grows_on_and_is_written_anew_in_frames_later() {
    let folder = tempfile::tempdir().unwrap();
    let (store, jobs) = load(folder.path());
    let large = "x".repeat(1 << 20);
    let mut ids = Vec::new();
    // Room for appending, none for a second file.
    room(&store, Some(u64::MAX >> 1)).await;
    for _ in 0..18 {
        ids.push(jobs.submit(job(&large)).await.unwrap().id);
    }
    let log = folder.path().join("jobs.log");
    assert!(fs::metadata(&log).unwrap().len() > 17 << 20);
    assert!(!folder.path().join("jobs.log.new").exists());
    store.disk.lock().await.retry_rewrite_now();
    room(&store, None).await;
    ids.push(jobs.submit(job("last")).await.unwrap().id);
    drop((store, jobs));
    let (store, jobs) = load(folder.path());
    for id in &ids {
        assert_eq!(jobs.get(id).await.unwrap().status, crate::JobStatus::Queued);
    }
    let frames = store.frames;
    assert!(
        frames >= ids.len(),
        "one frame of all would be too long one day: {frames}"
    );
}

#[tokio::test]
async fn numbers_of_events_are_never_given_twice_though_the_process_dies() {
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0_u64;
    for round in 0..3 {
        let (_store, jobs) = load(folder.path());
        jobs.submit(job("x")).await.unwrap();
        let claimed = claim(&jobs).await.unwrap().remove(0);
        for step in 0..50 {
            // These are in no log.
            jobs.progress(&claimed.lease, &format!("{step}%"))
                .await
                .unwrap();
        }
        let page = jobs
            .events("default", "", 10_000, Duration::ZERO)
            .await
            .unwrap();
        let numbers: Vec<u64> = page.events.iter().map(|it| number(&it.cursor)).collect();
        let new: Vec<&u64> = numbers.iter().filter(|number| **number > last).collect();
        assert_eq!(
            new.len(),
            52,
            "round {round}: queued, running and 50 of progress"
        );
        last = *numbers.last().unwrap();
        // Its claim stays a lease of nobody's: recovered, it would be an event more.
        drop(jobs);
    }
}
