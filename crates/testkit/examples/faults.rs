//! The table of what goes wrong and what it costs, in Markdown. Each row is a mesh of its own:
//! HAProxy, two routers, three instances, and calls at 200 a second.
//!
//! `cargo run -p mesh-testkit --example faults [CALLS [ROW]]`; 10,000 unless said otherwise, and
//! every row, or those whose name contains the word. What failed is told on standard error.

use std::time::Duration;

use mesh_testkit::faults::FAULTS;

const RATE: u32 = 200;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn main() {
    let count = std::env::args().nth(1);
    let count = count.map_or(10_000, |text| text.parse().expect("a number of calls"));
    println!(
        "| what was done | calls | succeeded | failed | in flight then | to the victim after 2 s | slowest after 2 s |"
    );
    println!("|---|---|---|---|---|---|---|");
    let row = std::env::args().nth(2).unwrap_or_default();
    for fault in FAULTS
        .into_iter()
        .filter(|fault| fault.name().contains(&row))
    {
        let report = fault.run(RATE, count).await;
        let after = Duration::from_secs(2);
        println!(
            "| {} | {} | {} | {} | {} | {} | {} ms |",
            fault.name(),
            report.calls.len(),
            report.succeeded(),
            report.failed().count(),
            report.in_flight(),
            report.misled(after).count(),
            report.slowest(after).as_millis(),
        );
        eprintln!("{}", report.told());
    }
}
