//! What goes wrong under load, and which calls that costs. `cargo run -p mesh-testkit --example
//! faults -- --all` does the same with 10,000 calls each, and prints the table.

use std::{collections::HashSet, time::Duration};

use mesh_testkit::{
    faults::{Fault, FaultReport},
    faulty_instance::FaultMode,
    load::Call,
};

const RATE: u32 = 200;
const CALLS: usize = 2400;
/// A paused instance is known as such after this.
const NOTICED: Duration = Duration::from_secs(2);

async fn run(fault: Fault) -> FaultReport {
    let report = fault.run(RATE, CALLS).await;
    report.expect("every call ends", report.calls.len() == CALLS);
    report
}

fn expect_no_failure(report: &FaultReport) {
    report.expect("no call fails", report.succeeded() == CALLS);
}

/// What was in flight on the victim may fail, and nothing else.
fn expect_only_in_flight(report: &FaultReport) {
    let only = report.failed().all(|call| report.was_in_flight(call));
    report.expect("only calls in flight fail", only);
}

#[tokio::test]
async fn a_killed_instance_costs_no_call_that_may_be_repeated() {
    let report = run(Fault::KillInstance).await;
    // The echo agent declares all of its methods idempotent.
    expect_no_failure(&report);
    let misled = report.misled(Duration::from_millis(100)).count();
    report.expect("nobody is answered by the dead", misled == 0);
}

#[tokio::test]
async fn a_paused_instance_gets_no_new_call_after_two_seconds_and_loses_none() {
    let report = run(Fault::PauseInstance).await;
    expect_no_failure(&report);
    let misled = report.misled(NOTICED).count();
    report.expect("no call goes to it after 2 s", misled == 0);
    let slowest = report.slowest(NOTICED);
    report.expect(
        &format!("later calls are not held up ({slowest:?})"),
        slowest < NOTICED,
    );
}

#[tokio::test]
async fn an_instance_that_leaves_in_order_costs_no_call() {
    let report = run(Fault::StopInstance).await;
    expect_no_failure(&report);
    let misled = report.misled(Duration::from_secs(1)).count();
    report.expect("it gets no call a second after it left", misled == 0);
}

#[tokio::test]
async fn a_consul_that_forgets_everything_costs_no_call() {
    expect_no_failure(&run(Fault::RestartConsul).await);
}

#[tokio::test]
async fn a_router_that_leaves_in_order_costs_no_call() {
    expect_no_failure(&run(Fault::StopRouter).await);
}

#[tokio::test]
async fn a_killed_router_costs_at_most_the_calls_in_flight() {
    expect_only_in_flight(&run(Fault::KillRouter).await);
}

/// Rows whose victim is an instance of the test's own.
const SHORT: usize = 1500;

async fn misbehaves(mode: FaultMode) -> FaultReport {
    let report = Fault::Misbehave(mode).run(RATE, SHORT).await;
    report.expect("no call fails", report.succeeded() == SHORT);
    report
}

#[tokio::test]
async fn an_instance_whose_packets_are_dropped_costs_no_call_and_is_left_alone_after_two_seconds() {
    let report = misbehaves(FaultMode::BlackHole).await;
    let slowest = report.slowest(NOTICED);
    report.expect(
        &format!("later calls are not held up ({slowest:?})"),
        slowest < NOTICED,
    );
}

#[tokio::test]
async fn connections_whose_peer_has_forgotten_them_cost_no_call() {
    misbehaves(FaultMode::HalfOpen).await;
}

#[tokio::test]
async fn an_instance_that_is_unavailable_in_health_costs_no_call() {
    misbehaves(FaultMode::Unavailable).await;
}

#[tokio::test]
async fn an_instance_a_hundred_times_slower_gets_few_calls_and_loses_none() {
    let report = misbehaves(FaultMode::Slow).await;
    let late = |call: &&Call| call.sent > report.at + NOTICED;
    let all = report.calls.iter().filter(late).count();
    let slow = report.misled(NOTICED).count();
    // A third by turns; by what is in flight, next to none.
    report.expect(&format!("{slow} of {all} go to it"), slow * 10 < all);
}

#[tokio::test]
async fn storms_of_resets_cuts_and_goaways_cost_no_call() {
    for mode in [FaultMode::Reset, FaultMode::Cut, FaultMode::GoAway] {
        misbehaves(mode).await;
    }
}

#[tokio::test]
async fn what_was_not_declared_idempotent_is_repeated_only_where_no_instance_has_begun_it() {
    let going = Fault::MisbehaveUndeclared(FaultMode::GoAway);
    let report = going.run(RATE, SHORT).await;
    report.expect("no call fails", report.succeeded() == SHORT);

    let unavailable = Fault::MisbehaveUndeclared(FaultMode::Unavailable);
    let report = unavailable.run(RATE, SHORT).await;
    // Five in a row at each of two routers, and those that were under way with the fifth.
    let failed = report.failed().count();
    report.expect("its status is told", failed > 0);
    report.expect("it is ejected", failed <= 30);
}

#[tokio::test]
async fn without_consul_calls_go_on_and_with_it_the_changed_fleet_is_found() {
    let report = run(Fault::PartitionConsul).await;
    expect_no_failure(&report);
    let over = report.over.expect("it is over");
    let early = report
        .to_newcomers()
        .filter(|call| call.sent < over)
        .count();
    report.expect("the newcomers are not known before", early == 0);
    let found = report.to_newcomers().map(|call| &call.outcome);
    let found: HashSet<_> = found.filter_map(|id| id.as_ref().ok()).collect();
    report.expect(&format!("both are found: {found:?}"), found.len() == 2);
}

/// HAProxy learns the routers from Consul's DNS, and looked in vain for some seconds gives them up
/// unless it is told not to.
#[tokio::test]
async fn while_consul_is_silent_the_edge_keeps_its_routers() {
    let report = Fault::PauseConsul.run(RATE, LONG).await;
    report.expect("every call ends", report.calls.len() == LONG);
    report.expect("no call fails", report.succeeded() == LONG);
}

#[tokio::test]
async fn an_edge_that_is_reloaded_when_consul_is_gone_keeps_its_routers() {
    let report = Fault::KillConsul.run(RATE, LONG).await;
    report.expect("every call ends", report.calls.len() == LONG);
    // HAProxy's old process closes its clients' connections: what crosses that was not sent.
    let crossed = |call: &Call| call.sent <= report.at + Duration::from_secs(1);
    report.expect(
        "only what crosses the reload fails",
        report.failed().all(crossed),
    );
    report.expect("which is little", report.failed().count() <= 20);
}

/// Each that leaves takes some seconds, and all of it has to be under load.
const LONG: usize = 5000;

async fn redeploys(fault: Fault) -> FaultReport {
    let report = fault.run(RATE, LONG).await;
    report.expect("no call fails", report.succeeded() == LONG);
    report
}

#[tokio::test]
async fn a_redeploy_of_every_instance_costs_no_call() {
    let report = redeploys(Fault::RedeployInstances).await;
    let over = report.over.expect("it is over");
    let late = report.calls.iter().filter(|call| call.sent > over);
    let all_new = late.clone().all(|call| {
        let by = call.outcome.as_ref();
        by.is_ok_and(|id| report.newcomers.contains(id))
    });
    report.expect(
        "in the end the new ones work alone",
        all_new && late.count() > 0,
    );
}

#[tokio::test]
async fn a_redeploy_of_every_router_costs_no_call() {
    redeploys(Fault::RedeployRouters).await;
}
