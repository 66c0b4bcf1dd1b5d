//! Runners that are killed and stopped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use mesh_testkit::{Signal, until};
use tokio::time::sleep;

use crate::{
    audit::audit,
    fleet::{Fleet, PATIENCE, number},
    load,
};

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_once_though_one_of_two_workflow_runners_is_killed_every_two_seconds() {
    let mut fleet = Fleet::start().await;
    let (store, done) = (Arc::clone(&fleet.store), AtomicBool::new(false));
    let mut kills = 0;
    let killing = async {
        while !done.load(Relaxed) {
            sleep(Duration::from_secs(2)).await;
            fleet.kill_workflow_runner(kills % 2).await;
            kills += 1;
        }
    };
    let (created, ()) = tokio::join!(load::create_all(store, &done), killing);
    let what = format!("{kills} kills of a workflow runner");
    audit(&*fleet.store, &created, &what).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_end_once_though_job_runners_are_killed_ten_times() {
    let mut fleet = Fleet::start().await;
    let (store, done) = (Arc::clone(&fleet.store), AtomicBool::new(false));
    let killing = async {
        for kill in 0..10 {
            sleep(Duration::from_secs(1)).await;
            fleet.kill_job_runner(kill % 2).await;
        }
    };
    let (created, ()) = tokio::join!(load::create_all(store, &done), killing);
    audit(&*fleet.store, &created, "10 kills of a job runner").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_runner_writes_late_is_refused() {
    let mut fleet = Fleet::start().await;
    let (store, done) = (Arc::clone(&fleet.store), AtomicBool::new(false));
    let seconds = number("MESH_TEST_WORKFLOW_STOP", 8);
    let stopping = async {
        sleep(Duration::from_secs(2)).await;
        fleet.workflow_runners[0].signal(Signal::Stop);
        sleep(Duration::from_secs(seconds as u64)).await;
        // When it goes on it has ends of nodes to take, and cannot learn first that its lease is over: whoever
        // looks waits for this lock. So it writes what it believes, and that is late.
        let looks = fleet.hold_leases().await;
        fleet.workflow_runners[0].signal(Signal::Continue);
        let refused = async || {
            let refused = fleet.workflow_runners[0]
                .metric("mesh_workflow_commits_refused_total")
                .await;
            refused.filter(|refused| *refused > 0.0)
        };
        let refused = until("a late write is refused", PATIENCE, refused).await;
        drop(looks);
        refused
    };
    // There are runs to carry out while it is late.
    let time = Duration::from_secs(seconds as u64 + 8);
    let (created, refused) = tokio::join!(load::create_for(store, &done, time), stopping);
    let what = format!(
        "a workflow runner stopped for {seconds} s, {refused} shards refused its late writes"
    );
    audit(&*fleet.store, &created, &what).await;
    let lost = async |why: &str| {
        let series = format!("mesh_workflow_shards_lost_total{{why=\"{why}\"}}");
        fleet.workflow_runners[0]
            .metric(&series)
            .await
            .unwrap_or(0.0)
    };
    let (fenced, expired) = (lost("fenced").await, lost("expired").await);
    assert!(fenced >= refused.min(1.0), "{fenced} of {refused}");
    assert!(fenced + expired >= 32.0, "{fenced} {expired}");
}
