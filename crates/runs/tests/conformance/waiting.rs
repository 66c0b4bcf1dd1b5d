use std::time::{Duration, Instant};

use mesh_runs::{
    Changes, Command, CommandAnswer, Decision, Interest, NewApproval, RunStore, shard_of,
};
use serde_json::{Value, json};

use crate::support::{change, commit, create, lease, lease_of, new_run, stores};

const SOON: Duration = Duration::from_secs(10);

/// What is heard of all, until it is what was waited for.
async fn heard(store: &dyn RunStore, name: &str, until: impl Fn(&Changes) -> bool) -> Changes {
    let all = [
        Interest::Inbox(u64::MAX),
        Interest::Events,
        Interest::Answers,
    ];
    let begun = Instant::now();
    let mut sum = Changes::default();
    while !until(&sum) && begun.elapsed() < SOON {
        let changes = store
            .changes(name, &all, Duration::from_millis(200))
            .await
            .unwrap();
        sum.inbox |= changes.inbox;
        sum.events |= changes.events;
        sum.answers |= changes.answers;
    }
    assert!(until(&sum), "{sum:?}");
    sum
}

/// Everything that was before is heard of, that the store is there included.
async fn begin(store: &dyn RunStore, name: &str) {
    store.check().await.unwrap();
    let all = [
        Interest::Inbox(u64::MAX),
        Interest::Events,
        Interest::Answers,
    ];
    while store
        .changes(name, &all, Duration::from_millis(300))
        .await
        .unwrap()
        != Changes::default()
    {}
}

#[tokio::test]
async fn each_change_is_heard_of_by_those_who_wait_elsewhere() {
    for fixture in stores().await {
        let (here, there) = (&*fixture.store, &*fixture.another());
        let leases = lease(here, "r").await;
        begin(there, "waiter").await;
        let run = create(here, &new_run("ann")).await;
        let (shard, held) = (shard_of(&run), lease_of(&leases, &run));
        let bit = 1_u64 << shard;
        heard(there, "waiter", |changes| changes.inbox & bit > 0).await;
        let command = Command {
            run_id: run.clone(),
            id: "c".to_owned(),
            kind: "pause".to_owned(),
            body: json!({}),
        };
        here.send(&command).await.unwrap();
        heard(there, "waiter", |changes| changes.inbox & bit > 0).await;
        let inbox = there.inbox(&leases, 9).await.unwrap();
        let answer = CommandAnswer {
            status: 200,
            body: Value::Null,
        };
        let mut next = change(&run);
        next.events = crate::support::events([1]);
        next.answered = vec![(inbox[0].number, "c".to_owned(), answer)];
        next.approvals_opened = vec![NewApproval {
            key: "a".to_owned(),
            run_id: run.clone(),
            node_id: None,
            message: String::new(),
            options: Value::Null,
            context: Value::Null,
            due_at: None,
        }];
        commit(here, &held, next).await;
        heard(there, "waiter", |changes| {
            changes.events & bit > 0 && changes.answers
        })
        .await;
        assert_eq!(there.answers(&["c".to_owned()]).await.unwrap().len(), 1);
        let decision = Decision {
            approved: true,
            by: "ben".to_owned(),
            comment: String::new(),
            data: Value::Null,
            at: 1,
        };
        here.decide("a", &decision).await.unwrap();
        heard(there, "waiter", |changes| changes.inbox & bit > 0).await;
        // A child is news of its own shard.
        let child = new_run("ann");
        let mut parent = change(&run);
        parent.children = vec![child.clone()];
        commit(here, &held, parent).await;
        let bit = 1_u64 << shard_of(&child.run_id);
        heard(there, "waiter", |changes| changes.inbox & bit > 0).await;
    }
}

#[tokio::test]
async fn one_waits_for_what_it_wants_and_no_longer_than_it_says() {
    for fixture in stores().await {
        let store = &fixture.store;
        begin(&**store, "waiter").await;
        let begun = Instant::now();
        let wait = Duration::from_millis(300);
        let changes = store
            .changes("waiter", &[Interest::Events], wait)
            .await
            .unwrap();
        assert_eq!(changes, Changes::default());
        assert!(begun.elapsed() >= wait);
        // New runs are of no interest to it, and wake it not.
        create(&**store, &new_run("ann")).await;
        let begun = Instant::now();
        store
            .changes("waiter", &[Interest::Events], wait)
            .await
            .unwrap();
        assert!(begun.elapsed() >= wait, "{}", fixture.scheme);
        // One that waits already is woken.
        begin(&**store, "waiter").await;
        let interests = [Interest::Inbox(u64::MAX)];
        let run = new_run("ann");
        let (changes, _) = tokio::join!(
            store.changes("waiter", &interests, SOON),
            create(&**store, &run)
        );
        assert!(changes.unwrap().inbox > 0);
    }
}
