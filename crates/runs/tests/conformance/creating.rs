use std::collections::BTreeSet;

use mesh_runs::{CreateOutcome, Error, NewRun, OwnerLimits};

use crate::support::{change, commit, create, ended, lease, lease_of, new_run, stores, take_all};

#[tokio::test]
async fn a_run_is_kept_as_it_was_given_and_created_once() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let parent = ("parent".to_owned(), "parent.node.0".to_owned());
        let run = NewRun {
            parent: Some(parent.clone()),
            ..new_run("ann")
        };
        create(store, &run).await;
        let again = store.create_run(&run, 0).await.unwrap();
        assert_eq!(again, CreateOutcome::Existing(run.run_id.clone()));
        let found = store.run(&run.run_id).await.unwrap();
        let summary = found.summary;
        assert_eq!(summary, store.summary(&run.run_id).await.unwrap());
        let unknown = store.summary("unknown").await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
        assert_eq!(summary.status, "QUEUED");
        assert_eq!((summary.owner, summary.tag), (run.owner, run.tag));
        assert_eq!((summary.base, summary.labels), (run.base, run.labels));
        assert_eq!(summary.tags_snapshot, run.tags_snapshot);
        assert_eq!(summary.parent, Some(parent));
        assert_eq!((found.start, found.workflow), (run.start, run.workflow));
        assert_eq!((found.header, found.nodes.len()), (Vec::new(), 0));
        assert_eq!(found.keep_ms, run.keep_ms);
        assert!(summary.submitted_at > 0 && summary.started_at.is_none());
        let unknown = store.run("unknown").await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
    }
}

#[tokio::test]
async fn an_idempotency_key_stands_for_one_request_of_one_owner() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let keyed = |owner: &str, fingerprint: &str| NewRun {
            idempotency: Some(("key".to_owned(), fingerprint.to_owned())),
            ..new_run(owner)
        };
        let first = create(store, &keyed("ann", "body")).await;
        let again = store.create_run(&keyed("ann", "body"), 0).await.unwrap();
        assert_eq!(again, CreateOutcome::Existing(first.clone()));
        let other = store.create_run(&keyed("ann", "other"), 0).await;
        assert!(matches!(other, Err(Error::Conflict(_))), "{other:?}");
        create(store, &keyed("ben", "other")).await;

        // It is known as long as the run is.
        let leases = lease(store, "r").await;
        take_all(store, &leases).await;
        commit(store, &lease_of(&leases, &first), ended(&first, 1)).await;
        store.sweep(1 + 3_600_000).await.unwrap();
        create(store, &keyed("ann", "other")).await;
    }
}

#[tokio::test]
async fn one_of_many_with_the_same_key_at_once_creates_the_run() {
    for fixture in stores().await {
        let mut creating = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let store = fixture.store.clone();
            creating.spawn(async move {
                let run = NewRun {
                    idempotency: Some(("key".to_owned(), "body".to_owned())),
                    ..new_run("ann")
                };
                match store.create_run(&run, 0).await.unwrap() {
                    CreateOutcome::Created => (true, run.run_id),
                    CreateOutcome::Existing(known) => (false, known),
                }
            });
        }
        let outcomes = creating.join_all().await;
        let ids: BTreeSet<_> = outcomes.iter().map(|(_, run_id)| run_id).collect();
        assert_eq!(ids.len(), 1, "{}", fixture.scheme);
        assert_eq!(outcomes.iter().filter(|(created, _)| *created).count(), 1);
    }
}

#[tokio::test]
async fn no_more_runs_wait_than_there_may_be() {
    for fixture in stores().await {
        let store = &*fixture.store;
        for _ in 0..3 {
            store.create_run(&new_run("ann"), 3).await.unwrap();
        }
        let full = store.create_run(&new_run("ben"), 3).await;
        let Err(Error::Full { message }) = full else {
            panic!("{full:?}");
        };
        assert!(message.contains("max_queued_runs"), "{message}");
        let leases = lease(store, "r").await;
        let taken = store
            .take_queued(&leases, &OwnerLimits::default(), 1)
            .await
            .unwrap();
        assert_eq!(taken.len(), 1);
        store.create_run(&new_run("ben"), 3).await.unwrap();
    }
}

#[tokio::test]
async fn a_fork_begins_with_records() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let nodes = vec![
            ("a".to_owned(), b"A".to_vec()),
            ("b".to_owned(), b"B".to_vec()),
        ];
        let run = NewRun {
            forked: Some((b"header".to_vec(), nodes.clone())),
            ..new_run("ann")
        };
        create(store, &run).await;
        let leases = lease(store, "r").await;
        let taken = take_all(store, &leases).await;
        assert_eq!(
            (&taken[0].header[..], &taken[0].nodes),
            (&b"header"[..], &nodes)
        );
        assert_eq!(taken[0].summary.status, "RUNNING");
        let mut change = change(&run.run_id);
        change.nodes = vec![
            ("b".to_owned(), b"B2".to_vec()),
            ("c".to_owned(), b"C".to_vec()),
        ];
        commit(store, &lease_of(&leases, &run.run_id), change).await;
        let found = store.run(&run.run_id).await.unwrap();
        let keys: Vec<_> = found
            .nodes
            .iter()
            .map(|(key, record)| (&key[..], &record[..]))
            .collect();
        let expected: [(&str, &[u8]); 3] = [("a", b"A"), ("b", b"B2"), ("c", b"C")];
        assert_eq!(keys, expected);
    }
}
