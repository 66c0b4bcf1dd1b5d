//! How many shards each runner gets.

use crate::SHARDS;

/// The share of a runner among those that are alive. The shares of all add up to all shards.
pub(crate) fn share(alive: &[String], runner: &str) -> usize {
    let before = alive.iter().filter(|other| other.as_str() < runner).count();
    let count = alive.iter().filter(|other| *other != runner).count() + 1;
    let shards = usize::from(SHARDS);
    shards / count + usize::from(before < shards % count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_all_shards_and_differ_by_one_at_most() {
        for count in 1..=70 {
            let alive: Vec<String> = (0..count).map(|at| format!("runner-{at}")).collect();
            let shares: Vec<usize> = alive.iter().map(|name| share(&alive, name)).collect();
            assert_eq!(shares.iter().sum::<usize>(), usize::from(SHARDS));
            let (least, most) = (shares.iter().min(), shares.iter().max());
            assert!(most.unwrap() - least.unwrap() <= 1, "{shares:?}");
        }
    }

    #[test]
    fn a_runner_that_is_not_known_yet_counts() {
        let alive = ["b".to_owned()];
        assert_eq!(share(&alive, "a"), 32);
        assert_eq!(share(&[], "a"), 64);
    }
}
