//! The sky in words.

/// WMO code table 4677 as Open-Meteo uses it (<https://open-meteo.com/en/docs>): the last code of
/// each group and its words.
const WMO: &[(u8, &str)] = &[
    (0, "clear"),
    (1, "mainly clear"),
    (2, "partly cloudy"),
    (3, "overcast"),
    (48, "fog"),
    (55, "drizzle"),
    (57, "freezing drizzle"),
    (61, "light rain"),
    (63, "rain"),
    (65, "heavy rain"),
    (67, "freezing rain"),
    (71, "light snow"),
    (73, "snow"),
    (77, "heavy snow"),
    (82, "rain showers"),
    (86, "snow showers"),
    (95, "thunderstorm"),
    (99, "thunderstorm with hail"),
];

/// The words for a WMO weather code; `unknown` for codes without a group.
pub(crate) fn wmo(code: u8) -> &'static str {
    match code {
        // Groups that Open-Meteo never sends: sand, distant lightning, past weather.
        4..=44 | 49 | 50 | 58..=60 | 68..=70 | 78 | 79 | 83 | 84 | 87..=94 | 97 | 98 => "unknown",
        _ => WMO
            .iter()
            .find(|(last, _)| code <= *last)
            .map_or("unknown", |(_, words)| words),
    }
}

/// The sky of an average day. `draw` in 0..1 makes it wet with probability `wet`, and clear the more
/// often, the drier the season is. `amount` is the precipitation of a wet day in mm, and `mean` the mean
/// temperature in °C.
pub(crate) fn from_normals(draw: f64, wet: f64, amount: f64, mean: f64) -> &'static str {
    if draw < wet {
        return match (mean <= 1.0, amount) {
            (true, _) => "snow",
            (false, mm) if mm < 4.0 => "light rain",
            (false, mm) if mm < 12.0 => "rain",
            (false, _) => "heavy rain",
        };
    }
    let dry = (draw - wet) / (1.0 - wet).max(f64::EPSILON);
    match dry {
        share if share < wet => "overcast",
        share if share < wet + 0.35 => "partly cloudy",
        _ => "clear",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_documented_code_has_words_and_others_say_so() {
        for code in [
            0, 1, 2, 3, 45, 48, 51, 53, 55, 56, 57, 61, 63, 65, 66, 67, 71, 73, 75, 77, 80, 81, 82,
            85, 86, 95, 96, 99,
        ] {
            assert_ne!(wmo(code), "unknown", "code {code}");
        }
        assert_eq!(wmo(63), "rain");
        assert_eq!(wmo(75), "heavy snow");
        assert_eq!(wmo(30), "unknown");
        assert_eq!(wmo(255), "unknown");
    }

    #[test]
    fn a_draw_under_the_wet_share_is_wet_and_cold_makes_it_snow() {
        assert_eq!(from_normals(0.1, 0.3, 6.0, 12.0), "rain");
        assert_eq!(from_normals(0.1, 0.3, 6.0, -4.0), "snow");
        assert_eq!(from_normals(0.9, 0.3, 6.0, 12.0), "clear");
        assert_eq!(from_normals(0.5, 1.0, 20.0, 25.0), "heavy rain");
    }
}
