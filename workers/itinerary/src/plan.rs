//! One plan from start to end: weather, sights, days, routes, JSON.

use crate::{Error, forecast::Forecaster, planner, schedule::Plan, trip_request::TripRequest};

/// Longest forecast, days.
const FORECAST_DAYS: u8 = 16;

/// A stage of planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Accepted,
    Weather,
    Chosen,
    Grouped,
    Routed,
}

impl Stage {
    /// Progress once the stage is passed, %.
    pub(crate) const fn percent(self) -> u8 {
        match self {
            Self::Accepted => 10,
            Self::Weather => 50,
            Self::Chosen => 65,
            Self::Grouped => 80,
            Self::Routed => 95,
        }
    }
}

/// Plans a trip as JSON text, and calls `passed` after each stage. Without a forecast `weather_info` says
/// why there is none.
pub(crate) async fn plan(
    trip: &TripRequest<'_>,
    forecaster: &dyn Forecaster,
    passed: &(dyn Fn(Stage) + Sync),
) -> Result<String, Error> {
    passed(Stage::Accepted);
    let city = trip.city;
    let place = format!("{}, {}", city.name, city.country);
    let days = trip.days.min(FORECAST_DAYS);
    let weather = forecaster.forecast(&place, trip.start, days).await;
    if let Err(error) = &weather {
        tracing::warn!(%place, %error, "planning without a forecast");
    }
    passed(Stage::Weather);

    let dates = trip.start.iter_days().take(usize::from(trip.days));
    let outlook = |date| weather.as_ref().ok().and_then(|forecast| forecast.on(date));
    let wet = dates.map(|date| outlook(date).is_some_and(|day| day.wet));
    let wet: Vec<bool> = wet.collect();
    let wet_days = wet.iter().filter(|wet| **wet).count();

    let choice = planner::choose(city, &trip.tags, wet.len(), wet_days);
    passed(Stage::Chosen);
    let outings = planner::group(&choice, city.at, &wet);
    passed(Stage::Grouped);
    let routes = outings.iter().map(|day| planner::route(day, city.at));
    let routes: Vec<_> = routes.collect();
    passed(Stage::Routed);

    Ok(serde_json::to_string(&Plan::new(trip, &routes, &weather))?)
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;
    use parking_lot::Mutex;
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        forecast::{Forecast, Unavailable},
        guide::Guide,
    };

    /// Rain on the second day, sun on the others; or nothing at all.
    #[derive(Debug)]
    struct Sky {
        reachable: bool,
    }

    #[async_trait::async_trait]
    impl Forecaster for Sky {
        async fn forecast(
            &self,
            location: &str,
            start: NaiveDate,
            days: u8,
        ) -> Result<Forecast, Unavailable> {
            if !self.reachable {
                return Err(Unavailable("no healthy instance of tool-weather".into()));
            }
            let days = start
                .iter_days()
                .take(days.into())
                .enumerate()
                .map(|(index, date)| {
                    let condition = if index == 1 { "heavy rain" } else { "clear" };
                    json!({"day": index + 1, "date": date.to_string(), "location": location,
                       "condition": condition, "source": "test"})
                });
            Forecast::parse(&Value::Array(days.collect()).to_string())
        }
    }

    async fn output(parameters: &[(&str, &str)], reachable: bool) -> Value {
        let guide = Guide::embedded().unwrap();
        let parameters = parameters.iter().copied().collect();
        let trip = TripRequest::parse(&parameters, &guide, "2026-11-21".parse().unwrap()).unwrap();
        let percents = Mutex::new(vec![0]);
        let passed = |stage: Stage| percents.lock().push(stage.percent());
        let output = plan(&trip, &Sky { reachable }, &passed).await.unwrap();
        let percents = percents.into_inner();
        assert!(percents.is_sorted_by(|a, b| a < b), "{percents:?}");
        assert_eq!((percents.len(), percents[5] < 100), (6, true));
        serde_json::from_str(&output).unwrap()
    }

    #[tokio::test]
    async fn a_plan_has_every_key_that_clients_read() {
        let asked = [("destination", "paris"), ("interests", "art, food")];
        let plan = output(&asked, true).await;
        assert_eq!(plan["destination"], "Paris");
        assert_eq!(plan["total_days"], 3);
        assert_eq!(plan["interests"], json!(["art", "food"]));
        assert_eq!(plan["accommodation"]["hotel"], "Hôtel Lutetia");
        assert_eq!(plan["accommodation"]["check_in"], "2026-11-22");
        assert_eq!(plan["accommodation"]["check_out"], "2026-11-25");
        let days = plan["daily_schedule"].as_array().unwrap();
        assert_eq!(days.len(), 3);
        for (number, day) in (1..).zip(days) {
            assert_eq!(day["day"], number);
            for slot in ["morning", "afternoon", "evening"] {
                for key in ["activity", "time", "type"] {
                    assert!(day[slot][key].is_string(), "{slot} {key}");
                }
            }
        }
        assert_eq!(days[2]["date"], "2026-11-24");
        assert_eq!(plan["weather_info"][1]["location"], "Paris, France");
        assert_eq!(plan["weather_info"][1]["source"], "test");
    }

    #[tokio::test]
    async fn the_wet_day_is_indoors_and_the_same_request_gives_the_same_plan() {
        let asked = [
            ("destination", "Rome"),
            ("interests", "nature"),
            ("days", "4"),
        ];
        let plan = output(&asked, true).await;
        for slot in ["morning", "afternoon", "evening"] {
            assert_eq!(
                plan["daily_schedule"][1][slot]["setting"], "indoor",
                "{slot}"
            );
        }
        assert_eq!(plan["daily_schedule"][1]["weather"], "heavy rain");
        assert_eq!(plan, output(&asked, true).await);
    }

    #[tokio::test]
    async fn without_weather_the_plan_is_made_and_says_so() {
        let plan = output(&[("destination", "Tokyo")], false).await;
        assert_eq!(plan["weather_info"]["available"], false);
        assert_eq!(
            plan["weather_info"]["error"],
            "no healthy instance of tool-weather"
        );
        assert!(plan["daily_schedule"][0]["weather"].is_null());
        assert_eq!(plan["daily_schedule"].as_array().unwrap().len(), 3);
    }

    #[tokio::test]
    async fn a_plan_longer_than_the_guide_says_what_is_free() {
        let asked = [
            ("destination", "Kyoto"),
            ("days", "30"),
            ("interests", "surfing"),
            ("start_date", "2027-02-27"),
        ];
        let plan = output(&asked, true).await;
        let days = plan["daily_schedule"].as_array().unwrap();
        assert_eq!(days.len(), 30);
        assert_eq!(days[29]["date"], "2027-03-28");
        assert_eq!(days[29]["morning"]["type"], "free");
        assert!(
            days[29]["evening"]["activity"]
                .as_str()
                .unwrap()
                .starts_with("Dinner near")
        );
        let notes = plan["notes"].to_string();
        assert!(
            notes.contains("surfing") && notes.contains("half days are free"),
            "{notes}"
        );
    }
}
