//! What the itinerary worker answers when it is asked what it is.

use proto::agentplatform::{ToolParameter, WorkerInfo};
use service::Context;

use crate::guide::Guide;

/// Name, type, whether every task needs it, and meaning.
const PARAMETERS: &[(&str, &str, bool, &str)] = &[
    (
        "destination",
        "string",
        true,
        "a city of the guide, such as Paris or Paris, France",
    ),
    (
        "days",
        "integer",
        false,
        "length of the stay, 1 to 30 (default 3)",
    ),
    (
        "interests",
        "string",
        false,
        "comma separated, such as museum, food, nature, nightlife",
    ),
    (
        "start_date",
        "string",
        false,
        "the first day as YYYY-MM-DD (default: tomorrow)",
    ),
];

pub(crate) fn info(context: &Context, guide: &Guide) -> WorkerInfo {
    let cities: Vec<_> = guide.cities().map(|city| city.name).collect();
    let use_cases = [
        "Plan a city trip around its weather",
        "Fill some free days with what a traveller likes",
        "See a worker call a tool through the mesh",
    ];
    let parameters = PARAMETERS
        .iter()
        .map(|(name, kind, required, about)| ToolParameter {
            name: (*name).to_owned(),
            r#type: (*kind).to_owned(),
            required: *required,
            description: (*about).to_owned(),
        });
    WorkerInfo {
        worker_id: context.public_id(),
        name: "Itinerary Worker".to_owned(),
        description: "Plans days in a city around interests and weather".to_owned(),
        endpoint: context.endpoint.clone(),
        tags: context
            .spec
            .tags
            .iter()
            .map(|tag| (*tag).to_owned())
            .collect(),
        detailed_description: format!(
            "Plans a morning, an afternoon and an evening a day, with real places, a hotel and \
             the weather. Destinations: {}. Interests: {}.",
            cities.join(", "),
            guide.tags().join(", ")
        ),
        how_it_works:
            "Asks a weather tool of the mesh for the forecast, picks sights by interests \
            and fame, puts near ones into the same day and those with a roof into wet days, and \
            orders each day by the shortest way from the hotel. Without a forecast it plans all \
            the same and says so in weather_info. GetTaskStatus tells the progress, and the \
            result for an hour."
                .to_owned(),
        return_format: "output is JSON: destination, country, total_days, interests, \
            daily_schedule of {day, date, weather, morning, afternoon, evening, distance_km}, \
            each part of a day {activity, time, type, setting, latitude, longitude}, \
            accommodation {hotel, check_in, check_out}, weather_info, notes; metadata: worker_id, \
            destination, days"
            .to_owned(),
        use_cases: use_cases.map(str::to_owned).to_vec(),
        version: context.spec.version.to_owned(),
        parameters: parameters.collect(),
    }
}
