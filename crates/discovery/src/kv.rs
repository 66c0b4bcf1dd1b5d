//! The settings that operators write for the mesh.

use std::{collections::BTreeMap, sync::Arc};

/// Values by key, such as `services/agent-echo/lb_policy`. In Consul they are its KV store below
/// [`KvEntries::PREFIX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KvEntries {
    /// The values, without the white space around them.
    pub values: BTreeMap<Arc<str>, Arc<str>>,
}

impl KvEntries {
    /// The prefix of every key in a store that others use too.
    pub const PREFIX: &'static str = "mesh/";

    /// The key by which an operator drains an instance.
    #[must_use]
    pub fn drain_key(instance: &str) -> String {
        format!("instances/{instance}/drain")
    }

    /// The IDs of the instances that an operator drains.
    pub fn drained(&self) -> impl Iterator<Item = &str> {
        let yes = |value: &str| ["true", "yes", "on", "1"].contains(&value);
        self.values.iter().filter_map(move |(key, value)| {
            let id = key.strip_prefix("instances/")?.strip_suffix("/drain")?;
            yes(value).then_some(id)
        })
    }
}
