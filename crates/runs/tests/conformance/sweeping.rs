use mesh_runs::{ApprovalFilter, Error, NewApproval, NewRun, NewVersion, content_id};
use serde_json::Value;

use crate::support::{change, commit, create, ended, lease, lease_of, new_run, stores, take_all};

const HOUR: u64 = 3_600_000;

fn now() -> u64 {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    since.as_millis().try_into().unwrap()
}

#[tokio::test]
async fn ended_runs_go_when_their_time_is_over_with_all_that_is_theirs() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let keep = |keep_ms| NewRun {
            keep_ms,
            ..new_run("ann")
        };
        let (short, long, running) = (keep(10), keep(1000), keep(0));
        for run in [&short, &long, &running] {
            create(store, run).await;
        }
        take_all(store, &leases).await;
        let mut last = ended(&short.run_id, 100);
        last.events = crate::support::events([1]);
        last.nodes = vec![("n".to_owned(), b"N".to_vec())];
        last.timers_set = vec![("t".to_owned(), 1)];
        last.approvals_opened = vec![NewApproval {
            key: "a".to_owned(),
            run_id: short.run_id.clone(),
            node_id: None,
            message: String::new(),
            options: Value::Null,
            context: Value::Null,
            due_at: None,
        }];
        commit(store, &lease_of(&leases, &short.run_id), last).await;
        commit(
            store,
            &lease_of(&leases, &long.run_id),
            ended(&long.run_id, 100),
        )
        .await;
        commit(
            store,
            &lease_of(&leases, &running.run_id),
            change(&running.run_id),
        )
        .await;
        assert_eq!(store.sweep(109).await.unwrap(), 0, "{}", fixture.scheme);
        assert_eq!(store.sweep(110).await.unwrap(), 1);
        let gone = store.run(&short.run_id).await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
        assert!(store.due_timers(&leases, 9, 9).await.unwrap().0.is_empty());
        let filter = ApprovalFilter {
            limit: 9,
            ..ApprovalFilter::default()
        };
        assert!(store.approvals(&filter).await.unwrap().is_empty());
        assert_eq!(store.sweep(1100).await.unwrap(), 1);
        store.run(&running.run_id).await.unwrap();
    }
}

#[tokio::test]
async fn a_run_that_is_retried_is_kept() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let run = create(
            store,
            &NewRun {
                keep_ms: 1,
                ..new_run("ann")
            },
        )
        .await;
        let held = lease_of(&leases, &run);
        commit(store, &held, ended(&run, 100)).await;
        commit(store, &held, change(&run)).await;
        assert_eq!(store.sweep(now()).await.unwrap(), 0, "{}", fixture.scheme);
    }
}

#[tokio::test]
async fn of_each_workflow_the_last_runs_are_kept() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let mut runs = Vec::new();
        for at in 0..8 {
            let run = NewRun {
                keep_last: 2,
                tag: Some(format!("tag-{}", at % 2)),
                ..new_run("ann")
            };
            runs.push(create(store, &run).await);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let other = create(store, &new_run("ann")).await;
        take_all(store, &leases).await;
        for run in runs.iter().chain([&other]).skip(1) {
            commit(store, &lease_of(&leases, run), ended(run, now())).await;
        }
        assert_eq!(store.sweep(now()).await.unwrap(), 3, "{}", fixture.scheme);
        let left = store.load(&runs).await.unwrap();
        let left: Vec<_> = left.iter().map(|run| &run.summary.run_id).collect();
        // The first one has not ended.
        assert_eq!(left, [&runs[0], &runs[4], &runs[5], &runs[6], &runs[7]]);
        store.run(&other).await.unwrap();
    }
}

#[tokio::test]
async fn content_goes_when_nobody_names_it_any_more() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let put = async |content: &str| store.put_blob(content.as_bytes()).await.unwrap();
        let unnamed = put("unnamed").await;
        let workflow = put("workflow").await;
        let input = put("input").await;
        let output = content_id(b"output");
        let passed = put("passed on").await;
        let run = NewRun {
            workflow: workflow.clone(),
            start: format!(r#"{{"inputs":"{input}"}}"#).into_bytes(),
            ..new_run("ann")
        };
        create(store, &run).await;
        let version = NewVersion {
            kind: "dag_version".to_owned(),
            content: b"version".to_vec(),
            workflow: b"whole".to_vec(),
            op_count: 0,
            description: String::new(),
            created_by: "ann".to_owned(),
            after: None,
        };
        store.put_version("ann", "main", &version).await.unwrap();
        let mut change = change(&run.run_id);
        change.blobs = vec![(output.clone(), b"output".to_vec())];
        change.nodes = vec![(
            "n".to_owned(),
            format!(r#"{{"blob":"{passed}"}}"#).into_bytes(),
        )];
        let held = lease_of(&leases, &run.run_id);
        commit(store, &held, change).await;

        let named = [workflow, input, output, passed];
        // Somebody may be about to name it.
        store.sweep(now()).await.unwrap();
        store.blobs(std::slice::from_ref(&unnamed)).await.unwrap();
        store.sweep(now() + 2 * HOUR).await.unwrap();
        let gone = store.blobs(std::slice::from_ref(&unnamed)).await;
        assert!(
            matches!(gone, Err(Error::NotFound(_))),
            "{}: {gone:?}",
            fixture.scheme
        );
        store.blobs(&named).await.unwrap();
        store.versions("ann", "main", None).await.unwrap();

        commit(store, &held, ended(&run.run_id, now())).await;
        assert_eq!(store.sweep(now() + 2 * HOUR).await.unwrap(), 1);
        for name in named {
            let gone = store.blobs(std::slice::from_ref(&name)).await;
            assert!(
                matches!(gone, Err(Error::NotFound(_))),
                "{}: {gone:?}",
                fixture.scheme
            );
        }
        store.versions("ann", "main", None).await.unwrap();
    }
}
