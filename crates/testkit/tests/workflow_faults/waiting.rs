//! People and timers that are waited for, over a restart of everything.

use std::time::Duration;

use mesh_testkit::until;
use runs::{ApprovalFilter, ApprovalState, Decision, DecisionOutcome};
use serde_json::json;
use tokio::time::sleep;
use workflow::EventKind;

use crate::{
    audit::counts,
    fleet::{Fleet, PATIENCE, number},
    load::create,
};

#[tokio::test(flavor = "multi_thread")]
async fn approvals_and_timers_outlast_a_restart_of_everything() {
    let many = number("MESH_TEST_WORKFLOW_WAITING", 100);
    let mut fleet = Fleet::start().await;
    let ask =
        json!({"nodes": [{"id": "ask", "type": "hitl", "config": {"message": "?"}}], "edges": []});
    let wait = json!({"nodes": [{"id": "wait", "type": "timer", "config": {"duration_ms": 5000}}], "edges": []});
    let mut timers = Vec::new();
    for _ in 0..many {
        create(&*fleet.store, &ask).await;
        timers.push(create(&*fleet.store, &wait).await);
    }
    let filter = |pending| ApprovalFilter {
        pending,
        limit: 1_000,
        ..ApprovalFilter::default()
    };
    let count = async |fleet: &Fleet| {
        let pending = fleet.store.approvals(&filter(true)).await.ok()?;
        (pending.len() == many.min(1_000)).then_some(pending)
    };
    until("all are asked", PATIENCE, async || count(&fleet).await).await;
    let begun = async || {
        let set = counts(&*fleet.store).await;
        let begun = set
            .keys()
            .filter(|(_, kind, _)| *kind == EventKind::WorkflowStarted);
        (begun.count() == 2 * many).then_some(())
    };
    until("all timers are set", PATIENCE, begun).await;
    fleet.kill_all();
    // The timers are due while all is down.
    sleep(Duration::from_secs(6)).await;
    fleet.start_all().await;
    let pending = until("all wait still", PATIENCE, async || count(&fleet).await).await;
    let decision = |by: &str, approved| Decision {
        approved,
        by: by.to_owned(),
        comment: String::new(),
        data: json!({}),
        at: 1,
    };
    for approval in &pending {
        let key = &approval.asked.key;
        let (yes, no) = (decision("ann", true), decision("bob", false));
        let (ann, bob) = tokio::join!(fleet.store.decide(key, &yes), fleet.store.decide(key, &no));
        let outcomes = [ann.unwrap(), bob.unwrap()];
        let counted = |it: &&DecisionOutcome| matches!(it, DecisionOutcome::Complete(_));
        let refused = |it: &&DecisionOutcome| matches!(it, DecisionOutcome::Refused(_));
        assert_eq!(outcomes.iter().filter(counted).count(), 1, "{outcomes:?}");
        assert_eq!(outcomes.iter().filter(refused).count(), 1, "{outcomes:?}");
    }
    let ended = async || {
        let all = counts(&*fleet.store).await;
        let of = |wanted| all.iter().filter(move |((_, kind, _), _)| *kind == wanted);
        assert!(of(EventKind::TimerFired).all(|(_, times)| *times == 1));
        assert!(of(EventKind::ApprovalDecided).all(|(_, times)| *times == 1));
        let (fired, decided) = (
            of(EventKind::TimerFired).count(),
            of(EventKind::ApprovalDecided).count(),
        );
        let ends = of(EventKind::WorkflowCompleted).count() + of(EventKind::WorkflowFailed).count();
        (fired == many && decided == many && ends == 2 * many).then_some(())
    };
    until(
        "all timers fired and all decisions are taken",
        PATIENCE,
        ended,
    )
    .await;
    let states = fleet.store.approvals(&filter(false)).await.unwrap();
    let decided = |state| matches!(state, ApprovalState::Approved | ApprovalState::Rejected);
    assert!(states.iter().all(|approval| decided(approval.state)));
}
