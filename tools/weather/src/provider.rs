//! The providers of weather: one trait, and a row for each.

use std::sync::Arc;

use crate::{Error, WeatherKeys};

mod cities;
mod climate;
mod forecast;
mod open_meteo;

pub(crate) use forecast::{Current, Forecast, Provider};

/// Builds a provider from the keys, and whether it may ask anybody outside.
type Build = fn(&WeatherKeys, bool) -> Result<Arc<dyn Provider>, Error>;

/// One provider that can be chosen by name.
#[derive(Debug)]
pub struct ProviderRow {
    /// The name in the configuration.
    pub name: &'static str,
    build: Build,
}

/// Every provider there is; the first is the default.
pub const PROVIDERS: &[ProviderRow] = &[
    // Embedded monthly normals of about 80 cities: works offline.
    ProviderRow {
        name: "climate",
        build: |_, _| Ok(Arc::new(climate::Climate::embedded()?)),
    },
    // Measured and forecast weather of any place, from open-meteo.com.
    ProviderRow {
        name: "open-meteo",
        build: |keys, external| Ok(Arc::new(open_meteo::OpenMeteo::new(keys, external)?)),
    },
];

/// Builds the provider that the keys name.
pub(crate) fn build(keys: &WeatherKeys, external: bool) -> Result<Arc<dyn Provider>, Error> {
    let Some(row) = PROVIDERS.iter().find(|row| row.name == keys.provider) else {
        let names: Vec<_> = PROVIDERS.iter().map(|row| row.name).collect();
        let given = agentkit::text::shorten(&keys.provider);
        return Err(Error::InvalidConfig(format!(
            "weather provider {given:?} does not exist: choose one of {}",
            names.join(", ")
        )));
    };
    (row.build)(keys, external)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, external: bool) -> Result<Arc<dyn Provider>, Error> {
        let keys = WeatherKeys {
            provider: name.to_owned(),
            ..WeatherKeys::default()
        };
        build(&keys, external)
    }

    #[test]
    fn an_unknown_provider_is_refused_with_the_names_there_are() {
        let error = named("oracle", false).unwrap_err().to_string();
        assert!(error.contains("climate, open-meteo"), "{error}");
    }

    #[test]
    fn every_row_builds_when_external_requests_are_allowed() {
        for row in PROVIDERS {
            named(row.name, true).unwrap();
        }
    }

    #[test]
    fn open_meteo_without_permission_names_the_key() {
        let error = named("open-meteo", false).unwrap_err().to_string();
        assert!(error.contains("ALLOW_EXTERNAL_REQUESTS=yes"), "{error}");
    }
}
