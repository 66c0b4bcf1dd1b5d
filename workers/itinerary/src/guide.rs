//! The embedded guide: cities, their hotels and what there is to see.

use std::{collections::BTreeSet, fmt};

use crate::Error;

const CITIES: &str = include_str!("../data/cities.tsv");
const SIGHTS: &str = include_str!("../data/sights.tsv");

/// A point on the globe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Point {
    /// Degrees north, -90..=90.
    pub(crate) latitude: f64,
    /// Degrees east, -180..=180.
    pub(crate) longitude: f64,
}

impl Point {
    fn parse(latitude: &str, longitude: &str) -> Option<Self> {
        let point = Self {
            latitude: latitude.parse().ok()?,
            longitude: longitude.parse().ok()?,
        };
        (point.latitude.abs() <= 90.0 && point.longitude.abs() <= 180.0).then_some(point)
    }

    /// The great-circle distance to `other` in km (the haversine formula).
    pub(crate) fn km_to(self, other: Self) -> f64 {
        const EARTH_RADIUS_KM: f64 = 6371.0;
        let [from, to] = [self.latitude, other.latitude].map(f64::to_radians);
        let north = ((to - from) / 2.0).sin();
        let east = ((other.longitude - self.longitude).to_radians() / 2.0).sin();
        let chord = north * north + from.cos() * to.cos() * east * east;
        2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
    }
}

/// Something to see or do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sight {
    pub(crate) name: &'static str,
    pub(crate) at: Point,
    /// What it is about, the most fitting first.
    pub(crate) tags: Vec<&'static str>,
    pub(crate) indoor: bool,
    /// The usual length of a visit.
    pub(crate) minutes: u16,
    /// Whether it is for the evening.
    pub(crate) evening: bool,
    /// Its place in the city's list; 0 is the best known.
    pub(crate) rank: usize,
}

/// A city with its sights.
#[derive(Debug)]
pub(crate) struct City {
    /// The English name.
    pub(crate) name: &'static str,
    pub(crate) country: &'static str,
    also: Vec<&'static str>,
    pub(crate) hotel: &'static str,
    /// Where the hotel is: days begin and end there.
    pub(crate) at: Point,
    /// The best known first.
    pub(crate) sights: Vec<Sight>,
}

pub(crate) struct Guide {
    pub(crate) cities: Vec<City>,
}

impl fmt::Debug for Guide {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.cities.iter().map(|city| city.name);
        formatter.debug_list().entries(names).finish()
    }
}

impl Guide {
    /// Reads the embedded data.
    pub(crate) fn embedded() -> Result<Self, Error> {
        let bad = |line: &str| Error::Data(line.to_owned());
        let cities: Result<Vec<City>, Error> = rows(CITIES)
            .map(|line| city(line).ok_or_else(|| bad(line)))
            .collect();
        let mut cities = cities?;
        for line in rows(SIGHTS) {
            let name = line.split('\t').next();
            let city = cities.iter_mut().find(|city| Some(city.name) == name);
            let sights = &mut city.ok_or_else(|| bad(line))?.sights;
            sights.push(sight(line, sights.len()).ok_or_else(|| bad(line))?);
        }
        Ok(Self { cities })
    }

    /// The city called `name`, whatever the case, with or without a country after a comma.
    pub(crate) fn find(&self, name: &str) -> Result<&City, Error> {
        let mut parts = name.split(',').map(|part| part.trim().to_lowercase());
        let (city, country) = (parts.next().unwrap_or_default(), parts.next_back());
        let found = self.cities.iter().find(|row| {
            let mut names = std::iter::once(&row.name).chain(&row.also);
            names.any(|known| known.to_lowercase() == city)
                && country.as_ref().is_none_or(|country| row.lies_in(country))
        });
        found.ok_or_else(|| Error::Destination {
            given: agentkit::text::shorten(name),
            known: self.names(),
        })
    }

    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.cities.iter().map(|city| city.name).collect();
        names.join(", ")
    }

    pub(crate) fn tags(&self) -> BTreeSet<&'static str> {
        self.cities.iter().flat_map(City::tags).collect()
    }
}

impl City {
    /// The tags of its sights, sorted.
    pub(crate) fn tags(&self) -> BTreeSet<&'static str> {
        let tags = self.sights.iter().flat_map(|sight| &sight.tags);
        tags.copied().collect()
    }

    /// Whether `country` (lower case) is where this city lies; the usual short names are known.
    fn lies_in(&self, country: &str) -> bool {
        let short: &[&str] = match self.country {
            "United States" => &["us", "usa", "u.s.", "ny", "ca", "california"],
            "United Kingdom" => &["uk", "gb", "england", "great britain"],
            "Türkiye" => &["turkey", "tr"],
            "Czechia" => &["czech republic", "cz"],
            _ => &[],
        };
        self.country.to_lowercase() == country || short.contains(&country)
    }
}

/// The lines of a table after its comments and its heading.
fn rows(table: &'static str) -> impl Iterator<Item = &'static str> {
    table.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn city(line: &'static str) -> Option<City> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, country, also, hotel, latitude, longitude] = columns[..] else {
        return None;
    };
    let also = also.split(',').filter(|name| !name.is_empty()).collect();
    let at = Point::parse(latitude, longitude)?;
    Some(City {
        name,
        country,
        also,
        hotel,
        at,
        sights: Vec::new(),
    })
}

fn sight(line: &'static str, rank: usize) -> Option<Sight> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [_, name, latitude, longitude, tags, setting, minutes, when] = columns[..] else {
        return None;
    };
    Some(Sight {
        name,
        at: Point::parse(latitude, longitude)?,
        tags: tags.split(',').collect(),
        indoor: either(setting, "indoor", "outdoor")?,
        minutes: minutes.parse().ok()?,
        evening: either(when, "evening", "day")?,
        rank,
    })
}

/// Whether `text` is `yes` rather than `no`; `None` for anything else.
fn either(text: &str, yes: &str, no: &str) -> Option<bool> {
    (text == yes || text == no).then_some(text == yes)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn twelve_cities_have_twelve_sights_each_all_of_them_in_the_city() {
        let guide = Guide::embedded().unwrap();
        assert!(guide.cities.len() >= 12);
        for city in &guide.cities {
            assert!(city.sights.len() >= 12, "{}", city.name);
            assert!(
                city.sights.iter().filter(|sight| sight.evening).count() >= 3,
                "{}",
                city.name
            );
            let names: HashSet<_> = city.sights.iter().map(|sight| sight.name).collect();
            assert_eq!(names.len(), city.sights.len(), "{}", city.name);
            for sight in &city.sights {
                let away = sight.at.km_to(city.at);
                assert!(away < 25.0, "{} is {away} km from the hotel", sight.name);
                assert!((30..=300).contains(&sight.minutes), "{}", sight.name);
            }
        }
    }

    #[test]
    fn a_city_is_found_by_its_names_and_country() {
        let guide = Guide::embedded().unwrap();
        for name in ["paris", "Paris, France", " PARIS ,france"] {
            assert_eq!(guide.find(name).unwrap().name, "Paris");
        }
        assert_eq!(guide.find("NYC").unwrap().name, "New York");
        assert_eq!(guide.find("London, UK").unwrap().name, "London");
        assert_eq!(guide.find("İstanbul").unwrap().name, "Istanbul");
        assert!(guide.find("Paris, Texas").is_err());
    }

    #[test]
    fn an_unknown_destination_is_told_the_known_ones() {
        let error = Guide::embedded()
            .unwrap()
            .find("Atlantis")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"Atlantis\"") && error.contains("Vienna"),
            "{error}"
        );
    }

    #[test]
    fn a_kilometre_is_a_kilometre() {
        let louvre = Point {
            latitude: 48.8606,
            longitude: 2.3376,
        };
        let eiffel = Point {
            latitude: 48.8584,
            longitude: 2.2945,
        };
        assert!((louvre.km_to(eiffel) - 3.16).abs() < 0.05);
    }
}
