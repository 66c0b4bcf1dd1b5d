//! gRPC's `grpc-timeout`: at most eight digits and a unit.

use std::{ops::Deref, time::Duration};

const UNITS: [(u8, u64); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// The time a value gives; `None` when it is not gRPC's form.
#[must_use]
pub fn read(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let (_, nanos) = UNITS.into_iter().find(|(u, _)| u == unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount = digits
        .iter()
        .fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
    Some(Duration::from_nanos(amount.saturating_mul(nanos)))
}

/// A time, rounded up in the finest unit that holds it, so that nobody gives up too early.
#[must_use]
pub fn write(left: Duration) -> Written {
    let nanos = u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
    let fit = UNITS
        .into_iter()
        .map(|(unit, per)| (unit, nanos.div_ceil(per)));
    let (unit, amount) = fit
        .clone()
        .find(|(_, n)| *n <= 99_999_999)
        .unwrap_or((b'H', 99_999_999));
    let mut bytes = [unit; 9];
    let (mut from, mut rest) = (8, amount);
    while from == 8 || rest > 0 {
        from -= 1;
        bytes[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    Written { bytes, from }
}

/// A value of `grpc-timeout`.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    bytes: [u8; 9],
    /// Where it begins.
    from: usize,
}

impl Deref for Written {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_never_shorter() {
        for nanos in [1, 99_999_999, 100_000_000, 3_000_000_001, u64::MAX] {
            let left = Duration::from_nanos(nanos);
            let again = read(&write(left)).unwrap();
            assert!(again >= left && again.as_secs_f64() <= left.as_secs_f64() * 1.0001 + 1e-9);
        }
        assert_eq!(read(b"123456789S"), None);
        assert_eq!(read(b"1s"), None);
        assert_eq!(read(b"S"), None);
    }
}
