//! Turns and chances by weight.

/// Divides the line `0..total`: each member owns as many units as its weight, after all weights
/// were divided by their greatest common divisor. Without members the line is empty.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Where each member's part ends. A member of weight 0 ends where the one before it ends.
    ends: Vec<u64>,
    total: u64,
    /// Whether every member owns one unit, so that a place is its own owner.
    equal: bool,
    /// How far a turn goes along the line.
    stride: u64,
}

impl Shares {
    /// If all weights are 0, all count as 1.
    pub(crate) fn new(weights: impl Iterator<Item = u32> + Clone) -> Self {
        let unit = weights
            .clone()
            .fold(0, |common, weight| gcd(weight.into(), common));
        let mut total = 0;
        let ends: Vec<u64> = weights
            .map(|weight| {
                // A unit of 0 means that all are 0.
                total += u64::from(weight).checked_div(unit).unwrap_or(1);
                total
            })
            .collect();
        let equal = ends.iter().zip(1..).all(|(end, count)| *end == count);
        let stride = if equal { 1 } else { golden_stride(total) };
        Self {
            ends,
            total,
            equal,
            stride,
        }
    }

    /// The owner of a turn. Over any `total` turns in a row each member has exactly its weight.
    ///
    /// A turn goes 0.618 of the way around the line. By the three-gap theorem (Świerczkowski 1958)
    /// the visits to any part of it are then spread out, without bursts to heavy members. The only
    /// state is the number of the turn. Equal members follow each other.
    pub(crate) fn in_turn(&self, turn: u64) -> usize {
        let position = u128::from(turn) * u128::from(self.stride) % u128::from(self.total);
        self.owner(position as u64)
    }

    /// The owner of a place on the line below [`total`](Self::total).
    pub(crate) fn owner(&self, position: u64) -> usize {
        if self.equal {
            return position as usize;
        }
        self.ends.partition_point(|end| *end <= position)
    }

    /// The length of the line; 0 without members.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// A member's part of the line, from 0 to [`total`](Self::total).
    pub(crate) fn of(&self, index: usize) -> u64 {
        self.ends[index] - index.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// A member's share relative to an equal one: 1 when all are equal, 0 when it gets no calls.
    pub(crate) fn relative(&self, index: usize) -> f64 {
        if self.equal {
            return 1.0;
        }
        self.of(index) as f64 * self.ends.len() as f64 / self.total as f64
    }
}

/// A number near 0.618 of `total` without a common factor, so that every place is visited once
/// before any is visited again.
///
/// The golden ratio spreads best because all quotients of its continued fraction are 1. Of the
/// fractions nearby, the one whose largest quotient is smallest comes closest to that.
fn golden_stride(total: u64) -> u64 {
    let golden = ((total as f64 * 0.618_033_988_749_895) as u64).max(1);
    (golden..total.min(golden.saturating_add(CANDIDATES)))
        .filter_map(|stride| Some((largest_quotient(stride, total)?, stride)))
        .min()
        .map_or(1, |(_, stride)| stride)
}

/// How many strides to choose from: this many in a row always include one that fits.
const CANDIDATES: u64 = 128;

/// The largest quotient of the continued fraction of `a / b`; `None` if they share a factor.
fn largest_quotient(mut a: u64, mut b: u64) -> Option<u64> {
    let mut largest = 0;
    while b > 0 {
        largest = largest.max(a / b);
        (a, b) = (b, a % b);
    }
    (a == 1).then_some(largest)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(weights: &[u32], count: u64) -> Vec<usize> {
        let shares = Shares::new(weights.iter().copied());
        (0..count).map(|turn| shares.in_turn(turn)).collect()
    }

    #[test]
    fn equal_members_follow_each_other() {
        assert_eq!(turns(&[5, 5, 5], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(turns(&[0, 0], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn a_heavy_member_comes_often_but_not_in_bursts() {
        assert_eq!(turns(&[2, 1, 1], 8), [0, 2, 1, 0, 0, 2, 1, 0]);
        assert_eq!(turns(&[50, 50, 0], 4), [0, 1, 0, 1]);
    }

    #[test]
    fn weights_that_add_up_to_the_count_are_not_taken_for_equal() {
        let turns = turns(&[0, 1, 2], 3);
        assert_eq!(turns.iter().filter(|index| **index == 2).count(), 2);
        assert!(!turns.contains(&0));
    }

    #[test]
    fn the_largest_weights_fit() {
        let shares = Shares::new([u32::MAX, u32::MAX - 1, 0, 1].into_iter());
        assert_eq!(shares.total(), 2 * u64::from(u32::MAX));
        assert!(shares.in_turn(u64::MAX) < 4);
        assert_eq!(shares.of(2), 0);
        assert_eq!(shares.owner(shares.total() - 1), 3);
    }
}
