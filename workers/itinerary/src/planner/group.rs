//! Puts sights into days: near ones together, and indoor ones into wet days.

use std::cmp::Reverse;

use super::choose::{Choice, SIGHTS_A_DAY};
use crate::guide::{Point, Sight};

/// The sights of one day, not yet in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outing<'a> {
    /// At most two.
    pub(crate) daytime: Vec<&'a Sight>,
    pub(crate) evening: Option<&'a Sight>,
}

/// Puts the chosen sights into days; `wet` has one element a day.
///
/// This is a greedy clustering. The sight that is farthest from `home` begins a day, since it has the
/// fewest neighbours, and the nearest to it join until the day is full. Wet days are filled first, with
/// indoor sights. Among days of the same weather, those with the best known sights come first.
pub(crate) fn group<'a>(choice: &Choice<'a>, home: Point, wet: &[bool]) -> Vec<Outing<'a>> {
    let mut left = choice.daytime.clone();
    let mut outings = vec![Outing::default(); wet.len()];
    for rainy in [true, false] {
        let dates: Vec<usize> = (0..wet.len()).filter(|date| wet[*date] == rainy).collect();
        let sizes = dates
            .iter()
            .map(|date| size(*date, choice.daytime.len(), wet.len()));
        let mut clusters: Vec<_> = sizes
            .map(|size| cluster(&mut left, home, size, rainy))
            .collect();
        clusters.sort_by_key(|sights| {
            (
                Reverse(sights.len()),
                sights.iter().map(|sight| sight.rank).min(),
            )
        });
        for (date, sights) in dates.into_iter().zip(clusters) {
            outings[date].daytime = sights;
        }
    }
    give_evenings(&mut outings, choice.evening.clone(), home, wet);
    outings
}

/// How many of `count` sights the day `date` gets, so that all days have about the same number.
fn size(date: usize, count: usize, days: usize) -> usize {
    (count / days + usize::from(date < count % days)).min(SIGHTS_A_DAY)
}

fn cluster<'a>(left: &mut Vec<&'a Sight>, home: Point, size: usize, roof: bool) -> Vec<&'a Sight> {
    let mut sights: Vec<&Sight> = Vec::with_capacity(size);
    while sights.len() < size {
        let next = match sights.first() {
            None => nearest(left, roof, |sight| -sight.at.km_to(home)),
            Some(seed) => nearest(left, roof, |sight| sight.at.km_to(seed.at)),
        };
        match next {
            Some(index) => sights.push(left.remove(index)),
            None => break,
        }
    }
    sights
}

/// Gives every day the nearest sight for its evening. Wet days choose first, since few are indoor.
fn give_evenings<'a>(
    outings: &mut [Outing<'a>],
    mut left: Vec<&'a Sight>,
    home: Point,
    wet: &[bool],
) {
    let mut dates: Vec<usize> = (0..outings.len()).collect();
    dates.sort_by_key(|date| !wet[*date]);
    for date in dates {
        let outing = &mut outings[date];
        let from = outing.daytime.last().map_or(home, |sight| sight.at);
        let next = nearest(&left, wet[date], |sight| sight.at.km_to(from));
        outing.evening = next.map(|index| left.remove(index));
    }
}

/// The index of the sight with the least `cost`; with `roof` an indoor one, if any is left.
fn nearest(left: &[&Sight], roof: bool, cost: impl Fn(&Sight) -> f64) -> Option<usize> {
    let key = |index: &usize| (roof && !left[*index].indoor, cost(left[*index]));
    (0..left.len()).min_by(|a, b| {
        let ((outdoor_a, cost_a), (outdoor_b, cost_b)) = (key(a), key(b));
        outdoor_a.cmp(&outdoor_b).then(cost_a.total_cmp(&cost_b))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{
        guide::{City, Guide},
        planner::choose,
    };

    fn plan<'a>(city: &'a City, wet: &[bool]) -> Vec<Outing<'a>> {
        let rainy = wet.iter().filter(|wet| **wet).count();
        group(&choose(city, &[], wet.len(), rainy), city.at, wet)
    }

    #[test]
    fn every_sight_is_in_the_plan_at_most_once_however_long_it_is() {
        let guide = Guide::embedded().unwrap();
        for city in &guide.cities {
            for days in [1, 3, 7, 12, 30] {
                let wet: Vec<bool> = (0..days).map(|day| day % 3 == 1).collect();
                let outings = plan(city, &wet);
                assert_eq!(outings.len(), days);
                let all = || {
                    outings
                        .iter()
                        .flat_map(|day| day.daytime.iter().chain(&day.evening))
                };
                let distinct: HashSet<_> = all().map(|sight| sight.name).collect();
                assert_eq!(distinct.len(), all().count(), "{} {days}", city.name);
            }
        }
    }

    #[test]
    fn a_wet_day_is_spent_indoors() {
        let guide = Guide::embedded().unwrap();
        for city in &guide.cities {
            let outings = plan(city, &[false, true, false]);
            let wet = &outings[1];
            assert_eq!(wet.daytime.len(), 2);
            assert!(
                wet.daytime
                    .iter()
                    .chain(&wet.evening)
                    .all(|sight| sight.indoor),
                "{wet:?}"
            );
        }
    }

    #[test]
    fn sights_of_a_day_are_nearer_than_days_dealt_in_order() {
        let guide = Guide::embedded().unwrap();
        let (mut grouped, mut dealt) = (0.0, 0.0);
        for city in &guide.cities {
            let choice = choose(city, &[], 4, 0);
            for outing in group(&choice, city.at, &[false; 4]) {
                grouped += outing.daytime[0].at.km_to(outing.daytime[1].at);
            }
            for pair in choice.daytime.chunks(2) {
                dealt += pair[0].at.km_to(pair[1].at);
            }
        }
        assert!(grouped < dealt * 0.7, "{grouped} km against {dealt} km");
    }

    #[test]
    fn a_long_stay_spreads_what_there_is_over_its_days() {
        let guide = Guide::embedded().unwrap();
        let outings = plan(guide.find("Prague").unwrap(), &[false; 12]);
        assert!(outings.iter().all(|day| !day.daytime.is_empty()));
        let lengths: Vec<_> = outings.iter().map(|day| day.daytime.len()).collect();
        assert!(lengths.is_sorted_by(|a, b| a >= b), "{lengths:?}");
    }
}
