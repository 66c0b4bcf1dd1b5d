//! Orders a day by the shortest way from the hotel and back, the evening last.

use super::group::Outing;
use crate::guide::{Point, Sight};

/// One day in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Route<'a> {
    pub(crate) daytime: Vec<&'a Sight>,
    pub(crate) evening: Option<&'a Sight>,
    /// The straight-line distance from home through all stops and back.
    pub(crate) km: f64,
}

/// Orders the stops of a day that begins and ends at `home`. It tries every order: a day has few stops.
pub(crate) fn route<'a>(outing: &Outing<'a>, home: Point) -> Route<'a> {
    let mut best = Route {
        daytime: Vec::new(),
        evening: outing.evening,
        km: f64::INFINITY,
    };
    each_order(&mut outing.daytime.clone(), 0, &mut |daytime| {
        let km = length(home, daytime, outing.evening);
        if km < best.km {
            (best.daytime, best.km) = (daytime.to_vec(), km);
        }
    });
    best
}

/// The way from `home` through the stops and back, km.
fn length(home: Point, daytime: &[&Sight], evening: Option<&Sight>) -> f64 {
    let stops = daytime.iter().copied().chain(evening).map(|sight| sight.at);
    let (km, last) = stops.fold((0.0, home), |(km, from), to| (km + from.km_to(to), to));
    km + last.km_to(home)
}

/// Calls `visit` with every order of `stops[fixed..]`, the given one first.
fn each_order<'a>(stops: &mut [&'a Sight], fixed: usize, visit: &mut dyn FnMut(&[&'a Sight])) {
    if fixed + 1 >= stops.len() {
        return visit(stops);
    }
    for index in fixed..stops.len() {
        stops.swap(fixed, index);
        each_order(stops, fixed + 1, visit);
        stops.swap(fixed, index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        guide::Guide,
        planner::{choose, group},
    };

    #[test]
    fn a_route_is_never_longer_than_the_unordered_day() {
        let guide = Guide::embedded().unwrap();
        for city in &guide.cities {
            for outing in group(&choose(city, &[], 8, 0), city.at, &[false; 8]) {
                let route = route(&outing, city.at);
                let unordered = length(city.at, &outing.daytime, outing.evening);
                assert!(route.km <= unordered, "{} > {unordered}", route.km);
                assert_eq!(route.daytime.len(), outing.daytime.len());
            }
        }
    }

    #[test]
    fn every_order_of_four_stops_is_tried_once() {
        let guide = Guide::embedded().unwrap();
        let mut stops: Vec<_> = guide.find("Rome").unwrap().sights[..4].iter().collect();
        let mut seen = std::collections::HashSet::new();
        each_order(&mut stops, 0, &mut |order| {
            seen.insert(order.iter().map(|sight| sight.name).collect::<Vec<_>>());
        });
        assert_eq!(seen.len(), 24);
    }
}
