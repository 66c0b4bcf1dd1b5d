//! `meshctl schedules`, against the real gateway.

use jobs::{Schedule, ScheduleEntries, Timer};
use serde_json::json;

use crate::gateway::Gateway;

#[tokio::test(flavor = "multi_thread")]
async fn schedules_are_listed_run_and_removed() {
    let gateway = Gateway::start(&[]).await;
    let jobs = &gateway.jobs;
    let run = |args: &[&str]| gateway.run(&[&["schedules"], args].concat());
    assert!(run(&["list"]).ok().stderr.contains("SCHEDULE_FILE"));

    let mut nightly = Timer::new(
        "file/nightly",
        Schedule::Cron("0 3 * * *".to_owned()),
        "http",
        json!({"url": "http://example.org/"}),
    );
    "Europe/Berlin".clone_into(&mut nightly.timezone);
    let mut entries = ScheduleEntries::new(&["file/"]);
    entries.replace(vec![nightly]);
    let make = |timer: &Timer, _: &str| Ok(timer.job());
    jobs.reconcile_timers(&mut entries, &make).await.unwrap();

    let listed = run(&["list"]).ok().stdout;
    let row = listed.lines().nth(1).unwrap();
    for cell in ["file/nightly", "0 3 * * * Europe/Berlin", "http", "active"] {
        assert!(row.contains(cell), "{listed}");
    }
    let ran = run(&["run", "nightly", "--json"]).ok().value();
    let id = ran["job_id"].as_str().unwrap();
    assert!(jobs.get(&id.parse().unwrap()).await.is_ok());
    assert!(run(&["list"]).ok().stdout.contains("queued"));
    assert!(
        run(&["remove", "file/nightly"])
            .ok()
            .stdout
            .contains("removed")
    );
    let listed = run(&["list", "--json"]).ok().value();
    assert_eq!(listed[0]["state"], "removed");
    assert_eq!(listed[0]["last"]["job_id"], id);

    let unknown = run(&["run", "none"]);
    assert_eq!(unknown.code, Some(1));
    assert!(
        unknown.stderr.contains("no schedule has an entry"),
        "{unknown:?}"
    );
}
