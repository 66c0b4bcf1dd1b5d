//! What the simulation shows of the policies, with a fixed seed: its orderings, not its figures.

#[expect(dead_code, reason = "the median is for the tables alone")]
#[path = "../examples/simulate/model.rs"]
mod model;

use std::time::Duration;

use mesh_balance::find_policy;
use model::{Arrivals, Outcome, Scenario, run};

fn fleet(instances: usize) -> Scenario {
    Scenario {
        instances,
        routers: 3,
        cores: 2,
        arrivals: Arrivals::Open(0.6),
        slow_one_in: 0,
        churn: None,
        stalls: None,
        length: Duration::from_secs(6),
        seed: 7,
    }
}

fn with(policy: &str, scenario: &Scenario) -> Outcome {
    run(scenario, find_policy(policy).expect("it is in the table"))
}

/// Three instances, the last ten times slower, under 32 callers; or the two others alone.
fn mixed(slow: bool) -> Scenario {
    Scenario {
        instances: if slow { 3 } else { 2 },
        routers: 1,
        cores: 64,
        arrivals: Arrivals::Closed(32),
        slow_one_in: if slow { 3 } else { 0 },
        stalls: Some(Duration::from_secs(1)),
        ..fleet(0)
    }
}

#[test]
fn one_instance_ten_times_slower_does_not_show_in_the_p99_of_peak_ewma() {
    let alone = with("peak_ewma", &mixed(false));
    let slow = with("peak_ewma", &mixed(true));
    assert!(slow.p99 < alone.p99.mul_f64(1.3), "{slow:?} and {alone:?}");
    assert!(slow.slow < 0.005, "{slow:?}");
}

#[test]
fn the_slow_one_gets_less_the_more_a_policy_knows() {
    let slow = |policy| with(policy, &mixed(true)).slow;
    let (blind, calls, latency) = (
        slow("round_robin"),
        slow("least_request"),
        slow("peak_ewma"),
    );
    assert!(blind > 0.3, "{blind}");
    assert!(calls < blind / 4.0, "{calls}");
    assert!(latency < calls / 10.0, "{latency}");
}

#[test]
fn an_even_fleet_is_balanced_best_in_turn_and_worst_by_chance() {
    let peak = |policy| with(policy, &fleet(30)).peak;
    let chance = peak("random");
    for policy in ["least_request", "round_robin", "peak_ewma", "load_aware"] {
        let peak = peak(policy);
        assert!(
            peak < chance * 0.9,
            "{policy}: {peak} where random has {chance}"
        );
    }
}

#[test]
fn in_a_churning_fleet_policies_that_look_are_faster_than_those_that_do_not() {
    let churning = Scenario {
        slow_one_in: 10,
        churn: Some(Duration::from_secs(2)),
        ..fleet(30)
    };
    let p99 = |policy| with(policy, &churning).p99;
    let (latency, calls, reports, blind) = (
        p99("peak_ewma"),
        p99("least_request"),
        p99("load_aware"),
        p99("round_robin"),
    );
    assert!(latency * 2 < calls, "{latency:?} and {calls:?}");
    assert!(calls * 2 < blind, "{calls:?} and {blind:?}");
    assert!(reports * 2 < blind, "{reports:?} and {blind:?}");
}

#[test]
fn a_seed_gives_the_same_outcome_twice() {
    let outcome = || format!("{:?}", with("peak_ewma", &fleet(10)));
    assert_eq!(outcome(), outcome());
}
