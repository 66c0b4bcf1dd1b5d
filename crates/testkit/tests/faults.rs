//! What goes wrong under load, and which calls that costs. `cargo run -p mesh-testkit --example
//! faults` does the same with 10,000 calls each, and prints the table.

use std::time::Duration;

use mesh_testkit::faults::{Fault, Report};

const RATE: u32 = 200;
const CALLS: usize = 2400;
/// A paused instance is known as such after this.
const NOTICED: Duration = Duration::from_secs(2);

async fn run(fault: Fault) -> Report {
    let report = fault.run(RATE, CALLS).await;
    report.expect("every call ends", report.calls.len() == CALLS);
    report
}

fn expect_no_failure(report: &Report) {
    report.expect("no call fails", report.succeeded() == CALLS);
}

/// What was in flight on the victim may fail, and nothing else.
fn expect_only_in_flight(report: &Report) {
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
