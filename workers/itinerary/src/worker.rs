//! The worker itself.

use std::sync::OnceLock;

use agentkit::{About, Parameter, Task, TaskError, TaskHandle, TaskOutcome, Worker};
use chrono::Utc;

use crate::{
    guide::Guide,
    mesh_forecaster::MeshForecaster,
    plan::{Stage, plan},
    trip_request::TripRequest,
};

const ABOUT: About = About {
    name: "Itinerary Worker",
    description: "Plans days in a city around interests and weather",
    how_it_works: "Asks a weather tool of the mesh for the forecast. Chooses sights by interests and \
        fame, puts near ones into the same day and indoor ones into wet days, and orders each day \
        by the shortest way from the hotel. Without a forecast weather_info says why. \
        GetTaskStatus answers the progress, and for an hour the result.",
    return_format: "output is JSON: destination, country, total_days, interests, \
        daily_schedule of {day, date, weather, morning, afternoon, evening, distance_km}, \
        each part of a day {activity, time, type, setting, latitude, longitude}, \
        accommodation {hotel, check_in, check_out}, weather_info, notes; metadata: worker_id, \
        destination, days",
    use_cases: &[
        "Plan a city trip around its weather",
        "Fill some free days with what a traveller likes",
        "See a worker call a tool through the mesh",
    ],
    parameters: &[
        Parameter::required(
            "destination",
            "string",
            "a city of the guide, such as Paris or Paris, France",
        ),
        Parameter::optional("days", "integer", "length of the stay, 1 to 30 (default 3)"),
        Parameter::optional(
            "interests",
            "string",
            "comma separated, such as museum, food, nature, nightlife",
        ),
        Parameter::optional(
            "start_date",
            "string",
            "the first day as YYYY-MM-DD (default: tomorrow)",
        ),
    ],
    ..About::EMPTY
};

/// The worker's description, with what the guide knows.
pub(crate) fn about(guide: &Guide) -> About {
    static DETAILS: OnceLock<String> = OnceLock::new();
    let details = DETAILS.get_or_init(|| {
        let tags: Vec<_> = guide.tags().into_iter().collect();
        format!(
            "Plans a morning, an afternoon and an evening a day, with real places, a hotel and \
             the weather. Destinations: {}. Interests: {}.",
            guide.names(),
            tags.join(", ")
        )
    });
    About { details, ..ABOUT }
}

/// The worker with its guide.
#[derive(Debug)]
pub(crate) struct Itinerary {
    pub(crate) guide: Guide,
    pub(crate) forecaster: MeshForecaster,
}

#[async_trait::async_trait]
impl Worker for Itinerary {
    async fn run(&self, task: &Task, handle: &TaskHandle) -> Result<TaskOutcome, TaskError> {
        let today = Utc::now().date_naive();
        let trip = TripRequest::parse(&task.parameters, &self.guide, today)?;
        let passed = |stage: Stage| handle.advance(stage.percent());
        let output = plan(&trip, &self.forecaster, &passed).await?;
        Ok(TaskOutcome {
            output,
            metadata: [
                ("destination", trip.city.name.to_owned()),
                ("days", trip.days.to_string()),
            ]
            .into(),
        })
    }
}
