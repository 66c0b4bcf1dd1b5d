//! The settings of the mesh in a ConfigMap.
//!
//! Its keys are those of Consul's KV store below `mesh/`. A key of a ConfigMap has no slash, so the
//! first dot and the last stand for one: `services.agent-echo.lb_policy`. In between are names, which
//! may have dots themselves.

use std::{collections::BTreeMap, sync::Arc};

use super::{api_types::ConfigMap, client::KubernetesApi, options::NAME};
use crate::{Error, validate};

/// The name of the ConfigMap.
pub(super) const SETTINGS: &str = "mesh-settings";
/// The longest key of a ConfigMap, bytes.
const KEY_BYTES: usize = 253;

/// The settings of a ConfigMap, by the keys of KV.
pub(super) fn values(map: ConfigMap) -> BTreeMap<Arc<str>, Arc<str>> {
    let data = map.data.into_iter().flatten();
    data.map(|(key, value)| (kv_key(&key).into(), value.trim().into()))
        .collect()
}

fn kv_key(key: &str) -> String {
    let mut path = key.to_owned();
    for at in [key.find('.'), key.rfind('.')].into_iter().flatten() {
        path.replace_range(at..=at, "/");
    }
    path
}

/// The key of a ConfigMap for a key of KV.
fn map_key(key: &str) -> Result<String, Error> {
    let map_key = key.replace('/', ".");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if map_key.is_empty() || map_key.len() > KEY_BYTES || !map_key.bytes().all(plain) {
        return Err(Error::Refused {
            registry: NAME,
            reason: format!(
                "{} cannot be a key of a ConfigMap: use at most {KEY_BYTES} letters, digits and -._/",
                validate::quoted(key)
            ),
        });
    }
    Ok(map_key)
}

impl KubernetesApi {
    /// Writes or removes a setting.
    pub(super) async fn write_setting(&self, key: &str, value: Option<&str>) -> Result<(), Error> {
        self.patch_config_map(SETTINGS, &map_key(key)?, value).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_a_config_map_is_a_key_of_kv() {
        for (of_map, of_kv) in [
            (
                "services.agent-echo.lb_policy",
                "services/agent-echo/lb_policy",
            ),
            ("instances.echo-0.pods.drain", "instances/echo-0.pods/drain"),
            ("services.x", "services/x"),
            ("plain", "plain"),
        ] {
            assert_eq!(kv_key(of_map), of_kv);
            assert_eq!(map_key(of_kv).unwrap(), of_map);
        }
    }

    #[test]
    fn a_key_that_no_config_map_takes_is_refused() {
        for key in ["", "a b", "services/ü/x", &"x".repeat(254)] {
            assert!(map_key(key).is_err(), "{key}");
        }
    }
}
