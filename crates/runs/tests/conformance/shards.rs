use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use mesh_runs::{CommitOutcome, NewRun, OwnerLimits, RunStore, ShardLease, StoredRun};

use crate::support::{
    LONG, change, commit, commit_of, create, ended, lease, lease_of, new_run, stores, take_all,
};

fn shards(leases: &[ShardLease]) -> BTreeSet<u16> {
    leases.iter().map(|lease| lease.shard).collect()
}

#[tokio::test]
async fn runners_share_the_shards_and_one_that_is_gone_loses_them() {
    for fixture in stores().await {
        let (one, other) = (fixture.store.clone(), fixture.another());
        let all = lease(&*one, "a").await;
        assert_eq!(shards(&all).len(), 64);
        // The second is known from its first call on, and gets what the first gives up.
        assert!(lease(&*other, "b").await.is_empty());
        let half = lease(&*one, "a").await;
        let rest = lease(&*other, "b").await;
        assert_eq!((half.len(), rest.len()), (32, 32), "{}", fixture.scheme);
        assert!(shards(&half).is_disjoint(&shards(&rest)));
        // What stays is the same ownership, what is taken over another one.
        assert!(half.iter().all(|lease| all.contains(lease)));
        assert!(
            rest.iter()
                .all(|lease| lease_at(&all, lease.shard).epoch < lease.epoch)
        );
        // A third one, and the first leaves.
        lease(&*other, "c").await;
        one.release_shards("a").await.unwrap();
        let (b, c) = (lease(&*other, "b").await, lease(&*other, "c").await);
        assert_eq!((b.len(), c.len()), (32, 32));
        assert!(shards(&b).is_disjoint(&shards(&c)));
    }
}

fn lease_at(leases: &[ShardLease], shard: u16) -> ShardLease {
    *leases.iter().find(|lease| lease.shard == shard).unwrap()
}

#[tokio::test]
async fn the_shards_of_a_runner_that_is_silent_are_free_after_its_time() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let short = Duration::from_millis(300);
        let silent = store.lease_shards("silent", short).await.unwrap();
        assert_eq!(silent.len(), 64);
        assert!(lease(store, "other").await.is_empty());
        tokio::time::sleep(short).await;
        let taken = lease(store, "other").await;
        assert_eq!(taken.len(), 64, "{}", fixture.scheme);
        assert!(taken[0].epoch > silent[0].epoch);
        // Its late commits are refused, those of the new owner taken.
        let run = create(store, &new_run("ann")).await;
        let late = commit_of(&lease_of(&silent, &run), change(&run));
        let next = commit_of(&lease_of(&taken, &run), change(&run));
        let outcomes = store.commit(&[late, next]).await.unwrap();
        assert_eq!(outcomes, [CommitOutcome::Fenced, CommitOutcome::Stored]);
    }
}

#[tokio::test]
async fn a_fenced_commit_leaves_nothing() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let run = create(store, &new_run("ann")).await;
        let leases = lease(store, "r").await;
        let held = lease_of(&leases, &run);
        let stale = ShardLease {
            epoch: held.epoch - 1,
            ..held
        };
        let mut wrong = ended(&run, 9);
        wrong.timers_set = vec![("t".to_owned(), 1)];
        wrong.events = crate::support::events([1]);
        wrong.children = vec![new_run("child")];
        let outcome = store.commit(&[commit_of(&stale, wrong)]).await.unwrap();
        assert_eq!(outcome, [CommitOutcome::Fenced]);
        assert_eq!(store.run(&run).await.unwrap().summary.status, "QUEUED");
        assert_eq!(store.due_timers(&leases, 99, 9).await.unwrap().0.len(), 0);
        assert!(store.last_event().await.unwrap().0.is_empty());
        assert_eq!(take_all(store, &leases).await.len(), 1);
    }
}

#[tokio::test]
async fn many_runners_that_lease_at_once_never_own_a_shard_together() {
    for fixture in stores().await {
        let mut runners = tokio::task::JoinSet::new();
        for at in 0..6 {
            let store = fixture.another();
            runners.spawn(async move {
                let name = format!("runner-{at}");
                for _ in 0..20 {
                    store.lease_shards(&name, LONG).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
        }
        runners.join_all().await;
        let mut owners = BTreeMap::new();
        for _ in 0..2 {
            for at in 0..6 {
                let name = format!("runner-{at}");
                for held in lease(&*fixture.store, &name).await {
                    owners.insert((held.shard, held.epoch), name.clone());
                }
            }
        }
        let last: BTreeMap<u16, u64> = owners.keys().copied().collect();
        assert_eq!(last.len(), 64, "{}", fixture.scheme);
        let mut counts = BTreeMap::new();
        for owned in last {
            *counts.entry(owners[&owned].clone()).or_insert(0) += 1;
        }
        assert!(
            counts.values().all(|count| (10..=11).contains(count)),
            "{counts:?}"
        );
    }
}

#[tokio::test]
async fn two_owners_of_a_shard_fight_and_only_commits_of_the_holder_count() {
    for fixture in stores().await {
        let run = create(&*fixture.store, &new_run("ann")).await;
        let mut fighters = tokio::task::JoinSet::new();
        for at in 0..4 {
            let (store, run) = (fixture.another(), run.clone());
            fighters.spawn(async move {
                let name = format!("fighter-{at}");
                let mut stored = Vec::new();
                for _ in 0..15 {
                    // Each takes everything from whoever is silent for a moment.
                    let leases = store
                        .lease_shards(&name, Duration::from_millis(2))
                        .await
                        .unwrap();
                    let mine = leases
                        .iter()
                        .find(|held| held.shard == mesh_runs::shard_of(&run));
                    let Some(mine) = mine else {
                        tokio::time::sleep(Duration::from_millis(3)).await;
                        continue;
                    };
                    for next in 1..=3 {
                        let mut change = change(&run);
                        change.events = crate::support::events([mine.last_seq + next]);
                        let outcome = store.commit(&[commit_of(mine, change)]).await.unwrap();
                        if outcome == [CommitOutcome::Fenced] {
                            break;
                        }
                        stored.push(mine.last_seq + next);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                stored
            });
        }
        let stored: Vec<u64> = fighters.join_all().await.concat();
        let count = stored.len() as u64;
        assert!(count > 4, "{}: {count} commits", fixture.scheme);
        let numbers: BTreeSet<u64> = stored.into_iter().collect();
        assert_eq!(
            numbers,
            (1..=count).collect(),
            "none twice and none left out"
        );
    }
}

#[tokio::test]
async fn running_gives_what_needs_a_runners_memory() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(create(store, &new_run("ann")).await);
        }
        take_all(store, &leases).await;
        // One was taken and nothing more; one goes on; one is idle; one waits for a person.
        commit(store, &lease_of(&leases, &ids[1]), change(&ids[1])).await;
        let idle = mesh_runs::RunChange {
            idle: true,
            ..change(&ids[2])
        };
        commit(store, &lease_of(&leases, &ids[2]), idle).await;
        let waiting = mesh_runs::RunChange {
            status: "WAITING_FOR_APPROVAL".to_owned(),
            ..change(&ids[3])
        };
        commit(store, &lease_of(&leases, &ids[3]), waiting).await;
        let mut running = BTreeMap::new();
        for held in &leases {
            for run in store.running(held).await.unwrap() {
                running.insert(run.summary.run_id, run.header);
            }
        }
        let expected = BTreeMap::from([
            (ids[0].clone(), Vec::new()),
            (ids[1].clone(), b"header".to_vec()),
        ]);
        assert_eq!(running, expected, "{}", fixture.scheme);
        let loaded = store
            .load(&[ids[3].clone(), "unknown".to_owned()])
            .await
            .unwrap();
        assert_eq!(loaded.len(), 1);
        assert_eq!(loaded[0].summary.run_id, ids[3]);
    }
}

async fn queue(store: &dyn RunStore, owner: &str, priority: u8, count: usize) {
    for _ in 0..count {
        let run = NewRun {
            priority,
            ..new_run(owner)
        };
        create(store, &run).await;
    }
}

fn owners(runs: &[StoredRun]) -> Vec<&str> {
    runs.iter().map(|run| run.summary.owner.as_str()).collect()
}

#[tokio::test]
async fn queued_runs_of_owners_who_are_left_out_stay_queued() {
    for fixture in stores().await {
        let store = &*fixture.store;
        queue(store, "heavy", 5, 20).await;
        queue(store, "light", 3, 2).await;
        let leases = lease(store, "r").await;
        let limits = OwnerLimits {
            left_out: vec!["heavy".to_owned(), "nobody".to_owned()],
            ..OwnerLimits::default()
        };
        // With as many queued as are taken, and with more.
        for max in [4, 1000] {
            let taken = store.take_queued(&leases, &limits, max).await.unwrap();
            assert!(owners(&taken).iter().all(|owner| *owner == "light"));
            assert_eq!(taken.len(), if max == 4 { 2 } else { 0 });
        }
        let all = OwnerLimits::default();
        let rest = store.take_queued(&leases, &all, 1000).await.unwrap();
        assert_eq!(rest.len(), 20, "{}", fixture.scheme);
    }
}

#[tokio::test]
async fn queued_runs_are_taken_by_priority_and_by_owners_in_turn() {
    for fixture in stores().await {
        let store = &*fixture.store;
        queue(store, "heavy", 3, 50).await;
        queue(store, "light", 3, 2).await;
        queue(store, "urgent", 5, 1).await;
        queue(store, "later", 1, 1).await;
        let leases = lease(store, "r").await;
        let limits = OwnerLimits::default();
        let first = store.take_queued(&leases, &limits, 4).await.unwrap();
        assert_eq!(
            owners(&first),
            ["urgent", "heavy", "light", "heavy"],
            "{}",
            fixture.scheme
        );
        let next = store.take_queued(&leases, &limits, 2).await.unwrap();
        assert_eq!(owners(&next), ["light", "heavy"]);
        let rest = store.take_queued(&leases, &limits, 1000).await.unwrap();
        assert_eq!(rest.len(), 48);
        assert_eq!(rest.last().unwrap().summary.owner, "later");
        assert!(rest.iter().all(|run| run.summary.started_at.is_some()));
        assert!(
            store
                .take_queued(&leases, &limits, 1000)
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn many_owners_are_served_in_turn_over_many_calls() {
    for fixture in stores().await {
        let store = &*fixture.store;
        for at in 0..12 {
            queue(store, &format!("owner-{at:02}"), 3, 3).await;
        }
        let leases = lease(store, "r").await;
        let mut taken = Vec::new();
        for _ in 0..9 {
            let runs = store
                .take_queued(&leases, &OwnerLimits::default(), 4)
                .await
                .unwrap();
            taken.extend(runs.into_iter().map(|run| run.summary.owner));
        }
        for round in taken.chunks(12) {
            let owners: BTreeSet<_> = round.iter().collect();
            assert_eq!(owners.len(), 12, "{}: {round:?}", fixture.scheme);
        }
        assert_eq!(taken.len(), 36);
    }
}

#[tokio::test]
async fn only_runs_of_owned_shards_are_taken_and_each_by_one() {
    for fixture in stores().await {
        let (one, other) = (fixture.store.clone(), fixture.another());
        queue(&*one, "ann", 3, 60).await;
        lease(&*one, "a").await;
        lease(&*other, "b").await;
        let (a, b) = (lease(&*one, "a").await, lease(&*other, "b").await);
        let b = if b.is_empty() {
            lease(&*other, "b").await
        } else {
            b
        };
        let limits = OwnerLimits::default();
        let (of_a, of_b) = tokio::join!(
            one.take_queued(&a, &limits, 100),
            other.take_queued(&b, &limits, 100)
        );
        let (of_a, of_b) = (of_a.unwrap(), of_b.unwrap());
        assert_eq!(of_a.len() + of_b.len(), 60, "{}", fixture.scheme);
        for (leases, runs) in [(&a, &of_a), (&b, &of_b)] {
            let owned = shards(leases);
            assert!(
                runs.iter()
                    .all(|run| owned.contains(&mesh_runs::shard_of(&run.summary.run_id)))
            );
        }
    }
}

#[tokio::test]
async fn an_owner_has_no_more_runs_under_way_than_allowed_and_children_do_not_count() {
    for fixture in stores().await {
        let store = &*fixture.store;
        queue(store, "ann", 3, 5).await;
        queue(store, "ann", 4, 2).await;
        queue(store, "ben", 3, 1).await;
        let leases = lease(store, "r").await;
        let limits = OwnerLimits {
            left_out: Vec::new(),
            max_running_runs: 3,
        };
        let taken = store.take_queued(&leases, &limits, 100).await.unwrap();
        let count = |owner| owners(&taken).iter().filter(|of| **of == owner).count();
        assert_eq!((count("ann"), count("ben")), (3, 1), "{}", fixture.scheme);
        assert!(
            store
                .take_queued(&leases, &limits, 100)
                .await
                .unwrap()
                .is_empty()
        );
        // One that waits counts; a child is taken all the same.
        let first = &taken[0].summary.run_id;
        let waiting = mesh_runs::RunChange {
            status: "WAITING_FOR_APPROVAL".to_owned(),
            ..change(first)
        };
        commit(store, &lease_of(&leases, first), waiting).await;
        let child = NewRun {
            parent: Some((first.clone(), "key".to_owned())),
            ..new_run("ann")
        };
        create(store, &child).await;
        let next = store.take_queued(&leases, &limits, 100).await.unwrap();
        assert_eq!(next.len(), 1);
        assert_eq!(next[0].summary.run_id, child.run_id);
        commit(store, &lease_of(&leases, first), ended(first, 9)).await;
        let next = store.take_queued(&leases, &limits, 100).await.unwrap();
        assert_eq!(owners(&next), ["ann"]);
    }
}
