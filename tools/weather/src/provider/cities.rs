//! The embedded cities: parses their table, and finds a city by its names.

use agentkit::text::shorten;

use crate::{
    Error,
    names::{fold, nearest},
};

/// One value a month, January first.
pub(super) type Months = [f64; 12];

/// A city and its climate normals; units are in the data file's head.
#[derive(Debug)]
pub(super) struct City {
    /// `Paris, France`.
    pub(super) label: String,
    name: String,
    country: String,
    /// Folded spellings of the name.
    spellings: Vec<String>,
    /// Folded words that may follow the name: country, codes, state.
    within: Vec<String>,
    pub(super) longitude: f64,
    pub(super) high: Months,
    pub(super) low: Months,
    pub(super) humidity: Months,
    pub(super) precipitation: Months,
    pub(super) wet: Months,
}

/// Reads a table of cities: tab separated, a heading line, `#` for comments.
pub(super) fn read(table: &str) -> Result<Vec<City>, Error> {
    let lines = table.lines().filter(|line| !line.starts_with('#')).skip(1);
    let bad = |line| Error::InvalidConfig(format!("bad line in the climate data: {line:?}"));
    lines
        .map(|line| city(line).ok_or_else(|| bad(line)))
        .collect()
}

fn city(line: &str) -> Option<City> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [
        name,
        country,
        also,
        within,
        latitude,
        longitude,
        high,
        low,
        humidity,
        mm,
        wet,
    ] = columns[..]
    else {
        return None;
    };
    let words = |first: &str, more: &str| {
        let all = std::iter::once(first).chain(more.split('|'));
        all.map(fold).filter(|word| !word.is_empty()).collect()
    };
    let degrees = |text: &str, most: f64| {
        let degrees = text.parse::<f64>().ok();
        degrees.filter(|degrees| degrees.abs() <= most)
    };
    degrees(latitude, 90.0)?;
    Some(City {
        label: format!("{name}, {country}"),
        name: name.into(),
        country: fold(country),
        spellings: words(name, also),
        within: words(country, within),
        longitude: degrees(longitude, 180.0)?,
        high: months(high)?,
        low: months(low)?,
        humidity: months(humidity)?,
        precipitation: months(mm)?,
        wet: months(wet)?,
    })
}

fn months(column: &str) -> Option<Months> {
    let values: Option<Vec<f64>> = column.split(' ').map(|value| value.parse().ok()).collect();
    values?.try_into().ok()
}

/// The one city that `given` names: `Paris`, `paris, FR`, `San Jose, California`.
pub(super) fn find<'a>(cities: &'a [City], given: &str) -> Result<&'a City, Error> {
    let wanted = fold(given);
    let found: Vec<&City> = cities.iter().filter(|city| city.is(&wanted)).collect();
    match found[..] {
        [city] => Ok(city),
        [] => Err(Error::Place {
            given: shorten(given),
            hint: hint(cities, given, &wanted),
        }),
        _ => {
            let labels = found.iter().map(|city| format!("{:?}", city.label));
            let labels: Vec<_> = labels.collect();
            Err(Error::Ambiguous {
                given: shorten(given),
                candidates: labels.join(" or "),
            })
        }
    }
}

impl City {
    fn is(&self, wanted: &str) -> bool {
        starts_with_any(wanted, &self.spellings, |rest| self.lies_within(rest))
    }

    /// Whether `rest` has only words for where the city is (`ma usa` for Boston).
    fn lies_within(&self, rest: &str) -> bool {
        starts_with_any(rest, &self.within, |rest| self.lies_within(rest))
    }
}

/// Whether a text is one of `words`, or one of them with a rest that fits.
fn starts_with_any(text: &str, words: &[String], fits: impl Fn(&str) -> bool) -> bool {
    words
        .iter()
        .any(|word| match text.strip_prefix(word.as_str()) {
            Some("") => true,
            Some(rest) => rest.starts_with(' ') && fits(rest.trim_start()),
            None => false,
        })
}

fn hint(cities: &[City], given: &str, wanted: &str) -> String {
    let labels = |meant: &dyn Fn(&City) -> bool| {
        let meant = cities.iter().filter(|city| meant(city));
        let labels: Vec<&str> = meant.map(|city| &*city.label).collect();
        labels.join(" or ")
    };
    let of_country = labels(&|city| city.country == wanted);
    if !of_country.is_empty() {
        return format!(" is a country: give a city, such as {of_country}");
    }
    // The city stands before the comma; the rest says which one.
    let name = given.split(',').next().unwrap_or(given);
    let near = nearest(name, cities.iter().map(|city| &*city.name));
    let near = labels(&|city| near.contains(&&*city.name));
    if !near.is_empty() {
        return format!(": did you mean {near}?");
    }
    let all: Vec<&str> = cities.iter().map(|city| &*city.name).collect();
    format!(": the embedded climate knows {}", all.join(", "))
}
