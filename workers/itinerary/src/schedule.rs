//! The plan as clients read it.

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    brief::Brief,
    forecast::{Forecast, Unavailable},
    guide::{City, Sight},
    planner::Route,
};

/// The output of `ProcessTask`.
#[derive(Debug, Serialize)]
pub(crate) struct Plan<'a> {
    destination: &'a str,
    country: &'a str,
    total_days: u8,
    interests: &'a [String],
    daily_schedule: Vec<Day<'a>>,
    accommodation: Accommodation<'a>,
    weather_info: Value,
    /// What the reader should know about this plan's limits.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Day<'a> {
    day: usize,
    date: String,
    weather: Option<&'a str>,
    morning: Slot<'a>,
    afternoon: Slot<'a>,
    evening: Slot<'a>,
    /// From the hotel and back as the crow flies, km.
    distance_km: f64,
}

#[derive(Debug, Serialize)]
struct Slot<'a> {
    activity: String,
    time: String,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    place: Option<Place>,
}

#[derive(Debug, Serialize)]
struct Place {
    setting: &'static str,
    latitude: f64,
    longitude: f64,
}

#[derive(Debug, Serialize)]
struct Accommodation<'a> {
    hotel: &'a str,
    check_in: String,
    check_out: String,
}

impl<'a> Plan<'a> {
    /// Puts hours, weather and a hotel to the routed days.
    pub(crate) fn new(
        brief: &'a Brief<'a>,
        routes: &[Route<'a>],
        weather: &'a Result<Forecast, Unavailable>,
    ) -> Self {
        let dates = brief.start.iter_days();
        let days = (1..)
            .zip(dates)
            .zip(routes)
            .map(|((number, date), route)| Day {
                day: number,
                date: date.to_string(),
                weather: outlook(weather, date),
                morning: daytime(route.daytime.first(), brief, 9, 30),
                afternoon: daytime(route.daytime.get(1), brief, 14, 0),
                evening: evening(route, brief),
                distance_km: (route.km * 10.0).round() / 10.0,
            });
        let check_out = brief.start.checked_add_days(Days::new(brief.days.into()));
        Self {
            destination: brief.city.name,
            country: brief.city.country,
            total_days: brief.days,
            interests: &brief.interests,
            daily_schedule: days.collect(),
            accommodation: Accommodation {
                hotel: brief.city.hotel,
                check_in: brief.start.to_string(),
                check_out: check_out.unwrap_or(brief.start).to_string(),
            },
            weather_info: match weather {
                Ok(forecast) => forecast.raw.clone(),
                Err(error) => json!({"available": false, "error": error.to_string()}),
            },
            notes: notes(brief, routes),
        }
    }
}

fn outlook(weather: &Result<Forecast, Unavailable>, date: NaiveDate) -> Option<&str> {
    Some(weather.as_ref().ok()?.on(date)?.condition.as_str())
}

fn daytime<'a>(sight: Option<&&'a Sight>, brief: &Brief<'_>, hour: u32, minute: u32) -> Slot<'a> {
    match sight {
        Some(sight) => visit(sight, brief, hour, minute),
        None => Slot {
            activity: format!("Free time in {}", brief.city.name),
            time: span(hour, minute, 150),
            kind: "free",
            place: None,
        },
    }
}

fn evening<'a>(route: &Route<'a>, brief: &Brief<'_>) -> Slot<'a> {
    match (route.evening, route.daytime.last()) {
        (Some(sight), _) => visit(sight, brief, 19, 0),
        (None, last) => Slot {
            activity: format!(
                "Dinner near {}",
                last.map_or(brief.city.hotel, |sight| sight.name)
            ),
            time: span(19, 0, 120),
            kind: "food",
            place: None,
        },
    }
}

fn visit<'a>(sight: &'a Sight, brief: &Brief<'_>, hour: u32, minute: u32) -> Slot<'a> {
    let shared = sight.tags.iter().find(|tag| brief.tags.contains(tag));
    Slot {
        activity: sight.name.to_owned(),
        time: span(hour, minute, sight.minutes),
        kind: shared.or(sight.tags.first()).copied().unwrap_or("sight"),
        place: Some(Place {
            setting: if sight.indoor { "indoor" } else { "outdoor" },
            latitude: sight.at.latitude,
            longitude: sight.at.longitude,
        }),
    }
}

/// `09:30-11:00` for a start and a length in minutes.
fn span(hour: u32, minute: u32, length: u16) -> String {
    let from = NaiveTime::from_hms_opt(hour, minute, 0).unwrap_or_default();
    let to = from + TimeDelta::minutes(length.into());
    format!("{}-{}", from.format("%H:%M"), to.format("%H:%M"))
}

fn notes(brief: &Brief<'_>, routes: &[Route<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    if !brief.unmatched.is_empty() {
        notes.push(format!(
            "no sight is tagged {}; known are {}",
            brief.unmatched.join(", "),
            city_tags(brief.city).join(", ")
        ));
    }
    let free: usize = routes
        .iter()
        .map(|route| 2 - route.daytime.len().min(2))
        .sum();
    if free > 0 {
        let known = brief.city.sights.len();
        notes.push(format!(
            "the guide knows {known} sights here, so {free} half days are free"
        ));
    }
    notes
}

fn city_tags(city: &City) -> Vec<&'static str> {
    let mut tags: Vec<_> = city
        .sights
        .iter()
        .flat_map(|sight| sight.tags.clone())
        .collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}
