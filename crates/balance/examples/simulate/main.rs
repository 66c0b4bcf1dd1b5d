//! How evenly and how fast each policy serves, by a simulation with a fixed seed:
//! `cargo run --release -p mesh-balance --example simulate [SEED]` prints the tables of
//! `docs/balance-quality.md`.
#![expect(clippy::print_stdout, reason = "the tables are what it is for")]

mod model;

use std::time::Duration;

use mesh_balance::{POLICIES, PolicyRow, find_policy};
use model::{Arrivals, Outcome, Scenario, run};

fn main() {
    let seed = std::env::args().nth(1).and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(1);
    mixed(seed);
    clusters(seed);
}

/// Two instances of 5 ms and one of 50 ms, and 32 callers.
fn mixed(seed: u64) {
    let healthy = Scenario {
        instances: 2,
        routers: 1,
        cores: 64,
        arrivals: Arrivals::Closed(32),
        slow_one_in: 0,
        churn: None,
        stalls: None,
        length: Duration::from_secs(10),
        seed,
    };
    let one_slow = Scenario {
        instances: 3,
        slow_one_in: 3,
        ..healthy.clone()
    };
    println!("| policy | cluster | p50 ms | p99 ms | calls to the slow instance |");
    println!("|---|---|---|---|---|");
    for name in ["least_request", "peak_ewma", "round_robin"] {
        let policy = find_policy(name).expect("it is in the table");
        for (stalls, label) in [
            (None, ""),
            (
                Some(Duration::from_secs(1)),
                ", all stall 40 ms each second",
            ),
        ] {
            let with = |scenario: &Scenario| Scenario {
                stalls,
                ..scenario.clone()
            };
            let line = |cluster: &str, o: &Outcome| {
                println!(
                    "| {name} | {cluster}{label} | {:.1} | {:.1} | {:.2} % |",
                    ms(o.p50),
                    ms(o.p99),
                    o.slow * 100.0
                );
            };
            line("two healthy instances", &run(&with(&healthy), policy));
            line(
                "one of three ten times slower",
                &run(&with(&one_slow), policy),
            );
        }
    }
    println!();
}

/// Clusters of three sizes: quiet, and with churn and a tenth of the instances ten times slower.
fn clusters(seed: u64) {
    println!(
        "| instances | routers | policy | peak/mean | p99 ms | churning: peak/mean | p99 ms | calls to slow instances |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (instances, routers, seconds) in [(10, 4, 20), (100, 10, 10), (1000, 20, 4)] {
        let even = Scenario {
            instances,
            routers,
            cores: 2,
            arrivals: Arrivals::Open(0.6),
            slow_one_in: 0,
            churn: None,
            stalls: None,
            length: Duration::from_secs(seconds),
            seed,
        };
        let churning = Scenario {
            slow_one_in: 10,
            churn: Some(Duration::from_secs(seconds) / 4),
            ..even.clone()
        };
        let one = |policy: &'static PolicyRow| {
            let (even, churning) = (run(&even, policy), run(&churning, policy));
            println!(
                "| {instances} | {routers} | {} | {:.2} | {:.1} | {:.2} | {:.1} | {:.2} % |",
                policy.name,
                even.peak,
                ms(even.p99),
                churning.peak,
                ms(churning.p99),
                churning.slow * 100.0
            );
        };
        POLICIES.iter().for_each(one);
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
