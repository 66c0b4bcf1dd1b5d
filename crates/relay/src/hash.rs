//! A fast hash map for numbers that an attacker cannot choose freely: streams, which ascend, and the
//! host's endpoints. The standard library's hash would take a tenth of a small call's time.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// A map from a number.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<IntHasher>>;

/// Multiplies by the golden ratio, which spreads neighbours, and folds the upper half in.
#[derive(Clone, Copy, Debug, Default)]
pub struct IntHasher(u64);

impl Hasher for IntHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        let product = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}
