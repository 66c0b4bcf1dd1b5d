//! Random graphs with random ends of their nodes, against an oracle that knows nothing of queues, records and steps.
//!
//! `WORKFLOW_CASES` says how many, 10,000 if nothing does; `WORKFLOW_SEED` which, 0 to 255.

mod drive;
mod oracle;
mod plan;

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[test]
fn random_graphs_end_as_the_oracle_says() {
    let cases = number("WORKFLOW_CASES").unwrap_or(10_000);
    let seed = number("WORKFLOW_SEED").and_then(|seed| u8::try_from(seed).ok());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed.unwrap_or(7); 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mut seen = drive::Seen::default();
    let seen_by = std::cell::RefCell::new(&mut seen);
    let result = runner.run(&plan::plans(), |plan| {
        drive::drive(&plan, &mut seen_by.borrow_mut());
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    // The graphs are worth something only if they have all of this.
    println!("{seen:?}");
    assert!(seen.is_rich(cases), "{seen:?}");
}

fn number(name: &str) -> Option<u32> {
    #[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
    let value = std::env::var(name).ok()?;
    value.parse().ok()
}
