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
///
/// # Errors
/// When a line does not have the columns and numbers it should; it is quoted.
pub(super) fn read(table: &str) -> Result<Vec<City>, Error> {
    let lines = table.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines
        .map(|line| {
            city(line).ok_or_else(|| {
                Error::InvalidConfig(format!("bad line in the climate data: {line:?}"))
            })
        })
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
    latitude
        .parse::<f64>()
        .ok()
        .filter(|degrees| degrees.abs() <= 90.0)?;
    Some(City {
        label: format!("{name}, {country}"),
        name: name.into(),
        country: fold(country),
        spellings: words(name, also),
        within: words(country, within),
        longitude: longitude
            .parse()
            .ok()
            .filter(|degrees: &f64| degrees.abs() <= 180.0)?,
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
///
/// # Errors
/// When no city or several have this name; the text lists them.
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
            let labels: Vec<_> = found
                .iter()
                .map(|city| format!("{:?}", city.label))
                .collect();
            Err(Error::Ambiguous {
                given: shorten(given),
                candidates: labels.join(" or "),
            })
        }
    }
}

impl City {
    fn is(&self, wanted: &str) -> bool {
        self.spellings
            .iter()
            .any(|name| match wanted.strip_prefix(name.as_str()) {
                Some("") => true,
                Some(rest) => rest.starts_with(' ') && self.lies_within(rest.trim_start()),
                None => false,
            })
    }

    /// Whether `rest` has only words for where the city is (`ma usa` for Boston).
    fn lies_within(&self, rest: &str) -> bool {
        self.within
            .iter()
            .any(|word| match rest.strip_prefix(word.as_str()) {
                Some("") => true,
                Some(more) => more.starts_with(' ') && self.lies_within(more.trim_start()),
                None => false,
            })
    }
}

fn hint(cities: &[City], given: &str, wanted: &str) -> String {
    let of_country: Vec<&str> = cities
        .iter()
        .filter(|city| city.country == wanted)
        .map(|city| &*city.label)
        .collect();
    if !of_country.is_empty() {
        return format!(
            " is a country: give a city, such as {}",
            of_country.join(" or ")
        );
    }
    // The city stands before the comma; the rest says which one.
    let name = given.split(',').next().unwrap_or(given);
    let near = nearest(name, cities.iter().map(|city| &*city.name));
    let labels: Vec<&str> = cities
        .iter()
        .filter(|city| near.contains(&&*city.name))
        .map(|city| &*city.label)
        .collect();
    if !labels.is_empty() {
        return format!(": did you mean {}?", labels.join(" or "));
    }
    let all: Vec<&str> = cities.iter().map(|city| &*city.name).collect();
    format!(": the embedded climate knows {}", all.join(", "))
}
