//! `cargo run --release -p mesh-fuzz --example fuzz [SECONDS [TARGET]]` tries the targets, each for
//! so long (10 s), with other inputs each time. A find panics with the input, and the seed is told.

use std::{
    env,
    time::{Duration, Instant},
};

use mesh_fuzz::{TARGETS, mutate};

const ROUND: usize = 1000;

fn main() {
    let seconds = env::args().nth(1);
    let seconds = seconds.map_or(10, |text| text.parse().expect("a number of seconds"));
    let name = env::args().nth(2).unwrap_or_default();
    for target in TARGETS.iter().filter(|target| target.name.contains(&name)) {
        let (begun, mut inputs) = (Instant::now(), 0);
        while begun.elapsed() < Duration::from_secs(seconds) {
            let seed = rand::random();
            eprint!("\r{}: {inputs} inputs, seed {seed} ", target.name);
            mutate::run(target, ROUND, seed);
            inputs += ROUND;
        }
        eprintln!(
            "\r{}: {inputs} inputs, nothing found: {}",
            target.name, target.about
        );
    }
}
