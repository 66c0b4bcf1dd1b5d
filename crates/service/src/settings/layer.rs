//! The settings of one source: accepted values and refused ones.

use std::collections::BTreeMap;

use config::{Key, Source, unknown};

use crate::ToolSettings;

/// A value as its source gives it.
#[derive(Clone, Debug)]
pub(crate) struct RawSetting {
    pub(crate) key: String,
    /// `None` for something that no key takes, such as a table.
    pub(crate) value: Option<String>,
    pub(crate) source: Source,
}

/// A value that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AcceptedSetting {
    pub(crate) value: String,
    pub(crate) source: Source,
}

/// A value that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedSetting {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) source: Source,
    pub(crate) reason: String,
}

/// The settings of one service, or of one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) given: BTreeMap<&'static str, AcceptedSetting>,
    pub(crate) refused: Vec<RefusedSetting>,
}

/// The groups of one source, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layer {
    pub(crate) groups: BTreeMap<String, Group>,
}

impl Layer {
    /// Applies the present state of a source. True when it changes something.
    pub(crate) fn apply(
        &mut self,
        keys: &[Key],
        mut raw: BTreeMap<String, Vec<RawSetting>>,
    ) -> bool {
        for gone in self.groups.keys() {
            raw.entry(gone.clone()).or_default();
        }
        let mut changed = false;
        for (name, values) in raw {
            changed |= self.apply_group(keys, &name, values);
        }
        changed
    }

    /// Applies the present state of one group. A refused value leaves the previous one.
    pub(crate) fn apply_group(
        &mut self,
        keys: &[Key],
        name: &str,
        values: Vec<RawSetting>,
    ) -> bool {
        let before = self.groups.remove(name).unwrap_or_default();
        let mut now = Group::default();
        for raw in values {
            let key = keys.iter().find(|key| key.name == raw.key);
            if key.is_none() && is_for_others(&raw.key) {
                continue;
            }
            match (key, raw.value) {
                (Some(key), Some(value)) if key.kind.accepts(&value) => {
                    let source = raw.source;
                    now.given
                        .insert(key.name, AcceptedSetting { value, source });
                }
                (key, value) => {
                    if let Some((name, given)) =
                        key.and_then(|k| before.given.get_key_value(k.name))
                    {
                        now.given.entry(name).or_insert_with(|| given.clone());
                    }
                    now.refused.push(RefusedSetting {
                        reason: key.map_or_else(
                            || unknown(&raw.key, keys.iter().map(|key| key.name)),
                            |key| format!("expected {}", key.kind.expected()),
                        ),
                        key: format!("{name}.{}", raw.key),
                        value: value.unwrap_or_default(),
                        source: raw.source,
                    });
                }
            }
        }
        for refused in &now.refused {
            if !before.refused.contains(refused) {
                let RefusedSetting {
                    key,
                    value,
                    source,
                    reason,
                } = refused;
                tracing::warn!(key, value, %source, reason, "setting refused: the previous one stays");
            }
        }
        let changed = now != before;
        if now != Group::default() {
            self.groups.insert(name.to_owned(), now);
        }
        changed
    }

    pub(crate) fn refused(&self) -> impl Iterator<Item = &RefusedSetting> {
        self.groups.values().flat_map(|group| &group.refused)
    }
}

/// Whether only some of the programs that call others obey this setting: the rest leave it alone.
fn is_for_others(key: &str) -> bool {
    ToolSettings::KEYS.iter().any(|known| known.name == key)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    config::keys! {
        /// Keys.
        struct Keys: "keys" {
            /// About.
            queue_timeout: Duration = config::duration("3s"),
            /// About.
            drain: bool = config::switch("false"),
        }
    }

    fn keys() -> Vec<Key> {
        Keys::KEYS.to_vec()
    }

    fn raw(key: &str, value: &str) -> RawSetting {
        RawSetting {
            key: key.to_owned(),
            value: Some(value.to_owned()),
            source: Source::Kv(key.to_owned()),
        }
    }

    fn value(layer: &Layer) -> Option<&str> {
        let given = layer.groups.get("a")?.given.get("queue_timeout")?;
        Some(&given.value)
    }

    #[test]
    fn a_bad_value_is_refused_and_the_old_one_stays_until_it_is_removed() {
        let mut layer = Layer::default();
        assert!(layer.apply_group(&keys(), "a", vec![raw("queue_timeout", "1s")]));
        assert!(!layer.apply_group(&keys(), "a", vec![raw("queue_timeout", "1s")]));
        assert!(layer.apply_group(&keys(), "a", vec![raw("queue_timeout", "soon")]));
        assert_eq!(value(&layer), Some("1s"));
        let refused: Vec<_> = layer.refused().collect();
        assert_eq!(refused[0].key, "a.queue_timeout");
        assert!(refused[0].reason.contains("250ms"), "{refused:?}");
        assert!(layer.apply(&keys(), BTreeMap::new()));
        assert_eq!((value(&layer), layer.refused().count()), (None, 0));
    }

    #[test]
    fn a_setting_that_other_programs_obey_is_left_alone() {
        let mut layer = Layer::default();
        layer.apply_group(&keys(), "a", vec![raw("mcp", "*")]);
        assert_eq!(layer.refused().count(), 0);
        let obeyed = [keys(), ToolSettings::KEYS.to_vec()].concat();
        layer.apply_group(&obeyed, "a", vec![raw("mcp", "all")]);
        let refused: Vec<_> = layer.refused().collect();
        assert!(refused[0].reason.contains("shop.Orders/Get"), "{refused:?}");
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let mut layer = Layer::default();
        layer.apply_group(&keys(), "a", vec![raw("queue_timeuot", "1s")]);
        let refused: Vec<_> = layer.refused().collect();
        assert!(
            refused[0].reason.contains("did you mean queue_timeout?"),
            "{refused:?}"
        );
    }
}
