use std::collections::BTreeMap;

use mesh_runs::{EventCursor, EventFilter, NewRun, RunStore, shard_of};

use crate::support::{change, commit, create, events, lease, lease_of, run_in, stores};

/// Reads to the end, a few at a time.
async fn read(
    store: &dyn RunStore,
    filter: &EventFilter,
    after: &EventCursor,
    limit: usize,
) -> (Vec<(u16, u64)>, EventCursor) {
    let (mut seen, mut cursor) = (Vec::new(), after.clone());
    loop {
        let page = store.events(filter, &cursor, limit).await.unwrap();
        assert!(page.events.len() <= limit);
        if page.next == cursor {
            return (seen, cursor);
        }
        for event in page.events {
            assert_eq!(event.event["n"], event.seq);
            assert_eq!(event.shard, shard_of(&event.run_id));
            seen.push((event.shard, event.seq));
        }
        cursor = page.next;
    }
}

#[tokio::test]
async fn events_are_read_once_each_and_in_order_however_small_the_pages() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let mut counts: BTreeMap<u16, u64> = BTreeMap::new();
        for at in 0..30_u64 {
            let run = create(store, &run_in((at % 3) as u16, "ann")).await;
            let count = counts.entry((at % 3) as u16).or_default();
            let mut change = change(&run);
            change.events = events(*count + 1..=*count + 1 + at % 4);
            *count += 1 + at % 4;
            commit(store, &lease_of(&leases, &run), change).await;
        }
        let all = EventFilter::default();
        for limit in [1, 2, 3, 7, 1000] {
            let (seen, end) = read(store, &all, &EventCursor::default(), limit).await;
            for (shard, count) in &counts {
                let of_shard: Vec<u64> = seen
                    .iter()
                    .filter(|(of, _)| of == shard)
                    .map(|(_, seq)| *seq)
                    .collect();
                assert_eq!(
                    of_shard,
                    (1..=*count).collect::<Vec<_>>(),
                    "{} {limit}",
                    fixture.scheme
                );
            }
            assert_eq!(end, store.last_event().await.unwrap());
        }
        // From the middle of what one commit stored.
        let middle = EventCursor(BTreeMap::from([(0, 2), (1, counts[&1]), (2, counts[&2])]));
        let (seen, _) = read(store, &all, &middle, 2).await;
        assert_eq!(
            seen,
            (3..=counts[&0]).map(|seq| (0, seq)).collect::<Vec<_>>()
        );
    }
}

#[tokio::test]
async fn events_of_several_runs_in_one_commit_keep_their_order() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let (one, other) = (run_in(5, "ann"), run_in(5, "ben"));
        create(store, &one).await;
        create(store, &other).await;
        let (mut first, mut second) = (change(&one.run_id), change(&other.run_id));
        first.events = events([1, 2, 5]);
        second.events = events([3, 4]);
        let commit = mesh_runs::Commit {
            shard: 5,
            epoch: lease_of(&leases, &one.run_id).epoch,
            runs: vec![first, second],
            outbox_done: Vec::new(),
        };
        store.commit(&[commit]).await.unwrap();
        let all = EventFilter::default();
        let (seen, _) = read(store, &all, &EventCursor::default(), 1).await;
        assert_eq!(
            seen,
            [1, 2, 3, 4, 5].map(|seq| (5, seq)),
            "{}",
            fixture.scheme
        );
        let of_run = EventFilter {
            run_id: Some(one.run_id.clone()),
            owner: None,
        };
        let (seen, _) = read(store, &of_run, &EventCursor::default(), 2).await;
        assert_eq!(seen, [1, 2, 5].map(|seq| (5, seq)));
        let of_owner = EventFilter {
            run_id: None,
            owner: Some("ben".to_owned()),
        };
        let (seen, end) = read(store, &of_owner, &EventCursor::default(), 1).await;
        assert_eq!(seen, [3, 4].map(|seq| (5, seq)));
        assert_eq!(end.0.get(&5), Some(&5), "what does not fit is passed over");
        let page = store
            .events(&all, &EventCursor::default(), 9)
            .await
            .unwrap();
        assert_eq!(page.events[0].owner, "ann");
        assert_eq!(page.events[0].tag.as_deref(), Some("main"));
        assert!(!page.missed);
    }
}

#[tokio::test]
async fn a_reader_is_told_when_events_are_kept_no_more() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let short = NewRun {
            keep_ms: 0,
            ..run_in(9, "ann")
        };
        let long = run_in(9, "ann");
        create(store, &short).await;
        create(store, &long).await;
        let held = lease_of(&leases, &long.run_id);
        let mut first = crate::support::ended(&short.run_id, 10);
        first.events = events([1, 2]);
        commit(store, &held, first).await;
        let mut second = change(&long.run_id);
        second.events = events([3]);
        commit(store, &held, second).await;
        assert_eq!(store.sweep(11).await.unwrap(), 1);
        let all = EventFilter::default();
        let page = store
            .events(&all, &EventCursor::default(), 9)
            .await
            .unwrap();
        assert!(page.missed, "{}", fixture.scheme);
        assert_eq!(page.events.len(), 1);
        let seen = EventCursor(BTreeMap::from([(9, 2)]));
        assert!(!store.events(&all, &seen, 9).await.unwrap().missed);
        let of_run = EventFilter {
            run_id: Some(long.run_id.clone()),
            owner: None,
        };
        let page = store
            .events(&of_run, &EventCursor::default(), 9)
            .await
            .unwrap();
        assert_eq!((page.missed, page.events.len()), (false, 1));
        // A cursor of another store: it begins anew, and is told so.
        let other = EventCursor(BTreeMap::from([(9, 1000)]));
        let page = store.events(&all, &other, 9).await.unwrap();
        assert_eq!((page.missed, page.events.len()), (true, 1));
    }
}

#[tokio::test]
async fn a_long_history_is_read_in_parts_that_leave_nothing_out() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let run = run_in(3, "ann");
        create(store, &run).await;
        let held = lease_of(&leases, &run.run_id);
        for part in 0..4 {
            let mut next = change(&run.run_id);
            next.events = events(part * 7001 + 1..=(part + 1) * 7001);
            commit(store, &held, next).await;
        }
        let expected: Vec<_> = (1..=28_004).map(|seq| (3, seq)).collect();
        let of = |run_id: Option<&str>, owner: Option<&str>| EventFilter {
            run_id: run_id.map(ToOwned::to_owned),
            owner: owner.map(ToOwned::to_owned),
        };
        for filter in [
            of(None, None),
            of(None, Some("ann")),
            of(Some(&run.run_id), None),
        ] {
            let (seen, _) = read(store, &filter, &EventCursor::default(), 6000).await;
            assert!(seen == expected, "{} {filter:?}", fixture.scheme);
        }
        let (seen, end) = read(store, &of(None, Some("ben")), &EventCursor::default(), 10).await;
        assert_eq!((seen.len(), end), (0, store.last_event().await.unwrap()));
    }
}
