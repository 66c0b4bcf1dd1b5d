//! Opens many streams through one router to ten instances, and says what each takes.
//!
//! `cargo run -p mesh-testkit --example open_streams [COUNT [SECONDS]]`: 10,000 streams, which say
//! something after 30 s; all have to be open by then.

use std::{env, time::Duration};

use mesh_testkit::streams;

const INSTANCES: usize = 10;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
async fn main() {
    let number = |at, default: usize| {
        let text = env::args().nth(at);
        text.map_or(default, |text| text.parse().expect("a number"))
    };
    let (count, seconds) = (number(1, 10_000), number(2, 30));
    let report = streams::open(count, INSTANCES, Duration::from_secs(seconds as u64)).await;
    let [before, open, after] = report.memory.map(|bytes| bytes as f64 / 1024.0 / 1024.0);
    println!(
        "| streams | alive at once | opened in | finished well | router before | all open | after | each |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    println!(
        "| {count} | {} | {:.1} s | {} | {before:.1} MiB | {open:.1} MiB | {after:.1} MiB | {:.1} KiB |",
        report.alive,
        report.opened_in.as_secs_f64(),
        report.finished,
        report.memory_each() as f64 / 1024.0,
    );
    assert_eq!(
        (report.alive, report.finished),
        (count, count),
        "streams were lost"
    );
}
