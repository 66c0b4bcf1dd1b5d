//! The plan as clients read it.

use chrono::{Days, NaiveDate, NaiveTime, TimeDelta};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    forecast::{Forecast, Unavailable},
    guide::Sight,
    planner::Route,
    trip_request::TripRequest,
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
    /// The limits of this plan.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Day<'a> {
    day: usize,
    date: String,
    weather: Option<&'a str>,
    morning: TimeSlot<'a>,
    afternoon: TimeSlot<'a>,
    evening: TimeSlot<'a>,
    /// The straight-line distance from the hotel and back.
    distance_km: f64,
}

#[derive(Debug, Serialize)]
struct TimeSlot<'a> {
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
    /// Adds hours, weather and a hotel to the routed days.
    pub(crate) fn new(
        trip: &'a TripRequest<'a>,
        routes: &[Route<'a>],
        weather: &'a Result<Forecast, Unavailable>,
    ) -> Self {
        let dates = trip.start.iter_days();
        let days = (1..)
            .zip(dates)
            .zip(routes)
            .map(|((number, date), route)| Day {
                day: number,
                date: date.to_string(),
                weather: outlook(weather, date),
                morning: daytime(route.daytime.first(), trip, 9, 30),
                afternoon: daytime(route.daytime.get(1), trip, 14, 0),
                evening: evening(route, trip),
                distance_km: (route.km * 10.0).round() / 10.0,
            });
        let check_out = trip.start.checked_add_days(Days::new(trip.days.into()));
        Self {
            destination: trip.city.name,
            country: trip.city.country,
            total_days: trip.days,
            interests: &trip.interests,
            daily_schedule: days.collect(),
            accommodation: Accommodation {
                hotel: trip.city.hotel,
                check_in: trip.start.to_string(),
                check_out: check_out.unwrap_or(trip.start).to_string(),
            },
            weather_info: match weather {
                Ok(forecast) => forecast.raw.clone(),
                Err(error) => json!({"available": false, "error": error.to_string()}),
            },
            notes: notes(trip, routes),
        }
    }
}

fn outlook(weather: &Result<Forecast, Unavailable>, date: NaiveDate) -> Option<&str> {
    Some(weather.as_ref().ok()?.on(date)?.condition.as_str())
}

fn daytime<'a>(
    sight: Option<&&'a Sight>,
    trip: &TripRequest<'_>,
    hour: u32,
    minute: u32,
) -> TimeSlot<'a> {
    match sight {
        Some(sight) => visit(sight, trip, hour, minute),
        None => TimeSlot {
            activity: format!("Free time in {}", trip.city.name),
            time: span(hour, minute, 150),
            kind: "free",
            place: None,
        },
    }
}

fn evening<'a>(route: &Route<'a>, trip: &TripRequest<'_>) -> TimeSlot<'a> {
    match (route.evening, route.daytime.last()) {
        (Some(sight), _) => visit(sight, trip, 19, 0),
        (None, last) => TimeSlot {
            activity: format!("Dinner near {}", last.map_or(trip.city.hotel, |it| it.name)),
            time: span(19, 0, 120),
            kind: "food",
            place: None,
        },
    }
}

fn visit<'a>(sight: &'a Sight, trip: &TripRequest<'_>, hour: u32, minute: u32) -> TimeSlot<'a> {
    let shared = sight.tags.iter().find(|tag| trip.tags.contains(tag));
    TimeSlot {
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

fn notes(trip: &TripRequest<'_>, routes: &[Route<'_>]) -> Vec<String> {
    let mut notes = Vec::new();
    if !trip.unmatched.is_empty() {
        let known: Vec<_> = trip.city.tags().into_iter().collect();
        let (unmatched, known) = (trip.unmatched.join(", "), known.join(", "));
        notes.push(format!("no sight is tagged {unmatched}; known are {known}"));
    }
    let free = routes.iter().map(|route| 2 - route.daytime.len().min(2));
    let free: usize = free.sum();
    if free > 0 {
        let known = trip.city.sights.len();
        notes.push(format!(
            "the guide knows {known} sights here, so {free} half days are free"
        ));
    }
    notes
}
