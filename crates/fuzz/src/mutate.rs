//! A fuzzer for a stable compiler: it changes seeds at random. It sees no coverage, and keeps what
//! it has made only by chance; cargo-fuzz is the thorough one.

use rand::{Rng, RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::Target;

/// Bytes that parsers take for limits.
const BOUNDS: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 0x3f, 0x40, b'\n'];
/// Changes to one seed, at most.
const CHANGES: usize = 12;
/// Longest input.
const MOST: usize = 4096;
/// How many inputs are kept, to be changed further.
const KEPT: usize = 64;

/// Tries a target with so many inputs; the same seed makes the same ones.
pub fn run(target: &Target, inputs: usize, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut kept = (target.seeds)();
    kept.iter().for_each(|seed| (target.run)(seed));
    for number in 0..inputs {
        let mut input = kept.choose(&mut rng).cloned().unwrap_or_default();
        for _ in 0..rng.random_range(1..=CHANGES) {
            change(&mut input, &kept, &mut rng);
        }
        input.truncate(MOST);
        (target.run)(&input);
        if number % 16 == 0 {
            if kept.len() < KEPT {
                kept.push(input);
            } else {
                let at = rng.random_range(0..KEPT);
                kept[at] = input;
            }
        }
    }
}

fn change(input: &mut Vec<u8>, kept: &[Vec<u8>], rng: &mut impl Rng) {
    let at = rng.random_range(0..=input.len());
    let end = (at + rng.random_range(1..=16)).min(input.len());
    match rng.random_range(0..6) {
        0 => input.insert(at, rng.random()),
        1 => input.insert(at, *BOUNDS.choose(rng).expect("there are some")),
        2 => drop(input.drain(at..end)),
        3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        4 => {
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
        _ => {
            let other = kept.choose(rng).map_or(&[][..], Vec::as_slice);
            let from = rng.random_range(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
    }
}
