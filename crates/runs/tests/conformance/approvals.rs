use mesh_runs::{
    Approval, ApprovalFilter, ApprovalState, Decision, DecisionOutcome, Error, NewApproval,
    RunStore, ShardLease,
};
use serde_json::{Value, json};

use crate::support::{change, commit, create, lease, lease_of, new_run, stores};

fn question(run_id: &str, node: &str, options: Value) -> NewApproval {
    NewApproval {
        key: format!("{run_id}.{node}.0"),
        run_id: run_id.to_owned(),
        node_id: Some(node.to_owned()),
        message: "may it?".to_owned(),
        options,
        context: json!({"amount": 7}),
        due_at: Some(500),
    }
}

fn says(by: &str, approved: bool) -> Decision {
    Decision {
        approved,
        by: by.to_owned(),
        comment: "because".to_owned(),
        data: json!({"x": 1}),
        at: 9,
    }
}

/// A run that asks.
async fn ask(
    store: &dyn RunStore,
    leases: &[ShardLease],
    nodes: &[(&str, Value)],
) -> (String, Vec<String>) {
    let run = create(store, &new_run("ann")).await;
    let mut change = change(&run);
    change.status = "WAITING_FOR_APPROVAL".to_owned();
    change.approvals_opened = nodes
        .iter()
        .map(|(node, options)| question(&run, node, options.clone()))
        .collect();
    let keys = change
        .approvals_opened
        .iter()
        .map(|asked| asked.key.clone())
        .collect();
    commit(store, &lease_of(leases, &run), change).await;
    (run, keys)
}

#[tokio::test]
async fn a_question_waits_until_one_decision_completes_it() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let (run, keys) = ask(store, &leases, &[("a", json!({"quorum": 2}))]).await;
        let key = &keys[0];
        let waiting = store.approval(key).await.unwrap();
        assert_eq!(waiting.asked, question(&run, "a", json!({"quorum": 2})));
        assert_eq!(
            (waiting.owner.as_str(), waiting.tag.as_deref()),
            ("ann", Some("main"))
        );
        assert_eq!(
            (waiting.state, waiting.decisions.len()),
            (ApprovalState::Pending, 0)
        );

        let counted = store.decide(key, &says("ben", true)).await.unwrap();
        assert!(
            matches!(counted, DecisionOutcome::Counted(_)),
            "{counted:?}"
        );
        let repeated = store.decide(key, &says("ben", true)).await.unwrap();
        assert!(
            matches!(repeated, DecisionOutcome::Repeated(_)),
            "{repeated:?}"
        );
        let opposite = store.decide(key, &says("ben", false)).await.unwrap();
        assert!(
            matches!(opposite, DecisionOutcome::Refused(_)),
            "{opposite:?}"
        );
        assert!(store.inbox(&leases, 9).await.unwrap().is_empty());

        let complete = store.decide(key, &says("cid", true)).await.unwrap();
        let DecisionOutcome::Complete(approval) = complete else {
            panic!("{complete:?}");
        };
        assert_eq!(approval.state, ApprovalState::Approved);
        assert_eq!(store.approval(key).await.unwrap(), approval);
        assert_eq!(approval.decisions, [says("ben", true), says("cid", true)]);
        let late = store.decide(key, &says("dan", true)).await.unwrap();
        assert!(matches!(late, DecisionOutcome::Refused(_)), "{late:?}");
        let again = store.decide(key, &says("cid", true)).await.unwrap();
        assert!(matches!(again, DecisionOutcome::Repeated(_)), "{again:?}");

        let inbox = store.inbox(&leases, 9).await.unwrap();
        assert_eq!(inbox.len(), 1);
        let command = &inbox[0].command;
        assert_eq!(
            (command.run_id.as_str(), command.kind.as_str()),
            (&run[..], "decided")
        );
        assert_eq!(command.body["key"], **key);
        assert_eq!(command.body["approved"], true);
        assert_eq!(command.body["by"], "cid");
        assert_eq!(command.body["data"]["comment"], "because");
        assert_eq!(command.body["data"]["data"], json!({"x": 1}));
        let unknown = store.decide("unknown", &says("ben", true)).await;
        assert!(matches!(unknown, Err(Error::NotFound(_))), "{unknown:?}");
    }
}

#[tokio::test]
async fn of_many_who_decide_at_once_one_completes() {
    for fixture in stores().await {
        let leases = lease(&*fixture.store, "r").await;
        for round in 0..5 {
            let (_, keys) = ask(&*fixture.store, &leases, &[("a", json!({}))]).await;
            let mut deciding = tokio::task::JoinSet::new();
            for at in 0..8 {
                let (store, key) = (fixture.another(), keys[0].clone());
                deciding.spawn(async move {
                    let decision = says(&format!("person-{at}"), at % 2 == 0);
                    store.decide(&key, &decision).await.unwrap()
                });
            }
            let outcomes = deciding.join_all().await;
            let complete = outcomes
                .iter()
                .filter(|outcome| matches!(outcome, DecisionOutcome::Complete(_)))
                .count();
            let refused = outcomes
                .iter()
                .filter(|outcome| matches!(outcome, DecisionOutcome::Refused(_)))
                .count();
            assert_eq!((complete, refused), (1, 7), "{}", fixture.scheme);
            assert_eq!(
                fixture.store.inbox(&leases, 99).await.unwrap().len(),
                round + 1
            );
        }
    }
}

#[tokio::test]
async fn one_no_is_enough_and_so_is_the_end_of_the_time() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let three = json!({"quorum": 3});
        let (_, keys) = ask(store, &leases, &[("a", three.clone()), ("b", three)]).await;
        store.decide(&keys[0], &says("ben", false)).await.unwrap();
        store.decide(&keys[1], &says("", true)).await.unwrap();
        let states = [
            store.approval(&keys[0]).await.unwrap().state,
            store.approval(&keys[1]).await.unwrap().state,
        ];
        assert_eq!(states, [ApprovalState::Rejected, ApprovalState::Approved]);
        assert_eq!(
            store.inbox(&leases, 9).await.unwrap().len(),
            2,
            "{}",
            fixture.scheme
        );
    }
}

#[tokio::test]
async fn a_question_that_is_closed_is_decided_no_more_and_may_be_asked_again() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let (run, keys) = ask(store, &leases, &[("a", json!({}))]).await;
        let held = lease_of(&leases, &run);
        let mut close = change(&run);
        close.approvals_closed = vec![keys[0].clone()];
        commit(store, &held, close.clone()).await;
        let closed = store.decide(&keys[0], &says("ben", true)).await.unwrap();
        assert!(matches!(closed, DecisionOutcome::Refused(_)), "{closed:?}");
        let mut again = change(&run);
        again.approvals_opened = vec![question(&run, "a", json!({"quorum": 1}))];
        commit(store, &held, again).await;
        let done = store.decide(&keys[0], &says("ben", true)).await.unwrap();
        assert!(matches!(done, DecisionOutcome::Complete(_)), "{done:?}");
        // What was decided stays decided.
        commit(store, &held, close).await;
        let state = store.approval(&keys[0]).await.unwrap().state;
        assert_eq!(state, ApprovalState::Approved, "{}", fixture.scheme);
    }
}

#[tokio::test]
async fn approvals_are_listed_oldest_first_by_page_and_for_whom_they_are() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let mine = json!({"approvers": ["ben"]});
        let mut keys = Vec::new();
        let mut runs = Vec::new();
        for options in [
            json!({}),
            mine.clone(),
            json!({"self_approval": false}),
            mine,
        ] {
            let (run, asked) = ask(store, &leases, &[("a", options)]).await;
            keys.extend(asked);
            runs.push(run);
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let list = async |filter: ApprovalFilter| {
            let found: Vec<Approval> = store.approvals(&filter).await.unwrap();
            found
                .into_iter()
                .map(|approval| approval.asked.key)
                .collect::<Vec<_>>()
        };
        let all = ApprovalFilter {
            limit: 10,
            ..ApprovalFilter::default()
        };
        assert_eq!(list(all.clone()).await, keys, "{}", fixture.scheme);
        let page = ApprovalFilter {
            limit: 2,
            cursor: Some(keys[0].clone()),
            ..all.clone()
        };
        assert_eq!(list(page).await, keys[1..3]);
        let of = |person: &str| ApprovalFilter {
            approver: Some(person.to_owned()),
            ..all.clone()
        };
        assert_eq!(
            list(of("ann")).await,
            [keys[0].clone()],
            "she owns the runs"
        );
        assert_eq!(list(of("ben")).await, keys);
        assert_eq!(list(of("cid")).await, [keys[0].clone(), keys[2].clone()]);
        let of_run = ApprovalFilter {
            run_id: Some(runs[2].clone()),
            ..all.clone()
        };
        assert_eq!(list(of_run).await, [keys[2].clone()]);
        store.decide(&keys[0], &says("ben", true)).await.unwrap();
        let pending = ApprovalFilter {
            pending: true,
            ..all.clone()
        };
        assert_eq!(list(pending).await, keys[1..]);
        assert_eq!(list(all).await, keys);
    }
}

#[tokio::test]
async fn attention_is_due_when_the_options_say_and_after_an_escalation_later() {
    for fixture in stores().await {
        let store = &*fixture.store;
        let leases = lease(store, "r").await;
        let asked = [
            ("a", json!({"next_at": 100})),
            ("b", json!({"next_at": 50})),
            ("c", json!({})),
        ];
        let (run, keys) = ask(store, &leases, &asked).await;
        let due = async |now| {
            let due = store.due_approvals(&leases, now, 9).await.unwrap();
            due.into_iter()
                .map(|approval| approval.asked.key)
                .collect::<Vec<_>>()
        };
        assert!(due(49).await.is_empty());
        assert_eq!(
            due(100).await,
            [keys[1].clone(), keys[0].clone()],
            "{}",
            fixture.scheme
        );
        let next = json!({"next_at": 200, "approvers": ["boss"]});
        store.escalate(&keys[0], 1, &next).await.unwrap();
        assert_eq!(due(199).await, [keys[1].clone()]);
        let escalated = store.approval(&keys[0]).await.unwrap();
        assert_eq!((escalated.escalated, escalated.asked.options), (1, next));
        store.escalate(&keys[1], 1, &json!({})).await.unwrap();
        assert_eq!(due(u64::MAX >> 1).await, [keys[0].clone()]);
        store.decide(&keys[0], &says("boss", true)).await.unwrap();
        assert!(due(u64::MAX >> 1).await.is_empty());
        let others: Vec<_> = leases
            .iter()
            .filter(|held| held.shard != mesh_runs::shard_of(&run))
            .copied()
            .collect();
        assert!(
            store
                .due_approvals(&others, 1000, 9)
                .await
                .unwrap()
                .is_empty()
        );
    }
}
