//! SQLite: its folder, and what it does when that is not as it should be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{path::Path, sync::Arc};

use mesh_runs::{Error, RunStore, StoreOptions, open};
use support::{change, commit_of, create, events, lease, lease_of, new_run, take_all};

fn store(folder: &Path) -> Result<Arc<dyn RunStore>, Error> {
    let address = format!("file://{}", folder.display());
    open(&address, &StoreOptions::default())
}

/// Does something to its file behind its back.
fn tamper(folder: &Path, sql: &str) {
    let file = rusqlite::Connection::open(folder.join("workflows.sqlite3")).unwrap();
    file.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_folder_is_open_once_and_all_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path()).unwrap();
    let run = create(&*first, &new_run("ann")).await;
    let leases = lease(&*first, "before").await;
    take_all(&*first, &leases).await;
    let second = store(folder.path());
    let Err(Error::Unavailable(reason)) = second else {
        panic!("{second:?}");
    };
    assert!(reason.contains("another process"), "{reason}");
    drop(first);
    let again = store(folder.path()).unwrap();
    // Whoever had the shards has gone with the process: nobody waits for the end of a lease.
    let now = lease(&*again, "after").await;
    assert_eq!(now.len(), 64);
    assert!(now[0].epoch > leases[0].epoch);
    let running = again.running(&lease_of(&now, &run)).await.unwrap();
    assert_eq!(running[0].summary.run_id, run);
}

#[tokio::test]
async fn one_that_is_refused_leaves_those_alone_that_are_written_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).unwrap();
    let run = create(&*store, &new_run("ann")).await;
    let held = lease_of(&lease(&*store, "r").await, &run);
    let mut writing = tokio::task::JoinSet::new();
    for at in 0..60 {
        let (store, run) = (store.clone(), run.clone());
        writing.spawn(async move {
            if at % 3 > 0 {
                return store.create_run(&new_run("ann"), 0).await.is_ok();
            }
            // Its records come before what is wrong with it.
            let mut wrong = change(&run);
            wrong.nodes = vec![("wrong".to_owned(), Vec::new())];
            wrong.events = events([1]);
            let gap = change("other");
            let mut commit = commit_of(&held, wrong);
            commit.runs.push(gap);
            commit.runs[1].events = events([7]);
            store.commit(&[commit]).await.is_ok()
        });
    }
    let written = writing.join_all().await;
    assert_eq!(written.iter().filter(|written| **written).count(), 40);
    let found = store.run(&run).await.unwrap();
    assert_eq!(
        (found.nodes.len(), found.summary.status.as_str()),
        (0, "QUEUED")
    );
    assert!(store.last_event().await.unwrap().0.is_empty());
}

#[tokio::test]
async fn what_was_changed_on_the_disk_is_told_and_not_given() {
    let folder = tempfile::tempdir().unwrap();
    let first = store(folder.path()).unwrap();
    let id = first.put_blob(b"content").await.unwrap();
    tamper(folder.path(), "UPDATE blob SET content = x'00'");
    let changed = first.blobs(std::slice::from_ref(&id)).await;
    assert!(matches!(changed, Err(Error::Damaged(_))), "{changed:?}");
    let run = create(&*first, &new_run("ann")).await;
    tamper(folder.path(), "UPDATE run SET labels = 'no JSON'");
    let changed = first.run(&run).await;
    assert!(matches!(changed, Err(Error::Damaged(_))), "{changed:?}");
    drop(first);
    tamper(folder.path(), "PRAGMA user_version = 999");
    let newer = store(folder.path());
    let Err(Error::Damaged(reason)) = newer else {
        panic!("{newer:?}");
    };
    assert!(reason.contains("999"), "{reason}");
    std::fs::write(folder.path().join("workflows.sqlite3"), [b'x'; 10_000]).unwrap();
    let other = store(folder.path());
    assert!(matches!(other, Err(Error::Damaged(_))), "{other:?}");
}
