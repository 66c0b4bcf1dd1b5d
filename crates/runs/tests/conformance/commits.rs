use std::collections::BTreeSet;

use mesh_runs::{
    Command, CommandAnswer, CommitOutcome, Error, NewRun, OutboxEntry, RunChange, content_id,
    id_of, shard_of,
};
use serde_json::json;

use crate::support::{
    change, commit, commit_of, create, ended, events, lease, lease_of, new_run, stores, take_all,
};

#[tokio::test]
async fn what_a_commit_says_of_a_run_is_read_again() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        let held = lease_of(&leases, &run);
        let full = RunChange {
            error: Some("node a: it broke".to_owned()),
            status: "FAILED".to_owned(),
            ended_at: Some(99),
            active_nodes: vec!["a".to_owned(), "b".to_owned()],
            nodes: vec![
                ("a.0".to_owned(), vec![0, 255]),
                ("b.0".to_owned(), Vec::new()),
            ],
            ..change(&run)
        };
        commit(store, &held, full).await;
        let found = store.run(&run).await.unwrap();
        let summary = found.summary;
        assert_eq!(summary.status, "FAILED");
        assert_eq!(summary.error.as_deref(), Some("node a: it broke"));
        assert_eq!((summary.started_at, summary.ended_at), (Some(7), Some(99)));
        assert_eq!(summary.active_nodes, ["a", "b"]);
        assert_eq!(found.header, b"header");
        assert_eq!(
            found.nodes,
            [
                ("a.0".to_owned(), vec![0, 255]),
                ("b.0".to_owned(), Vec::new())
            ]
        );
        // A retry puts it back, and changes one record.
        let again = RunChange {
            header: b"other".to_vec(),
            nodes: vec![("a.0".to_owned(), b"A".to_vec())],
            started_at: None,
            ..change(&run)
        };
        commit(store, &held, again).await;
        let found = store.run(&run).await.unwrap();
        assert_eq!(found.summary.status, "RUNNING");
        assert_eq!(
            (found.summary.started_at, found.summary.ended_at),
            (Some(7), None)
        );
        assert_eq!(
            (found.summary.error, found.summary.active_nodes.len()),
            (None, 0)
        );
        assert_eq!((found.header, found.nodes.len()), (b"other".to_vec(), 2));
        assert_eq!(found.nodes[0].1, b"A");
    }
}

#[tokio::test]
async fn a_commit_that_is_sent_again_counts_once_and_one_with_other_numbers_is_refused() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        let held = lease_of(&leases, &run);
        let other = create(store, &new_run("ann")).await;
        let mut first = change(&run);
        first.events = events(1..=3);
        first.timers_set = vec![("t".to_owned(), 5)];
        first.children = vec![NewRun {
            run_id: id_of("key"),
            ..new_run("ann")
        }];
        first.commands = vec![command(&other, "c1")];
        first.outbox = vec![effect(&run, 1)];
        let first = commit_of(&held, first);
        for _ in 0..2 {
            let outcome = store.commit(std::slice::from_ref(&first)).await.unwrap();
            assert_eq!(outcome, [CommitOutcome::Stored]);
        }
        let last = store.last_event().await.unwrap();
        assert_eq!(last.0.get(&held.shard), Some(&3));
        assert_eq!(store.inbox(&leases, 9).await.unwrap().len(), 1);
        assert_eq!(store.outbox(&held).await.unwrap().len(), 1);
        for wrong in [vec![3, 4], vec![5], vec![4, 6]] {
            let mut change = ended(&run, 1);
            change.events = events(wrong.clone());
            let refused = store.commit(&[commit_of(&held, change)]).await;
            assert!(
                matches!(refused, Err(Error::Conflict(_))),
                "{wrong:?}: {refused:?}"
            );
        }
        assert_eq!(store.run(&run).await.unwrap().summary.status, "RUNNING");
        let mut next = change(&run);
        next.events = events([4]);
        commit(store, &held, next).await;
        // Whoever leases it next goes on from there.
        store.release_shards("r").await.unwrap();
        let leases = lease(store, "other").await;
        assert_eq!(lease_of(&leases, &run).last_seq, 4);
    }
}

fn command(run_id: &str, id: &str) -> Command {
    Command {
        run_id: run_id.to_owned(),
        id: id.to_owned(),
        kind: "signal".to_owned(),
        body: json!({"name": id}),
    }
}

fn effect(run_id: &str, number: u64) -> OutboxEntry {
    OutboxEntry {
        run_id: run_id.to_owned(),
        number,
        effect: number.to_string().into_bytes(),
    }
}

#[tokio::test]
async fn many_runs_of_many_shards_are_stored_in_one_go() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let mut ids = Vec::new();
        for _ in 0..256 {
            ids.push(create(store, &new_run("ann")).await);
        }
        take_all(store, &leases).await;
        let mut commits: Vec<_> = leases
            .iter()
            .map(|held| mesh_runs::Commit {
                shard: held.shard,
                epoch: held.epoch,
                ..mesh_runs::Commit::default()
            })
            .collect();
        for (at, id) in ids.iter().enumerate() {
            let commit = commits
                .iter_mut()
                .find(|commit| commit.shard == shard_of(id))
                .unwrap();
            let seq = 2 * commit.runs.len() as u64;
            let large = vec![b'x'; 70_000 * usize::from(at % 64 == 0)];
            commit.runs.push(RunChange {
                events: events([seq + 1, seq + 2]),
                nodes: (0..3)
                    .map(|node| (format!("n{node}.0"), id.clone().into_bytes()))
                    .collect(),
                blobs: vec![(content_id(&large), large)],
                timers_set: vec![("t".to_owned(), at as u64 + 1)],
                ..ended(id, 50)
            });
        }
        commits.retain(|commit| !commit.runs.is_empty());
        let outcomes = store.commit(&commits).await.unwrap();
        assert!(
            outcomes
                .iter()
                .all(|outcome| *outcome == CommitOutcome::Stored)
        );
        let loaded = store.load(&ids).await.unwrap();
        assert_eq!(loaded.len(), 256);
        for run in loaded {
            assert_eq!(run.summary.status, "COMPLETED");
            assert_eq!(run.nodes.len(), 3);
            assert!(
                run.nodes
                    .iter()
                    .all(|(_, record)| record == run.summary.run_id.as_bytes())
            );
        }
        let (due, next) = store.due_timers(&leases, 100, 1000).await.unwrap();
        assert_eq!((due.len(), next), (100, Some(101)));
        let total: u64 = store.last_event().await.unwrap().0.values().sum();
        assert_eq!(total, 512);
    }
}

#[tokio::test]
async fn children_are_created_and_commands_sent_with_the_commit() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        take_all(store, &leases).await;
        let child = NewRun {
            run_id: id_of("run.node.0"),
            parent: Some((run.clone(), "run.node.0".to_owned())),
            ..new_run("ann")
        };
        let mut parent = change(&run);
        parent.children = vec![child.clone()];
        parent.commands = vec![command(&run, "to itself"), command("unknown", "lost")];
        commit(store, &lease_of(&leases, &run), parent).await;
        let taken = take_all(store, &leases).await;
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].summary.parent, child.parent);
        let inbox = store.inbox(&leases, 9).await.unwrap();
        let ids: BTreeSet<_> = inbox.iter().map(|item| item.command.id.as_str()).collect();
        assert_eq!(ids, BTreeSet::from(["to itself"]), "{}", fixture.scheme);
    }
}

#[tokio::test]
async fn commands_wait_until_they_are_answered_and_are_sent_once() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        let unknown = store.send(&command("unknown", "c0")).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
        for id in ["c1", "c2", "c1", "c3"] {
            store.send(&command(&run, id)).await.unwrap();
        }
        let inbox = store.inbox(&leases, 9).await.unwrap();
        let ids: Vec<_> = inbox.iter().map(|item| item.command.id.clone()).collect();
        assert_eq!(ids, ["c1", "c2", "c3"]);
        assert_eq!(inbox[0].command, command(&run, "c1"));
        assert!(inbox.is_sorted_by_key(|item| item.number));
        assert_eq!(store.inbox(&leases, 2).await.unwrap().len(), 2);
        let others: Vec<_> = leases
            .iter()
            .filter(|held| held.shard != shard_of(&run))
            .copied()
            .collect();
        assert!(store.inbox(&others, 9).await.unwrap().is_empty());
        assert!(store.answers(&ids).await.unwrap().is_empty());

        let answer = CommandAnswer {
            status: 409,
            body: json!({"message": "no"}),
        };
        let mut change = change(&run);
        change.answered = vec![(inbox[1].number, "c2".to_owned(), answer.clone())];
        commit(store, &lease_of(&leases, &run), change).await;
        assert_eq!(
            store.answers(&ids).await.unwrap(),
            [("c2".to_owned(), answer)]
        );
        assert_eq!(store.inbox(&leases, 9).await.unwrap().len(), 2);
        // It is known though it was answered.
        store.send(&command(&run, "c2")).await.unwrap();
        assert_eq!(store.inbox(&leases, 9).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn timers_are_due_in_order_until_they_are_cleared() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        let held = lease_of(&leases, &run);
        let mut first = change(&run);
        first.timers_set = vec![
            ("late".to_owned(), 300),
            ("soon".to_owned(), 100),
            ("gone".to_owned(), 50),
        ];
        first.timers_cleared = vec!["gone".to_owned()];
        commit(store, &held, first).await;
        assert_eq!(
            store.due_timers(&leases, 99, 9).await.unwrap(),
            (Vec::new(), Some(100))
        );
        let (due, next) = store.due_timers(&leases, 1000, 9).await.unwrap();
        let keys: Vec<_> = due
            .iter()
            .map(|timer| (timer.key.as_str(), timer.due_at))
            .collect();
        assert_eq!((keys, next), (vec![("soon", 100), ("late", 300)], None));
        assert_eq!(due[0].run_id, run);
        // One that did not fit is due at once.
        let (due, next) = store.due_timers(&leases, 1000, 1).await.unwrap();
        assert_eq!(due.len(), 1);
        assert!(next.is_some_and(|next| next <= 300));
        let mut second = change(&run);
        second.timers_cleared = vec!["soon".to_owned()];
        second.timers_set = vec![("late".to_owned(), 500)];
        commit(store, &held, second).await;
        assert_eq!(
            store.due_timers(&leases, 499, 9).await.unwrap(),
            (Vec::new(), Some(500))
        );
        let others: Vec<_> = leases
            .iter()
            .filter(|other| other.shard != held.shard)
            .copied()
            .collect();
        assert_eq!(
            store.due_timers(&others, 1000, 9).await.unwrap(),
            (Vec::new(), None)
        );
    }
}

#[tokio::test]
async fn effects_are_kept_until_they_are_noted_as_carried_out() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        let held = lease_of(&leases, &run);
        let mut first = change(&run);
        first.outbox = (1..=3).map(|number| effect(&run, number)).collect();
        commit(store, &held, first).await;
        assert_eq!(
            store.outbox(&held).await.unwrap(),
            [1, 2, 3].map(|n| effect(&run, n))
        );
        let mut second = commit_of(&held, change(&run));
        second.runs[0].outbox = vec![effect(&run, 4)];
        second.outbox_done = vec![1, 3, 77];
        store.commit(&[second]).await.unwrap();
        assert_eq!(
            store.outbox(&held).await.unwrap(),
            [2, 4].map(|n| effect(&run, n))
        );
        let done = mesh_runs::Commit {
            outbox_done: vec![2, 4],
            runs: Vec::new(),
            ..commit_of(&held, change(&run))
        };
        store.commit(&[done]).await.unwrap();
        assert!(store.outbox(&held).await.unwrap().is_empty());
    }
}
