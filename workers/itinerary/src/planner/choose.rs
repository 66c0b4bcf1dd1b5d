//! Chooses the sights for a stay.

use std::cmp::Reverse;

use crate::guide::{City, Sight};

/// Sights a day before the evening: one in the morning and one in the afternoon.
pub(super) const SIGHTS_A_DAY: usize = 2;

/// The sights that were chosen, the most wanted first; none is there twice.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice<'a> {
    pub(crate) daytime: Vec<&'a Sight>,
    pub(crate) evening: Vec<&'a Sight>,
}

/// The best sights of `city` for a traveller interested in `tags`, for `days` days of which `wet` are wet;
/// fewer where the city has not enough.
///
/// The sights with the most shared tags come first, then the best known. Wet days get indoor ones.
pub(crate) fn choose<'a>(city: &'a City, tags: &[&str], days: usize, wet: usize) -> Choice<'a> {
    let mut wanted: Vec<&Sight> = city.sights.iter().collect();
    wanted.sort_by_key(|sight| {
        let shared = sight.tags.iter().filter(|tag| tags.contains(tag)).count();
        (Reverse(shared), sight.rank)
    });
    let (evening, daytime): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|sight| sight.evening);
    Choice {
        daytime: take(&daytime, days * SIGHTS_A_DAY, wet * SIGHTS_A_DAY),
        evening: take(&evening, days, wet),
    }
}

/// The first `count` of `wanted`, with at least `roofs` indoor ones as far as there are any.
fn take<'a>(wanted: &[&'a Sight], count: usize, roofs: usize) -> Vec<&'a Sight> {
    let kept: Vec<usize> = (0..wanted.len())
        .filter(|index| wanted[*index].indoor)
        .take(roofs.min(count))
        .collect();
    let others = (0..wanted.len())
        .filter(|index| !kept.contains(index))
        .take(count - kept.len());
    let mut taken: Vec<usize> = others.chain(kept.iter().copied()).collect();
    taken.sort_unstable();
    taken.into_iter().map(|index| wanted[index]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guide::Guide;

    #[test]
    fn interests_change_the_choice_and_fame_decides_without_any() {
        let guide = Guide::embedded().unwrap();
        for city in &guide.cities {
            let plain = choose(city, &[], 2, 0);
            assert_eq!(plain.daytime[0].rank, 0, "{}", city.name);
            let green = choose(city, &["nature"], 2, 0);
            assert_ne!(plain, green, "{}", city.name);
            let count = |choice: &Choice<'_>| {
                choice
                    .daytime
                    .iter()
                    .filter(|sight| sight.tags.contains(&"nature"))
                    .count()
            };
            assert!(count(&green) > count(&plain), "{}", city.name);
        }
    }

    #[test]
    fn wet_days_have_enough_roofs_even_for_who_likes_parks() {
        let guide = Guide::embedded().unwrap();
        let choice = choose(guide.find("Singapore").unwrap(), &["nature"], 3, 2);
        assert_eq!(choice.daytime.len(), 6);
        assert!(choice.daytime.iter().filter(|sight| sight.indoor).count() >= 4);
    }
}
