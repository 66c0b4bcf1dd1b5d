//! The table of what goes wrong and what it costs, in Markdown. Each row is a mesh of its own:
//! HAProxy, two routers, three instances, and calls at 200 a second.
//!
//! `cargo run -p mesh-testkit --example faults -- --all`, or `-- WORD...` for the rows whose names
//! contain one of the words; `--calls 10000` sets how many calls a row has. What failed is told on
//! standard error.

use std::time::Duration;

use mesh_testkit::faults::{FAULTS, Fault};

const RATE: u32 = 200;
const AFTER: Duration = Duration::from_secs(2);

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn main() {
    let (mut calls, mut all, mut words) = (10_000, false, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--all" => all = true,
            "--calls" => {
                let number = arguments.next().and_then(|text| text.parse().ok());
                calls = number.expect("--calls takes a number");
            }
            _ => words.push(argument.to_lowercase()),
        }
    }
    let wanted = |fault: &&Fault| {
        let name = fault.name().to_lowercase();
        all || words.iter().any(|word| name.contains(word))
    };
    let rows: Vec<_> = FAULTS.iter().filter(wanted).collect();
    if rows.is_empty() {
        let names: Vec<_> = FAULTS.iter().map(|fault| fault.name()).collect();
        eprintln!(
            "faults: say --all, or words of these rows:\n{}",
            names.join("\n")
        );
        std::process::exit(2);
    }
    println!(
        "| what was done | calls | succeeded | failed | in flight then | to the victim after 2 s | slowest after 2 s |"
    );
    println!("|---|---|---|---|---|---|---|");
    for fault in rows {
        // Half of the time is the partition's, which lasts for a minute of 10,000 calls' table.
        let calls = if *fault == Fault::PartitionConsul {
            calls * 12 / 5
        } else {
            calls
        };
        let report = fault.run(RATE, calls).await;
        println!(
            "| {} | {} | {} | {} | {} | {} | {} ms |",
            fault.name(),
            report.calls.len(),
            report.succeeded(),
            report.losses(),
            report.in_flight(),
            report.misled(AFTER).count(),
            report.slowest(AFTER).as_millis(),
        );
        eprintln!("{}", report.told());
    }
}
