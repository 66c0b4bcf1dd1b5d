//! The request for a plan, parsed from the parameters of the task.

use std::collections::BTreeSet;

use agentkit::{InvalidParameter, Parameters, text::shorten};
use chrono::{Days, NaiveDate};

use crate::{
    Error,
    guide::{City, Guide},
};

/// Longest stay, days.
pub(crate) const MAX_DAYS: u8 = 30;
const MAX_INTERESTS: usize = 20;

/// A checked request for a plan.
#[derive(Debug)]
pub(crate) struct TripRequest<'a> {
    pub(crate) city: &'a City,
    /// Length of the stay, 1..=[`MAX_DAYS`].
    pub(crate) days: u8,
    /// The first day.
    pub(crate) start: NaiveDate,
    /// The interests in the caller's words.
    pub(crate) interests: Vec<String>,
    /// The guide's tags for those interests.
    pub(crate) tags: Vec<&'static str>,
    /// The interests without a tag.
    pub(crate) unmatched: Vec<String>,
}

/// Other words for the guide's tags.
const SYNONYMS: &[(&str, &[&str])] = &[
    ("bar", &["nightlife"]),
    ("building", &["architecture"]),
    ("child", &["family"]),
    ("children", &["family"]),
    ("church", &["religion"]),
    ("club", &["nightlife"]),
    ("concert", &["music"]),
    ("cuisine", &["food"]),
    ("culture", &["museum", "art", "history"]),
    ("dining", &["food"]),
    ("gallery", &["art"]),
    ("garden", &["nature"]),
    ("gastronomy", &["food"]),
    ("hiking", &["nature"]),
    ("historic", &["history"]),
    ("kid", &["family"]),
    ("market", &["food", "shopping"]),
    ("opera", &["music"]),
    ("outdoor", &["nature"]),
    ("painting", &["art"]),
    ("park", &["nature"]),
    ("party", &["nightlife"]),
    ("photography", &["views"]),
    ("restaurant", &["food"]),
    ("sightseeing", &["architecture", "views"]),
    ("temple", &["religion"]),
    ("theater", &["music"]),
    ("theatre", &["music"]),
    ("view", &["views"]),
];

impl<'a> TripRequest<'a> {
    /// Reads the parameters `destination`, `days`, `interests` and `start_date`.
    pub(crate) fn parse(
        parameters: &Parameters,
        guide: &'a Guide,
        today: NaiveDate,
    ) -> Result<Self, Error> {
        let destination = parameters
            .optional("destination")
            .ok_or_else(|| InvalidParameter::missing("destination", "a city, such as Paris"))?;
        let interests = interests(parameters.optional("interests").unwrap_or_default())?;
        let known = guide.tags();
        let (mut tags, mut unmatched) = (BTreeSet::new(), Vec::new());
        for interest in &interests {
            match meaning(interest, &known) {
                found if found.is_empty() => unmatched.push(interest.clone()),
                found => tags.extend(found),
            }
        }
        let tomorrow = today.checked_add_days(Days::new(1)).unwrap_or(today);
        Ok(Self {
            city: guide.find(destination)?,
            days: parameters.integer("days", 1..=MAX_DAYS, 3)?,
            start: parameters.date("start_date")?.unwrap_or(tomorrow),
            interests,
            tags: tags.into_iter().collect(),
            unmatched,
        })
    }
}

fn interests(text: &str) -> Result<Vec<String>, InvalidParameter> {
    let words = text.split(',').map(str::trim);
    let words = words.filter(|word| !word.is_empty());
    let all: Vec<String> = words.map(shorten).collect();
    if all.len() > MAX_INTERESTS {
        let problem = format!("has {} entries", all.len());
        let expected = "at most 20, separated by commas";
        return Err(InvalidParameter::new("interests", problem, expected));
    }
    Ok(all)
}

/// The tags of an interest, which may be a plural (`museums`, `parties`).
fn meaning(interest: &str, known: &BTreeSet<&'static str>) -> Vec<&'static str> {
    let word = interest.to_lowercase();
    let endings = [("", ""), ("s", ""), ("es", ""), ("ies", "y")];
    let forms = endings.iter().filter_map(|(end, instead)| {
        let stem = word.strip_suffix(end)?;
        Some(format!("{stem}{instead}"))
    });
    for form in forms {
        if let Some(tag) = known.get(form.as_str()) {
            return vec![tag];
        }
        if let Some((_, tags)) = SYNONYMS.iter().find(|(word, _)| *word == form) {
            return tags.to_vec();
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(parameters: &[(&str, &str)], check: impl FnOnce(Result<TripRequest<'_>, Error>)) {
        let guide = Guide::embedded().unwrap();
        let parameters = parameters.iter().copied().collect();
        check(TripRequest::parse(
            &parameters,
            &guide,
            "2026-11-21".parse().unwrap(),
        ));
    }

    #[test]
    fn a_bare_destination_is_three_days_from_tomorrow() {
        read(&[("destination", "Paris")], |trip| {
            let trip = trip.unwrap();
            assert_eq!(
                (trip.days, trip.start.to_string().as_str()),
                (3, "2026-11-22")
            );
            assert!(trip.interests.is_empty());
        });
    }

    #[test]
    fn interests_are_understood_in_everyday_words_and_the_rest_is_said() {
        let interests = "Museums, Parties,culture ,surfing,,";
        read(
            &[("destination", "Paris"), ("interests", interests)],
            |trip| {
                let trip = trip.unwrap();
                assert_eq!(trip.interests, ["Museums", "Parties", "culture", "surfing"]);
                assert_eq!(trip.tags, ["art", "history", "museum", "nightlife"]);
                assert_eq!(trip.unmatched, ["surfing"]);
            },
        );
    }

    #[test]
    fn every_synonym_stands_for_tags_of_the_guide() {
        let known = Guide::embedded().unwrap().tags();
        for (word, tags) in SYNONYMS {
            assert!(tags.iter().all(|tag| known.contains(tag)), "{word}");
        }
    }

    #[test]
    fn a_bad_parameter_is_named_with_what_it_takes() {
        for (name, value, expected) in [
            ("days", "0", "a whole number from 1 to 30"),
            ("days", "31", "a whole number from 1 to 30"),
            ("days", "three", "a whole number from 1 to 30"),
            ("days", "-1", "a whole number from 1 to 30"),
            ("start_date", "tomorrow", "a date as YYYY-MM-DD"),
            ("start_date", "262142-12-31", "a date as YYYY-MM-DD"),
            ("interests", &"a,".repeat(21), "at most 20"),
            ("destination", "", "a city"),
            ("destination", "Atlantis", "Amsterdam, Barcelona"),
        ] {
            let mut parameters = vec![("destination", "Rome"), (name, value)];
            parameters.retain(|(key, text)| *key != name || *text == value);
            read(&parameters, |trip| {
                let error = trip.unwrap_err().to_string();
                assert!(error.contains(&format!("`{name}`")), "{error}");
                assert!(error.contains(expected), "{error}");
            });
        }
    }
}
