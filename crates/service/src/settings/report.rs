//! The settings as `/config` shows them.

use serde_json::{Map, Value, json};

use super::{LiveSettings, layer::RefusedSetting};

impl LiveSettings {
    /// `services`: every service that is called or configured, with its settings and their sources.
    /// `refused`: refused values, and why. `drained`: instances that get no new calls.
    pub(crate) fn report(&self) -> [(&'static str, Value); 3] {
        let state = self.state.lock();
        let mut names = state.called.clone();
        for layer in [&state.file, &state.kv] {
            names.extend(layer.groups.keys().cloned());
        }
        let services = names.into_iter().map(|name| {
            let config = self.config(&state, &name);
            let rows = config
                .rows()
                .filter(|(key, ..)| self.keys.iter().any(|known| known.name == *key))
                .map(|(key, value, source)| {
                    let row = json!({ "value": value, "source": source.to_string() });
                    (key.to_owned(), row)
                });
            let rows = Value::Object(rows.collect::<Map<_, _>>());
            (name, rows)
        });
        let services = Value::Object(services.collect::<Map<_, _>>());
        let layers = [&state.meta, &state.file, &state.kv, &state.instances];
        let refused = layers.into_iter().flat_map(|layer| layer.refused());
        let refused = refused.chain(&state.file_mistake).chain(&state.kv_mistakes);
        [
            ("services", services),
            ("refused", refused.map(refusal).collect()),
            ("drained", json!(*state.drained)),
        ]
    }
}

fn refusal(refused: &RefusedSetting) -> Value {
    json!({
        "key": refused.key,
        "value": refused.value,
        "source": refused.source.to_string(),
        "reason": refused.reason,
    })
}
